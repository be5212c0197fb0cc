"""Nuclei of a stored stack that need not fit into memory, as units of a run.

    frame    size of nuclei and range of intensities, from a level of the pyramid that fits
    windows  polyhedra, window by window; each unit does a share of them
    merge    polyhedra judged over the borders of windows, named, and the empty labels
    draw     labels; each unit draws a share of the store's write units
    finish   pyramid and metadata

Every unit holds a window, or a write unit, at a time. The labels do not depend on how many units
there are, on the workers, or on interruptions. They are the network's own outlines: what a model's
`refine` asks for, and the correction of light lost with depth, are for stacks in memory.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from poolvox.organoid3d.blocks import WINDOW_BYTES, Box, Frame, Window, lay_out
from poolvox.organoid3d.models import ModelFolder, read_model
from poolvox.organoid3d.preprocess import check_spacing
from poolvox.organoid3d.stars import Stars
from poolvox.shared.engine.plan import Unit
from poolvox.shared.errors import InputError
from poolvox.shared.store import Image, open_image

__all__ = ["Volume", "plan_volume"]

# Voxels of a share of windows: about a minute's work on one core.
SHARE = 16_000_000
# Voxels of a share of drawing.
DRAWN = 128_000_000
# Largest level of the pyramid on which nuclei are sized, voxels.
COARSE = 24_000_000
# Bytes of a unit beside its window: TensorFlow, and what Python itself takes.
OVERHEAD = 900 * 2**20
# Bytes per voxel of the level on which nuclei are sized.
SIZING = 40


@dataclass(frozen=True, slots=True)
class Volume:
    """What is to be segmented, and how.

    Parameters
    ----------
    image : path of an OME-Zarr image
    channel : name of the channel with the nuclei; None if there is only one
    model : `default`, or the folder of a network
    work : folder for what lies between the units
    labels : name of the labels that are written into the image
    scale, diameter : as in `segment_nuclei`
    thinning : `fast` or `exact`
    window : bytes that the network may take for one window
    """

    image: Path
    work: Path
    channel: str | None = None
    model: str = "default"
    labels: str = "nuclei"
    scale: float | Literal["auto"] = "auto"
    diameter: float | None = None
    thinning: Literal["fast", "exact"] = "fast"
    window: int = WINDOW_BYTES

    @property
    def frame(self) -> Path:
        """File of the frame."""
        return self.work / "frame.json"

    @property
    def faint(self) -> Path:
        """File of the mask of what may hold nuclei."""
        return self.work / "faint.npz"

    @property
    def stars(self) -> Path:
        """File of the polyhedra of the whole stack."""
        return self.work / "stars.npz"

    def share(self, number: int) -> Path:
        """File of the polyhedra of a share of the windows."""
        return self.work / "windows" / f"{number:05d}.npz"

    def drawn(self, number: int) -> Path:
        """File that tells that a share of the labels is drawn."""
        return self.work / "drawn" / f"{number:05d}.json"

    def params(self) -> dict[str, Any]:
        """All that a result depends on besides the image."""
        kept = asdict(self)
        del kept["work"], kept["window"]
        digest = read_model(self.model).digest()
        return {**kept, "image": str(self.image), "network": digest}


class Source:
    """One channel of a level of an image, read by slices."""

    def __init__(self, image: Image, channel: str | None, level: int = 0) -> None:
        """Find the channel."""
        self._array = image.array(level)
        axes = image.axes
        if axes[-3:] != "zyx":
            raise InputError(f"{image.path} has the axes {axes}: expected a stack, z, y and x")
        named = image.channels
        if channel is not None and channel not in named:
            raise InputError(f"{image.path} has no channel {channel!r}; it has {', '.join(named)}")
        if channel is None and len(named) > 1:
            raise InputError(f"{image.path}: name the channel, one of {', '.join(named)}")
        where = {"c": named.index(channel) if channel is not None else 0}
        self._place = tuple(slice(where.get(a, 0), where.get(a, 0) + 1) for a in axes[:-3])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, Y, X)."""
        z, y, x = self._array.shape[-3:]
        return z, y, x

    def __getitem__(self, region: tuple[slice, ...]) -> NDArray[np.float32]:
        """Pixels of a region; what is not finite becomes 0."""
        pixels = np.asarray(self._array.read((*self._place, *region)), np.float32)
        pixels = pixels.reshape(pixels.shape[-3:])
        return np.nan_to_num(pixels, copy=False, nan=0.0, posinf=0.0, neginf=0.0)


def plan_volume(volume: Volume) -> list[Unit]:
    """Lay out the units; only metadata are read.

    The folder of the run must hold both the image and `work`, since units own what they write.
    """
    image = open_image(volume.image)
    model = read_model(volume.model)
    spacing = check_spacing(image.spacing)
    source = Source(image, volume.channel)
    voxels = int(np.prod(source.shape))
    params = volume.params() | {"spacing": list(spacing), "shape": list(source.shape)}
    step = partial(_unit, volume, params)
    coarse = int(np.prod(Source(image, volume.channel, _level(image, volume)).shape))
    window = OVERHEAD + min(volume.window, _largest(model, source.shape)) * 3 // 2
    shares, parts = -(-voxels // SHARE), -(-voxels // DRAWN)
    frame = step(
        "frame", make_frame, (), (volume.frame, volume.faint), OVERHEAD // 2 + SIZING * coarse
    )
    windows = [
        step("windows", find_share, (frame.key,), (volume.share(k),), window, k, shares)
        for k in range(shares)
    ]
    labels = volume.image / "labels" / volume.labels
    merge = step(
        "merge", merge_shares, tuple(u.key for u in windows), (volume.stars, labels), OVERHEAD,
        None, shares,
    )  # fmt: skip
    draw = [
        step("draw", draw_share, (merge.key,), (volume.drawn(k),), OVERHEAD, k, parts)
        for k in range(parts)
    ]
    last = tuple(unit.key for unit in draw)
    done = volume.work / "finished.json"
    return [frame, *windows, merge, *draw, step("finish", finish, last, (done,), OVERHEAD)]


def make_frame(volume: Volume) -> dict[str, Any]:
    """Find the size of nuclei and the range of intensities."""
    from poolvox.organoid3d import learned
    from poolvox.organoid3d.preprocess import prepare_stack

    image, model = open_image(volume.image), read_model(volume.model)
    whole = Source(image, volume.channel)
    coarse = Source(image, volume.channel, _level(image, volume))
    steps = check_spacing(image.spacing)
    ratio = [a / b for a, b in zip(whole.shape, coarse.shape, strict=True)]
    wide = tuple(s * r for s, r in zip(steps, ratio, strict=True))
    pixels = coarse[tuple(slice(0, n) for n in coarse.shape)]
    prepared = prepare_stack(pixels, wide)
    found, notes = learned.make_frame(
        prepared.stack, wide, model, scale=volume.scale, diameter=volume.diameter
    )
    low, high = found.low, found.high
    if prepared.inverted:
        top = float(pixels.max())
        low, high = top - low, top - high
    if volume.scale == "auto":
        z, y, x = (s / r for s, r in zip(found.scale, ratio, strict=True))
    else:
        z, y, x = found.scale
    frame = Frame(whole.shape, (z, y, x), low, high)
    faint = learned.faint_tissue(prepared.stack, wide)
    _write_arrays(volume.faint, faint=faint)
    notes = [*prepared.notes, *notes]
    _write_text(volume.frame, json.dumps({"frame": asdict(frame), "notes": notes}))
    return {"scale": list(frame.scale), "low": low, "high": high, "warnings": notes}


def find_share(volume: Volume, number: int, shares: int) -> dict[str, Any]:
    """Find the polyhedra of a share of the windows."""
    from poolvox.organoid3d.network import load_network
    from poolvox.organoid3d.segment import StarOptions, object_margin, window_stars

    network = load_network(read_model(volume.model))
    frame = _read_frame(volume)
    options = StarOptions(network.folder.prob, network.folder.nms, volume.thinning)
    windows = _windows(volume, frame, network.folder, object_margin(network))
    mine = windows[number * len(windows) // shares : (number + 1) * len(windows) // shares]
    source = Source(open_image(volume.image), volume.channel)
    parts = [window_stars(source, frame, network, options, window) for window in mine]
    stars = Stars.joined([Stars.none(network.folder.rays), *parts])
    _write_stars(volume.share(number), stars)
    return {"windows": len(mine), "candidates": len(stars)}


def merge_shares(volume: Volume, shares: int) -> dict[str, Any]:
    """Judge all polyhedra, name them, and make the empty labels."""
    from poolvox.organoid3d.network import load_network
    from poolvox.organoid3d.segment import StarOptions, merge_stars, name_stars

    network = load_network(read_model(volume.model))
    frame = _read_frame(volume)
    options = StarOptions(network.folder.prob, network.folder.nms, volume.thinning)
    parts = [_read_stars(volume.share(k))[0] for k in range(shares)]
    stars = merge_stars(parts, network, options)
    names = name_stars(stars, frame, network.geometry)
    _write_stars(volume.stars, stars, names)
    open_image(volume.image).create_labels(volume.labels, np.uint32)
    return {"nuclei": int(names.max(initial=0))}


def draw_share(volume: Volume, number: int, parts: int) -> dict[str, Any]:
    """Draw the labels of a share of the write units."""
    from poolvox.organoid3d.network import load_network
    from poolvox.organoid3d.segment import draw_stars

    geometry = load_network(read_model(volume.model)).geometry
    frame = _read_frame(volume)
    stars, names = _read_stars(volume.stars)
    target = open_image(volume.image).label_target(volume.labels)
    lead = (0,) * (len(target.shape) - 3)
    boxes = _boxes(target.shape[-3:], target.unit[-3:])
    mine = boxes[number * len(boxes) // parts : (number + 1) * len(boxes) // parts]
    for box in mine:
        labels = draw_stars(stars, names, frame, geometry, box)
        target.write_region(labels.reshape(*(1 for _ in lead), *labels.shape), (*lead, *box.start))
    _write_text(volume.drawn(number), json.dumps({"units": len(mine)}))
    return {"units": len(mine)}


def finish(volume: Volume) -> dict[str, Any]:
    """Build the pyramid and write the final metadata."""
    open_image(volume.image).label_target(volume.labels).finish()
    count = int(_read_stars(volume.stars)[1].max(initial=0))
    _write_text(volume.work / "finished.json", json.dumps({"nuclei": count}))
    return {"nuclei": count}


def _unit(
    volume: Volume,
    params: dict[str, Any],
    step: str,
    work: Any,
    needs: Sequence[str],
    outputs: Sequence[Path],
    memory: int,
    number: int | None = None,
    count: int | None = None,
) -> Unit:
    given = {"number": number, "shares" if step != "draw" else "parts": count}
    options = {name: value for name, value in given.items() if value is not None}
    name = volume.image.name if number is None else f"{volume.image.name}-{number:05d}"
    return Unit(
        key=f"{step}/{name}",
        step=step,
        call=partial(work, volume, **options),
        params=params | options,
        needs=tuple(needs),
        outputs=tuple(outputs),
        memory=memory,
        where={"image": volume.image.name},
    )


def _windows(
    volume: Volume, frame: Frame, model: ModelFolder, margin: tuple[int, int, int]
) -> list[Window]:
    """Windows that may hold nuclei."""
    from poolvox.organoid3d.learned import worth_a_look

    if frame.low == frame.high:
        return []
    with np.load(volume.faint) as arrays:
        faint = arrays["faint"]
    windows = lay_out(frame.size, model, margin=margin, most=volume.window)
    return [window for window in windows if worth_a_look(window, frame, faint)]


def _level(image: Image, volume: Volume) -> int:
    """Finest level of the pyramid that is small enough; the coarsest, if none is."""
    for level in range(image.levels):
        if np.prod(Source(image, volume.channel, level).shape) <= COARSE:
            return level
    return image.levels - 1


def _largest(model: ModelFolder, shape: Sequence[int]) -> int:
    from poolvox.organoid3d.blocks import window_bytes

    return window_bytes(model, shape)


def _boxes(shape: Sequence[int], unit: Sequence[int]) -> list[Box]:
    starts = itertools.product(*(range(0, n, u) for n, u in zip(shape, unit, strict=True)))
    boxes = []
    for z, y, x in starts:
        ends = [min(a + u, n) for a, u, n in zip((z, y, x), unit, shape, strict=True)]
        boxes.append(Box((z, y, x), (ends[0], ends[1], ends[2])))
    return boxes


def _read_frame(volume: Volume) -> Frame:
    kept = json.loads(volume.frame.read_text(encoding="utf-8"))["frame"]
    return Frame(tuple(kept["shape"]), tuple(kept["scale"]), kept["low"], kept["high"])


def _write_stars(path: Path, stars: Stars, names: NDArray[np.int64] | None = None) -> None:
    named = np.zeros(len(stars), np.int64) if names is None else names
    _write_arrays(path, points=stars.points, prob=stars.prob, dist=stars.dist, names=named)


def _read_stars(path: Path) -> tuple[Stars, NDArray[np.int64]]:
    with np.load(path) as arrays:
        return Stars(arrays["points"], arrays["prob"], arrays["dist"]), arrays["names"]


def _write_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_name(f".{path.stem}.partial.npz")
    np.savez(partial_path, **arrays)  # type: ignore[arg-type]
    partial_path.replace(path)


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_name(f".{path.name}.partial")
    partial_path.write_text(text, encoding="utf-8")
    partial_path.replace(path)
