"""Cycles that another writer kept as one image each, shown as one image with a t axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poolvox.shared.errors import StoreError
from poolvox.shared.store.images import Image

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["CycleStack"]


class CycleStack(Image):
    """Images of one field, one per cycle, read as `t` + their axes; it cannot be written.

    Labels, spacing and channel names are those of the first cycle.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Stack the images at `paths`, in the order of cycles."""
        super().__init__(paths[0])
        self.parts = [Image(path) for path in paths]

    @property
    def axes(self) -> str:
        """Those of the parts, with t in front."""
        axes = super().axes
        return axes if "t" in axes else "t" + axes

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of level 0, cycles first."""
        shape = super().shape
        inner = shape[1:] if len(shape) == len(self.axes) else shape
        return (len(self.parts), *inner)

    def image(self, level: int = 0) -> xr.DataArray:
        """Pixels of one level of all cycles, lazily."""
        import xarray as xr

        cycles = [part.image(level) for part in self.parts]
        shapes = {cycle.shape for cycle in cycles}
        if len(shapes) > 1:
            raise StoreError(f"{self.path}: the cycles have different shapes {sorted(shapes)}")
        if "t" in cycles[0].dims:
            if cycles[0].sizes["t"] != 1:
                raise StoreError(f"{self.path} has several acquisitions and a t axis: ambiguous")
            cycles = [cycle.isel(t=0, drop=True) for cycle in cycles]
        # Stage positions may differ by a rounding error, which must not make new coordinates.
        stacked = xr.concat(cycles, dim="t", join="override", combine_attrs="override")
        return stacked.transpose(*self.axes)

    def create(self, *args: Any, **options: Any) -> Any:
        """Refused: these images belong to another writer's layout."""
        raise StoreError(f"{self.path} is one of several acquisitions: write to a new plate")
