"""Stacks of the pipeline that are too large for memory: stored, then segmented in windows.

    store     the raw planes, slab by slab, as an image of the plate
    ...       nuclei in windows, see `poolvox.organoid3d.volumes`
    tissue    organoids and lumens, on a view of the stack
    (stack)   tables and facts of the stack

The labels are those that the stack would get in memory. Organoids are found on voxels of at least
a micrometre in memory, too; where a view of that would not fit, it is coarser, and that is said.
Cells and features are not measured: what they need of a stack does not come in parts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from poolvox.organoid3d.blocks import WINDOW_BYTES
from poolvox.organoid3d.config import Organoid3dConfig, nuclear_channel, tissue_channels
from poolvox.organoid3d.nuclei import MIN_PLANES, check_model
from poolvox.organoid3d.preprocess import check_axes
from poolvox.organoid3d.qc import flag_borders, flag_drawn
from poolvox.organoid3d.stored import Source, boxes_of, write_arrays
from poolvox.organoid3d.survey import MOST, SLAB, Light, pool_stack, view_factors
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

__all__ = ["Large", "describe_large", "is_large", "plan_large"]

Spacing = tuple[float, float, float]

# Blocks of the configuration that the tissue depends on.
TISSUE = {"organoids", "lumens"}
# What is said of every such stack.
REASON = (
    "segmented in windows, since it needs {need:.3g} GB as a whole: nuclei, organoids and lumens "
    "only; cells and features are for stacks in memory"
)


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
            step="stacks",
            where=(
                ("plate", tile.plate),
                ("well", tile.well),
                ("tile", tile.organoid or tile.tile or tile.field),
            ),
        )

    @property
    def tissue(self) -> Path:
        """File of the organoids and lumens on the view."""
        return self.work / "tissue.npz"


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


def plan_large(large: Large, manifest: Manifest) -> list[Unit]:
    """Lay out all units but the last, which makes the tables; they end in the unit `tissue/...`."""
    sizes = dict(zip(manifest.axes, manifest.shape_of(large.tile), strict=True))
    shape = (sizes.get("z", 1), sizes["y"], sizes["x"])
    voxels = int(np.prod(shape))
    name, where = large.name, dict(large.volume.where)
    params = {"spacing": large.spacing, "channels": list(large.channels)}
    shown = {"tissue": list(tissue_channels(large.config, large.channels))}
    store = Unit(
        key=f"store/{name}",
        step="stacks",
        call=partial(store_stack, large, manifest.only(large.tile)),
        params=params | {"store": large.config.store.model_dump(mode="json")},
        inputs=manifest.files_of(large.tile),
        outputs=(large.image,),
        memory=OVERHEAD // 2 + READ * min(voxels, SLAB) + 4 * manifest.dtype.itemsize * SLAB,
        where=where,
    )
    windows = plan_windows(large.volume, shape, large.spacing, needs=(store.key,))
    tissue = Unit(
        key=f"tissue/{name}",
        step="stacks",
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
        check_axes(shape[1:])
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
    for number, channel in enumerate(manifest.channels):
        for first in range(0, shape[1], deep):
            planes = range(first, min(first + deep, shape[1]))
            pixels = manifest.read(tile, channels=[channel], planes=planes)
            block = pixels.reshape(1, len(planes), *shape[2:])
            target.write_region(block, (number, first, 0, 0))
    target.finish()
    return {"voxels": int(np.prod(shape[1:]))}


def find_tissue(large: Large) -> dict[str, Any]:
    """Find organoids and lumens on a view of the stack, and write them as labels."""
    from poolvox.organoid3d.masks import segment_lumens, segment_organoids

    image, config = open_image(large.image), large.config
    names = tissue_channels(config, large.channels)
    nuclear = nuclear_channel(config, large.channels)
    factors = view_factors(Source(image, nuclear).shape, large.spacing)
    lit = replace(read_known(large.volume).light, rate=0.0)
    views = [
        pool_stack(Source(image, name), lit if name == nuclear else Light(), factors)
        for name in names
    ]
    inside = (pool_stack(_Mask(image), Light(), factors) >= 0.5).astype(np.uint8)
    wide = [s * f for s, f in zip(large.spacing, factors, strict=True)]
    organoids = segment_organoids(
        views, spacing=wide, nuclei=inside, options=config.organoids.options(names)
    )
    lumens = segment_lumens(
        views, organoids, spacing=wide, nuclei=inside, options=config.lumens.options()
    )
    write_arrays(large.tissue, organoids=organoids, lumens=lumens, factors=np.array(factors))
    for name, labels in (("organoids", organoids), ("lumens", lumens)):
        target = image.create_labels(name, labels.dtype)
        for box in boxes_of(target):
            index = [np.arange(a, b) // f for a, b, f in zip(box.start, box.stop, factors)]
            target.write_region(labels[np.ix_(*index)], box.start)
        target.finish()
    return {"organoids": int(organoids.max()), "lumens": int(lumens.max())}


def describe_large(large: Large) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Tables of the nuclei and organoids of a stack that is done, and its facts."""
    volume = large.volume
    drawn, known = read_drawn(volume), read_known(volume)
    with np.load(large.tissue) as arrays:
        organoids, lumens, factors = (arrays[name] for name in ("organoids", "lumens", "factors"))
    model = check_model(large.config.nuclei.model)
    assert model is not None
    voxel = float(np.prod(large.spacing))
    parents = _parents(drawn.centres, organoids, factors)
    nuclei = pd.DataFrame(
        {
            "Metadata_Label": drawn.labels,
            "Metadata_OrganoidLabel": parents,
            **_places(drawn.centres, large.spacing),
            "Nuclei_Shape_Volume_um3": drawn.voxels * voxel,
            f"Nuclei_Intensity_Mean_{volume.channel}": drawn.light,
            "Nuclei_Probability": drawn.probability,
        }
    )
    flags = flag_drawn(
        np.stack([drawn.first, drawn.last + 1], axis=2),
        drawn.voxels * voxel,
        known.frame.shape,
        outside=parents == 0,
        probability=drawn.probability,
        threshold=model.prob,
    )
    wide = np.asarray(large.spacing) * factors
    bodies = _organoids(organoids, lumens, wide, parents)
    loss = known.facts["attenuation"]
    notes = [*known.facts["notes"], REASON.format(need=large.need / 1e9)]
    if (factors > 1).any():
        coarse = " x ".join(f"{step:.2g}" for step in wide)
        notes.append(f"organoids and lumens were found on voxels of {coarse} um")
    diameters = np.cbrt(nuclei["Nuclei_Shape_Volume_um3"] * 6 / np.pi)
    facts = {
        "nuclei": len(nuclei),
        "organoids": len(bodies),
        "lumens": int(lumens.max(initial=0)),
        "diameter_um": float(diameters.median()) if len(nuclei) else None,
        "method": model.method,
        "scale": " x ".join(f"{factor:.2f}" for factor in known.frame.ratio),
        "attenuation_per_um": _known(loss["rate"]),
        "attenuation_r2": _known(loss["r2"]),
        "attenuation_reason": loss["reason"],
        "corrected": known.facts["corrected"],
        "warnings": notes,
    }
    return {"nuclei": pd.concat([nuclei, flags], axis=1), "organoids": bodies}, facts


class _Mask:
    """Where the stored nuclei are, read by slices of planes."""

    dtype = np.dtype(np.float32)

    def __init__(self, image: Image) -> None:
        self._labels = Image(image.path / "labels" / "nuclei").array()
        self.shape = self._labels.shape

    def __getitem__(self, planes: slice) -> NDArray[np.float32]:
        whole = (slice(None), slice(None))
        first, last, _ = planes.indices(self.shape[0])
        return (self._labels.read((slice(first, last), *whole)) > 0).astype(np.float32)


def _parents(
    centres: NDArray[np.float64], organoids: NDArray[np.uint32], factors: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The organoid at the centre of each nucleus; 0 outside of all."""
    z, y, x = np.round(centres).astype(int).T // factors[:, None]
    parents: NDArray[np.int64] = organoids[z, y, x].astype(np.int64)
    return parents


def _places(centres: NDArray[np.float64], spacing: Any) -> dict[str, NDArray[np.float64]]:
    voxels = {f"Metadata_{axis}": values for axis, values in zip("ZYX", centres.T, strict=True)}
    lengths = {f"{name}_um": values * s for (name, values), s in zip(voxels.items(), spacing)}
    return voxels | lengths


def _organoids(
    organoids: NDArray[np.uint32],
    lumens: NDArray[np.uint32],
    wide: NDArray[np.float64],
    parents: NDArray[np.int64],
) -> pd.DataFrame:
    """Place and volume of each organoid, and what it holds."""
    ids = np.arange(1, int(organoids.max(initial=0)) + 1)
    voxel = float(np.prod(wide))
    count = len(ids) + 1
    volume = np.bincount(organoids.ravel(), minlength=count)[1:] * voxel
    hollow = np.bincount(organoids.ravel(), lumens.ravel() > 0, count)[1:] * voxel
    centres = np.reshape(ndimage.center_of_mass(organoids > 0, organoids, ids), (-1, 3))
    ends = [
        [(side.start, side.stop) for side in box] for box in ndimage.find_objects(organoids) if box
    ]
    table = pd.DataFrame({"Metadata_Label": ids})
    # The middle of a voxel of the view lies between those of the stack.
    for axis, values, step in zip("ZYX", centres.T, wide, strict=True):
        table[f"Metadata_{axis}_um"] = (values + 0.5) * step
    table["Organoids_Shape_Volume_um3"] = volume
    table["Organoids_Filling_LumenVolume_um3"] = hollow
    table["Organoids_Count_Nuclei"] = np.bincount(parents, minlength=count)[1:]
    flags = flag_borders(np.reshape(ends, (-1, 3, 2)), organoids.shape)
    return pd.concat([table, flags], axis=1)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
