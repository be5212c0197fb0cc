"""Stacks of the pipeline that are too large for memory: stored, then segmented in windows.

    store     the raw planes, slab by slab, as an image of the plate
    ...       nuclei in windows, see `poolvox.organoid3d.volumes`
    tissue    organoids and lumens, on a view of the stack
    cells     see `poolvox.organoid3d.large_cells`; with them the segmentation ends
    measure   see `poolvox.organoid3d.large_objects`

Labels and tables are those that the stack would get in memory. Organoids are found on voxels of at
least a micrometre in memory, too; where a view of that would not fit, it is coarser, and that is
said.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from poolvox.organoid3d.blocks import WINDOW_BYTES
from poolvox.organoid3d.config import (
    Organoid3dConfig,
    nuclear_channel,
    tissue_channels,
    tissue_options,
)
from poolvox.organoid3d.folder import stack_name
from poolvox.organoid3d.hot import Quiet
from poolvox.organoid3d.nuclei import MIN_PLANES, check_model
from poolvox.organoid3d.parts import PART
from poolvox.organoid3d.preprocess import check_axes
from poolvox.organoid3d.qc import Saturation
from poolvox.organoid3d.spread import SpreadTissue
from poolvox.organoid3d.stored import Source, boxes_of, write_arrays, write_text
from poolvox.organoid3d.survey import MOST, SLAB, Light, pool_stack, view_factors
from poolvox.organoid3d.tissue import Tissue
from poolvox.organoid3d.volumes import (
    OVERHEAD,
    READ,
    VIEWED,
    Volume,
    plan_windows,
    read_drawn,
    read_known,
)
from poolvox.shared.engine.plan import Unit
from poolvox.shared.engine.resources import MEMORY_SHARE, parse_memory, total_memory
from poolvox.shared.errors import ConfigError
from poolvox.shared.ingest import Manifest, TileKey
from poolvox.shared.store import Image, create_plate, open_image

__all__ = ["Large", "NucleiMask", "is_large", "plan_large", "share_of"]

T = TypeVar("T")
Spacing = tuple[float, float, float]

# Blocks of the configuration that the tissue depends on.
TISSUE = {"organoids", "lumens"}
# Voxels of a share of the cells, and of the parts that are measured.
SHARE = 64_000_000
# Bytes per voxel of a part that is measured; with its margin it may be this much larger.
MEASURING, WITH_MARGIN = 100, 4


@dataclass(frozen=True, slots=True)
class Large:
    """A stack that is segmented in windows.

    Parameters
    ----------
    tile : of the manifest
    image : path of the image on the plate
    work : folder for what lies between the units
    spacing : micrometres
    config : of the run
    need : bytes that it would need in memory
    """

    tile: TileKey
    image: Path
    work: Path
    spacing: Spacing
    config: Organoid3dConfig
    need: int
    channels: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of the stack in the keys of its units."""
        return str(self.tile)

    @property
    def volume(self) -> Volume:
        """Its nuclei."""
        wanted = self.config.nuclei
        tile = self.tile
        return Volume(
            self.image,
            self.work,
            nuclear_channel(self.config, self.channels),
            wanted.model,
            scale=wanted.scale,
            diameter=wanted.diameter,
            attenuation=self.config.attenuation,
            window=WINDOW_BYTES,
            name=self.name,
            step="segment",
            where=(
                ("plate", tile.plate),
                ("well", tile.well),
                ("tile", stack_name(tile)),
            ),
        )

    @property
    def tissue(self) -> Path:
        """File of the organoids and lumens on the view."""
        return self.work / "tissue.npz"

    @property
    def saturated(self) -> Path:
        """File of what part of each channel is saturated."""
        return self.work / "saturated.json"

    def shares(self, shape: Sequence[int]) -> int:
        """In how many shares the cells of a stack are grown, and its objects measured."""
        return max(-(-int(np.prod([int(n) for n in shape])) // SHARE), 1)

    def worked(self, shape: Sequence[int]) -> int:
        """Bytes of a unit that holds a part of the stack, and the view of its tissue."""
        voxels = int(np.prod([int(n) for n in shape]))
        part = MEASURING * min(voxels, WITH_MARGIN * PART)
        return OVERHEAD // 2 + VIEWED * min(voxels, MOST) + part

    def read_tissue(self) -> SpreadTissue:
        """Organoids and lumens, once they are found."""
        with np.load(self.tissue) as arrays:
            tissue = Tissue(arrays["organoids"], arrays["lumens"])
            z, y, x = arrays["factors"].tolist()
        return SpreadTissue(tissue, (z, y, x), np.asarray(self.spacing, float))


def is_large(config: Organoid3dConfig, planes: int, need: int) -> bool:
    """Tell whether a stack is to be segmented in windows.

    Parameters
    ----------
    need : bytes that it would need in memory
    """
    if config.windows == "never" or planes < MIN_PLANES:
        return False
    network = check_model(config.nuclei.model) is not None
    if config.windows == "always":
        if not network:
            raise ConfigError(
                "windows: always needs a network: give nuclei: model: default, or the folder of "
                "a StarDist model; the classical method needs the whole stack"
            )
        return True
    memory = config.engine.memory
    most = parse_memory(memory) if memory else int(MEMORY_SHARE * total_memory())
    return network and need > most


def share_of(things: list[T], number: int, count: int) -> list[T]:
    """Those of many things that one of so many units does."""
    return things[number * len(things) // count : (number + 1) * len(things) // count]


def plan_large(large: Large, manifest: Manifest, shape: tuple[int, int, int]) -> list[Unit]:
    """Lay out what comes before the cells; it ends in the unit `tissue/...`.

    Parameters
    ----------
    shape : (Z, Y, X)
    """
    voxels = int(np.prod(shape))
    name, where = large.name, dict(large.volume.where)
    params = {"spacing": large.spacing, "channels": list(large.channels)}
    shown = {"tissue": list(tissue_channels(large.config, large.channels))}
    store = Unit(
        key=f"store/{name}",
        step="segment",
        call=partial(store_stack, large, manifest.only(large.tile)),
        params=params | {"store": large.config.store.model_dump(mode="json")},
        inputs=manifest.files_of(large.tile),
        outputs=(large.image, large.saturated),
        memory=OVERHEAD // 2 + READ * min(voxels, SLAB) + 4 * manifest.dtype.itemsize * SLAB,
        where=where,
    )
    windows = plan_windows(large.volume, shape, large.spacing, needs=(store.key,))
    tissue = Unit(
        key=f"tissue/{name}",
        step="segment",
        call=partial(find_tissue, large),
        params=params | shown | large.config.model_dump(mode="json", include=TISSUE),
        needs=(windows[-1].key,),
        outputs=(
            large.tissue,
            large.image / "labels" / "organoids",
            large.image / "labels" / "lumens",
        ),
        memory=OVERHEAD // 2 + VIEWED * min(voxels, MOST) + READ * min(voxels, SLAB),
        where=where,
    )
    return [store, *windows, tissue]


def store_stack(large: Large, manifest: Manifest) -> dict[str, Any]:
    """Write the raw planes to the plate, a slab at a time."""
    tile, config = large.tile, large.config
    sizes = dict(zip(manifest.axes, manifest.shape_of(tile), strict=True))
    shape = (len(manifest.channels), sizes["z"], sizes["y"], sizes["x"])
    if manifest.spec.axes is None:
        check_axes(shape[1:], large.spacing)
    plate = create_plate(
        large.image.parents[2], {tile.well: [tile.field]}, name=tile.plate, ngff=config.store.ngff
    )
    target = plate[tile.well][tile.field].create(
        shape,
        manifest.dtype,
        axes="czyx",
        spacing=dict(zip("zyx", large.spacing, strict=True)),
        channels=manifest.channels,
    )
    each = target.unit[1]
    deep = max(SLAB // (shape[2] * shape[3]) // each, 1) * each
    saturated = {}
    for number, channel in enumerate(manifest.channels):
        full = Saturation()
        for first in range(0, shape[1], deep):
            planes = range(first, min(first + deep, shape[1]))
            pixels = manifest.read(tile, channels=[channel], planes=planes)
            block = pixels.reshape(1, len(planes), *shape[2:])
            target.write_region(block, (number, first, 0, 0))
            full.add(block)
        saturated[channel] = full.part
    target.finish()
    write_text(large.saturated, json.dumps(saturated))
    return {"voxels": int(np.prod(shape[1:]))}


def find_tissue(large: Large) -> dict[str, Any]:
    """Find organoids and lumens on a view of the stack, and write them as labels."""
    from poolvox.organoid3d.learned import typical_diameter
    from poolvox.organoid3d.masks import segment_lumens, segment_organoids

    image, config = open_image(large.image), large.config
    names = tissue_channels(config, large.channels)
    nuclear = nuclear_channel(config, large.channels)
    factors = view_factors(Source(image, nuclear).shape, large.spacing)
    lit = replace(read_known(large.volume).light.uncut, rate=0.0)
    views = [
        pool_stack(Quiet.of(Source(image, name)), lit if name == nuclear else Light(), factors)
        for name in names
    ]
    inside = (pool_stack(NucleiMask(image), Light(), factors) >= 0.5).astype(np.uint8)
    wide = [s * f for s, f in zip(large.spacing, factors, strict=True)]
    volumes = read_drawn(large.volume).voxels * float(np.prod(large.spacing))
    options = tissue_options(config, large.channels, typical_diameter(volumes))
    organoids = segment_organoids(views, spacing=wide, nuclei=inside, options=options[0])
    lumens = segment_lumens(views, organoids, spacing=wide, nuclei=inside, options=options[1])
    write_arrays(large.tissue, organoids=organoids, lumens=lumens, factors=np.array(factors))
    for name, labels in (("organoids", organoids), ("lumens", lumens)):
        target = image.create_labels(name, labels.dtype)
        for box in boxes_of(target):
            index = [np.arange(a, b) // f for a, b, f in zip(box.start, box.stop, factors)]
            target.write_region(labels[np.ix_(*index)], box.start)
        target.finish()
    return {"organoids": int(organoids.max()), "lumens": int(lumens.max())}


class NucleiMask:
    """Where the stored nuclei of an image are, read by slices of planes."""

    dtype = np.dtype(np.float32)

    def __init__(self, image: Image) -> None:
        """Open the labels."""
        self._labels = Image(image.path / "labels" / "nuclei").array()
        self.shape = self._labels.shape

    def __getitem__(self, planes: slice) -> NDArray[np.float32]:
        """1 in nuclei, 0 elsewhere."""
        whole = (slice(None), slice(None))
        first, last, _ = planes.indices(self.shape[0])
        return (self._labels.read((slice(first, last), *whole)) > 0).astype(np.float32)
