"""Nuclei of a stored stack that need not fit into memory, as units of a run.

    frame    light, loss of light with depth, size of nuclei, range of intensities: one pass over
             the stack, and a view of it that fits
    windows  polyhedra, window by window; each unit does a share of them
    merge    polyhedra judged over the borders of windows, named, and the empty labels
    draw     labels, refined where the model asks for it; each unit draws a share of the store
    finish   pyramid, metadata, and what was drawn of each nucleus

Every unit holds a window, or a part of the store, at a time. The labels are those that
`find_nuclei` and a run give of the same stack in memory; they do not depend on how many units
there are, on the workers, or on interruptions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from poolvox.organoid3d.blocks import WINDOW_BYTES, Frame, window_bytes
from poolvox.organoid3d.drawing import ROW, Drawn, Painter, sum_up, tally
from poolvox.organoid3d.hot import Quiet, hot_notes
from poolvox.organoid3d.models import ModelFolder, read_model
from poolvox.organoid3d.nuclei import MIN_PLANES
from poolvox.organoid3d.preprocess import check_spacing
from poolvox.organoid3d.segment import StarOptions, merge_stars, name_stars, window_stars
from poolvox.organoid3d.stars import Stars
from poolvox.organoid3d.stored import (
    AT_ONCE,
    Source,
    boxes_of,
    finish_labels,
    write_arrays,
    write_text,
)
from poolvox.organoid3d.survey import MOST, SLAB, Light, Lit
from poolvox.shared.engine.plan import Unit
from poolvox.shared.errors import InputError
from poolvox.shared.store import open_image

__all__ = [
    "Known",
    "Volume",
    "network_memory",
    "plan_volume",
    "plan_windows",
    "read_drawn",
    "read_known",
]

# Voxels of a share of windows: about a minute's work on one core.
SHARE = 16_000_000
# Voxels of a share of drawing.
DRAWN = 128_000_000
# Bytes of a unit beside its window: TensorFlow, and what Python itself takes.
OVERHEAD = 900 * 2**20
# Bytes per voxel of the view, of what is read at once, and of what is drawn at once.
VIEWED, READ, PAINTED = 60, 10, 60


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
    attenuation : `auto` corrects the loss of light with depth where nuclei tell it; or `off`
    thinning : `fast` or `exact`
    window : bytes that the network may take for one window
    name : of the stack in the keys of its units; "": that of the image
    step : that its units belong to in the plan; "": one for each kind of unit
    where : what its units are selected by; the image's name by default
    """

    image: Path
    work: Path
    channel: str | None = None
    model: str = "default"
    labels: str = "nuclei"
    scale: float | Literal["auto"] = "auto"
    diameter: float | None = None
    attenuation: Literal["auto", "off"] = "auto"
    thinning: Literal["fast", "exact"] = "fast"
    window: int = WINDOW_BYTES
    name: str = ""
    step: str = ""
    where: tuple[tuple[str, str], ...] = ()

    @property
    def frame(self) -> Path:
        """File of the frame."""
        return self.work / "frame.json"

    @property
    def stars(self) -> Path:
        """File of the polyhedra of the whole stack."""
        return self.work / "stars.npz"

    def share(self, number: int) -> Path:
        """File of the polyhedra of a share of the windows."""
        return self.work / "windows" / f"{number:05d}.npz"

    def drawn(self, number: int) -> Path:
        """File that tells what of each nucleus lies in a share of the labels."""
        return self.work / "drawn" / f"{number:05d}.npz"

    @property
    def finished(self) -> Path:
        """File that tells what was drawn of each nucleus."""
        return self.work / "finished.npz"

    def params(self) -> dict[str, Any]:
        """All that a result depends on besides the image."""
        kept = asdict(self)
        for name in ("work", "window", "name", "step", "where"):
            del kept[name]
        digest = read_model(self.model).digest()
        return {**kept, "image": str(self.image), "network": digest}


@dataclass(frozen=True, slots=True)
class Known:
    """What the frame says.

    Attributes
    ----------
    frame, light : how the stack is brought to the network
    excess : least by which a voxel is hot
    windows : numbers of those that may hold nuclei
    facts : all of it, and what is worth knowing
    """

    frame: Frame
    light: Light
    excess: float
    windows: tuple[int, ...]
    facts: dict[str, Any]

    def lit(self, source: Source) -> Lit:
        """A stack as nuclei are looked for in it."""
        return Lit(Quiet(source, self.excess), self.light)


def plan_volume(volume: Volume) -> list[Unit]:
    """Lay out the units for an image that is there; only metadata are read.

    The folder of the run must hold both the image and `work`, since units own what they write.
    """
    image = open_image(volume.image)
    return plan_windows(volume, Source(image, volume.channel).shape, image.spacing)


def plan_windows(
    volume: Volume, shape: Sequence[int], spacing: Any, *, needs: Sequence[str] = ()
) -> list[Unit]:
    """Lay out the units for an image that is yet to be written.

    Parameters
    ----------
    shape, spacing : (Z, Y, X) of the image; micrometres
    needs : keys of the units that write the image
    """
    model = read_model(volume.model)
    steps = check_spacing(spacing)
    if shape[0] < MIN_PLANES:
        raise InputError(
            f"{volume.image} has {shape[0]} planes: windows need at least {MIN_PLANES}; use "
            "find_nuclei, which takes them for one"
        )
    voxels = int(np.prod([int(n) for n in shape]))
    params = volume.params() | {"spacing": list(steps), "shape": [int(n) for n in shape]}
    shares, parts = -(-voxels // SHARE), -(-voxels // DRAWN)
    unit = _Units(volume, params, shares, parts).one
    window = network_memory(model, shape, most=volume.window)
    look = OVERHEAD + VIEWED * min(voxels, MOST) + READ * min(voxels, SLAB)
    paint = OVERHEAD + PAINTED * min(voxels, AT_ONCE)
    frame = unit("frame", make_frame, needs, [volume.frame], max(look, window))
    windows = [
        unit("windows", find_share, [frame.key], [volume.share(k)], window, k)
        for k in range(shares)
    ]
    labels = volume.image / "labels" / volume.labels
    found = [each.key for each in windows]
    merge = unit("merge", merge_shares, found, [volume.stars, labels], OVERHEAD)
    draw = [
        unit("draw", draw_share, [merge.key], [volume.drawn(k)], paint, k) for k in range(parts)
    ]
    end = unit("finish", finish, [each.key for each in draw], [volume.finished], OVERHEAD)
    return [frame, *windows, merge, *draw, end]


def network_memory(model: ModelFolder, shape: Sequence[int], *, most: int = WINDOW_BYTES) -> int:
    """Bytes of a process that shows a network the windows of a stack, each of at most so many."""
    return OVERHEAD + min(most, window_bytes(model, shape)) * 3 // 2


def make_frame(volume: Volume) -> dict[str, Any]:
    """Find the light, the size of nuclei and the range of intensities."""
    from poolvox.organoid3d.depth import measure_loss
    from poolvox.organoid3d.learned import all_windows, settle_frame, windows_of
    from poolvox.organoid3d.network import load_network
    from poolvox.organoid3d.survey import survey_stack

    image, network = open_image(volume.image), load_network(read_model(volume.model))
    source, steps = Source(image, volume.channel), check_spacing(image.spacing)
    quiet = Quiet.of(source)
    notes = hot_notes({volume.channel or "": quiet.count()})
    survey = survey_stack(quiet, steps)
    loss = measure_loss(
        survey, steps, correct=volume.attenuation == "auto", diameter=volume.diameter
    )
    survey = loss.survey
    lit = Lit(quiet, survey.light)
    settled = settle_frame(
        lit,
        survey.view,
        steps,
        network,
        scale=volume.scale,
        diameter=volume.diameter,
        sample=survey.sample,
    )
    frame, every = settled.frame, all_windows(settled.frame, network, volume.window)
    chosen = windows_of(frame, network, survey.view, most=volume.window)
    facts = {
        "frame": asdict(frame),
        "light": asdict(survey.light),
        "excess": quiet.excess,
        "windows": [every.index(window) for window in chosen],
        "attenuation": asdict(loss.attenuation),
        "corrected": loss.corrected,
        "notes": [*notes, *survey.notes, *settled.notes],
    }
    write_text(volume.frame, json.dumps(facts))
    kept = {"scale": list(frame.scale), "low": frame.low, "high": frame.high}
    return {**kept, "windows": len(chosen), "warnings": facts["notes"]}


def find_share(volume: Volume, number: int, shares: int) -> dict[str, Any]:
    """Find the polyhedra of a share of the windows."""
    from poolvox.organoid3d.learned import all_windows
    from poolvox.organoid3d.network import load_network

    network = load_network(read_model(volume.model))
    known = read_known(volume)
    every = all_windows(known.frame, network, volume.window)
    windows = [every[index] for index in known.windows]
    mine = windows[number * len(windows) // shares : (number + 1) * len(windows) // shares]
    source = known.lit(Source(open_image(volume.image), volume.channel))
    options = _options(volume, network.folder)
    parts = [window_stars(source, known.frame, network, options, window) for window in mine]
    stars = Stars.joined([Stars.none(network.folder.rays), *parts])
    _write_stars(volume.share(number), stars)
    return {"windows": len(mine), "candidates": len(stars)}


def merge_shares(volume: Volume, shares: int) -> dict[str, Any]:
    """Judge all polyhedra, name them, and make the empty labels."""
    from poolvox.organoid3d.network import read_geometry

    model = read_model(volume.model)
    geometry = read_geometry(model)
    parts = [_read_stars(volume.share(k))[0] for k in range(shares)]
    stars = merge_stars(parts, geometry, _options(volume, model))
    names = name_stars(stars, read_known(volume).frame, geometry)
    _write_stars(volume.stars, stars, names)
    open_image(volume.image).create_labels(volume.labels, np.uint32)
    return {"nuclei": int(names.max(initial=0))}


def draw_share(volume: Volume, number: int, parts: int) -> dict[str, Any]:
    """Draw the labels of a share of the store."""
    from poolvox.organoid3d.network import read_geometry

    image, model = open_image(volume.image), read_model(volume.model)
    known, raw = read_known(volume), Source(image, volume.channel)
    stars, names = _read_stars(volume.stars)
    lit, steps = known.lit(raw), check_spacing(image.spacing)
    painter = Painter(stars, names, known.frame, read_geometry(model), model, lit, steps)
    target = image.label_target(volume.labels)
    boxes = boxes_of(target)
    rows = []
    for box in boxes[number * len(boxes) // parts : (number + 1) * len(boxes) // parts]:
        labels = painter.paint(box)
        target.write_region(labels, box.start)
        rows.append(tally(labels, raw[box.slices()], box.start))
    write_arrays(volume.drawn(number), rows=np.concatenate([np.zeros((0, ROW)), *rows]))
    return {"boxes": len(rows)}


def finish(volume: Volume, parts: int) -> dict[str, Any]:
    """Build the pyramid, write the final metadata, and put together what was drawn."""
    finish_labels(open_image(volume.image), volume.labels)
    stars, names = _read_stars(volume.stars)
    rows = []
    for number in range(parts):
        with np.load(volume.drawn(number)) as arrays:
            rows.append(arrays["rows"])
    drawn = sum_up(np.concatenate(rows), stars, names)
    write_arrays(volume.finished, **asdict(drawn))
    return {"nuclei": len(drawn.labels)}


def read_drawn(volume: Volume) -> Drawn:
    """What was drawn, of a volume that is finished."""
    with np.load(volume.finished) as arrays:
        return Drawn(**arrays)


def read_known(volume: Volume) -> Known:
    """What the frame of a volume says."""
    facts = json.loads(volume.frame.read_text(encoding="utf-8"))
    kept = facts["frame"]
    frame = Frame(tuple(kept["shape"]), tuple(kept["scale"]), kept["low"], kept["high"])
    light, windows = Light(**facts["light"]), tuple(facts["windows"])
    return Known(frame, light, facts["excess"], windows, facts)


@dataclass(frozen=True, slots=True)
class _Units:
    """Makes the units of a volume: what they have in common."""

    volume: Volume
    params: dict[str, Any]
    shares: int
    parts: int

    def one(
        self,
        step: str,
        work: Any,
        needs: Sequence[str],
        outputs: Sequence[Path],
        memory: int,
        number: int | None = None,
    ) -> Unit:
        """A unit; those of a step that is shared out have numbers."""
        volume, options = self.volume, {} if number is None else {"number": number}
        if step in ("windows", "merge"):
            options["shares"] = self.shares
        elif step in ("draw", "finish"):
            options["parts"] = self.parts
        own = volume.name or volume.image.name
        name = own if number is None else f"{own}-{number:05d}"
        return Unit(
            key=f"{step}/{name}",
            step=volume.step or step,
            call=partial(work, volume, **options),
            params=self.params | options,
            needs=tuple(needs),
            outputs=tuple(outputs),
            memory=memory,
            where=dict(volume.where) or {"image": own},
        )


def _options(volume: Volume, model: ModelFolder) -> StarOptions:
    return StarOptions(model.prob, model.nms, volume.thinning)


def _write_stars(path: Path, stars: Stars, names: NDArray[np.int64] | None = None) -> None:
    named = np.zeros(len(stars), np.int64) if names is None else names
    write_arrays(path, points=stars.points, prob=stars.prob, dist=stars.dist, names=named)


def _read_stars(path: Path) -> tuple[Stars, NDArray[np.int64]]:
    with np.load(path) as arrays:
        return Stars(arrays["points"], arrays["prob"], arrays["dist"]), arrays["names"]
