"""The objects of a label image: found once, then measured by every group.

Voxels are kept as runs along x, sorted by label. Finding them is one pass over the image, and
what is kept is a few bytes per run, not per voxel of the volume. A plane is a volume of one z.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.features.kernels import Floats, Ints, Layout, kernel
from poolvox.shared.imaging.cleanup import whole_labels

__all__ = ["Objects", "Spacing", "find_objects", "spacing_of"]

Out = TypeVar("Out", bound=NDArray[Any])
Kept = TypeVar("Kept")
Spacing = float | Sequence[float] | Mapping[str, float]

# Under this name objects remember the distance of their voxels to the border.
BORDER = "border distance"
# Objects below this many voxels in all are not worth a second thread.
VOXELS_PER_THREAD = 50_000


@dataclass(frozen=True)
class Objects:
    """The objects of one label image, in ascending order of their labels.

    Attributes
    ----------
    ids : (K,) the labels
    labels : (Z, Y, X) the label image itself, not copied; 2D images have one z
    layout : runs, offsets and bounding boxes, as kernels take them
    ndim : 2 or 3
    threads : how many threads share the objects; results do not depend on it
    """

    ids: NDArray[np.integer[Any]]
    labels: NDArray[np.integer[Any]]
    layout: Layout
    ndim: int
    threads: int = 1

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.ids)

    @property
    def spacing(self) -> Floats:
        """(ndim,) micrometres per voxel."""
        return self.layout.spacing[-self.ndim :]

    @property
    def voxel_size(self) -> float:
        """Cubic (square) micrometres of one voxel (pixel)."""
        return float(np.prod(self.spacing))

    @cached_property
    def counts(self) -> Ints:
        """(K,) number of voxels."""
        return np.diff(self.layout.voxels)

    @cached_property
    def centroids(self) -> Floats:
        """(K, ndim) centres of the objects in voxels of the image, the first voxel being 0."""
        sums = self.reduce(_sum_coordinates, np.zeros((len(self), 3)))
        origin = self.layout.box[:, 0::2]
        return np.asarray(sums / self.counts[:, None] + origin)[:, 3 - self.ndim :]

    @property
    def border_distance(self) -> Floats:
        """(N,) micrometres from every voxel, in object order, to the nearest one outside it.

        Distances run between centres of voxels, and the image is as if it went on with background.
        """
        from poolvox.shared.features.distances import distance_to_border

        def find() -> Floats:
            return self.reduce(distance_to_border, np.empty(self.layout.voxels[-1]))

        return self.remember(BORDER, find)

    @cached_property
    def _remembered(self) -> dict[Hashable, Any]:
        return {}

    @property
    def indices(self) -> Ints:
        """(N,) flat index into the volume of every voxel, in object order."""
        return _expand(self.layout)

    def remember(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """What `make` returns, made once for these objects; `key` names it."""
        if key not in self._remembered:
            self._remembered[key] = make()
        kept: Kept = self._remembered[key]
        return kept

    def gather(self, image: ArrayLike) -> Floats:
        """Values of `image` at every voxel of every object, (N,) in object order."""
        volume = np.asarray(image).reshape(self.labels.shape)
        if volume.flags.c_contiguous and volume.dtype.kind != "b":
            return _gather(self.layout, volume.reshape(-1))
        return np.asarray(volume.reshape(-1)[self.indices], dtype=np.float64)

    def reduce(self, work: Callable[..., None], out: Out, *args: Any) -> Out:
        """Fill `out` by calling `work(layout, *args, out, start, stop)` over all objects.

        `work` writes only what belongs to the objects `start` to `stop`, so threads share `out`.
        """
        parts = self._parts()
        if len(parts) <= 2:
            work(self.layout, *args, out, 0, len(self))
            return out
        spans = list(pairwise(parts))
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(lambda span: work(self.layout, *args, out, *span), spans))
        return out

    def _parts(self) -> list[int]:
        total = int(self.layout.voxels[-1])
        count = min(self.threads * 4, total // VOXELS_PER_THREAD) if self.threads > 1 else 1
        cuts = np.searchsorted(self.layout.voxels, np.linspace(0, total, max(count, 1) + 1))
        return sorted({0, len(self), *(int(cut) for cut in cuts[1:-1])})


def find_objects(labels: ArrayLike | Objects, *, spacing: Spacing, threads: int = 1) -> Objects:
    """Index the objects of a label image.

    Parameters
    ----------
    labels : (Y, X) or (Z, Y, X) array of any integer type, or of whole floats; 0 is background,
        ids may have gaps. Objects that were found before are handed back as they are
    spacing : micrometres per voxel, one number or one per axis (or a mapping by axis name)
    threads : how many threads later share the work

    Examples
    --------
    >>> objects = find_objects([[0, 7, 7], [3, 0, 0]], spacing=0.5)
    >>> objects.ids.tolist(), objects.counts.tolist(), objects.voxel_size
    ([3, 7], [1, 2], 0.25)
    """
    if isinstance(labels, Objects):
        return labels
    image = _checked(np.asarray(labels))
    scale = spacing_of(spacing, image.ndim)
    volume = np.ascontiguousarray(image.reshape((1,) * (3 - image.ndim) + image.shape))
    # Signed and unsigned of one width have the same bits: half as many kernels to compile.
    raw = volume.view(f"u{volume.dtype.itemsize}")
    start, length, value = _runs(raw, _count_runs(raw))
    ids, member = np.unique(value, return_inverse=True)
    order = np.argsort(member, kind="stable")
    start, length, member = start[order], length[order], member[order]
    runs = np.searchsorted(member, np.arange(len(ids) + 1)).astype(np.int64)
    ends = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
    shape = np.array(volume.shape, dtype=np.int64)
    full = np.array((1.0,) * (3 - image.ndim) + scale)
    box = _boxes(start, length, runs, shape)
    layout = Layout(shape, full, start, length, runs, ends[runs], box, int(image.ndim == 2))
    kept = ids if ids.size and int(ids[-1]) > np.iinfo(np.int64).max else ids.astype(np.int64)
    return Objects(kept, volume, layout, image.ndim, threads)


def spacing_of(spacing: Spacing, ndim: int) -> tuple[float, ...]:
    """Micrometres per voxel along each of `ndim` axes, checked.

    Examples
    --------
    >>> spacing_of({"y": 0.5, "x": 0.5, "z": 2}, 3)
    (2.0, 0.5, 0.5)
    """
    axes = "zyx"[-ndim:]
    if isinstance(spacing, Mapping):
        missing = [axis for axis in axes if axis not in spacing]
        if missing:
            raise InputError(f"spacing has no {', '.join(missing)}: give micrometres for {axes}")
        values = [spacing[axis] for axis in axes]
    else:
        values = [spacing] * ndim if np.isscalar(spacing) else list(spacing)  # type: ignore[arg-type, list-item]
    if len(values) != ndim:
        raise InputError(f"spacing has {len(values)} values, the labels have {ndim} axes ({axes})")
    scale = tuple(float(value) for value in values)
    if not all(np.isfinite(value) and value > 0 for value in scale):
        raise InputError(f"spacing is {scale}: every value must be a positive number of um")
    return scale


def _checked(image: NDArray[Any]) -> NDArray[np.integer[Any]]:
    if image.ndim not in (2, 3):
        raise InputError(f"labels have shape {image.shape}: expected (Y, X) or (Z, Y, X)")
    image = whole_labels(image)
    if image.dtype.kind == "b":
        image = image.view(np.uint8)
    if image.dtype.kind not in "iu":
        raise InputError(f"labels are {image.dtype}: expected integers, 0 for background")
    if image.dtype.kind == "i" and image.size and image.min() < 0:
        raise InputError(f"labels go down to {image.min()}: expected 0 (background) and above")
    native: NDArray[np.integer[Any]] = image.astype(image.dtype.newbyteorder("="), copy=False)
    return native


@kernel
def _count_runs(volume: NDArray[Any]) -> int:
    flat, width = volume.reshape(-1), volume.shape[2]
    count = 0
    for begin in range(0, flat.size, max(width, 1)):
        before = flat[begin] * 0
        for at in range(begin, begin + width):
            value = flat[at]
            if value != before and value != 0:
                count += 1
            before = value
    return count


@kernel
def _runs(volume: NDArray[Any], count: int) -> tuple[Ints, Ints, NDArray[Any]]:
    flat, width = volume.reshape(-1), volume.shape[2]
    start, length = np.empty(count, np.int64), np.zeros(count, np.int64)
    label = np.empty(count, flat.dtype)
    run = -1
    for begin in range(0, flat.size, max(width, 1)):
        before = flat[begin] * 0
        for at in range(begin, begin + width):
            value = flat[at]
            if value != 0:
                if value != before:
                    run += 1
                    start[run], label[run] = at, value
                length[run] += 1
            before = value
    return start, length, label


@kernel
def _boxes(start: Ints, length: Ints, runs: Ints, shape: Ints) -> Ints:
    box = np.empty((len(runs) - 1, 6), np.int64)
    for k in range(len(runs) - 1):
        box[k, 0::2], box[k, 1::2] = shape, 0
        for run in range(runs[k], runs[k + 1]):
            line, x = divmod(start[run], shape[2])
            z, y = divmod(line, shape[1])
            for axis, low, high in ((0, z, z + 1), (1, y, y + 1), (2, x, x + length[run])):
                box[k, 2 * axis] = min(box[k, 2 * axis], low)
                box[k, 2 * axis + 1] = max(box[k, 2 * axis + 1], high)
    return box


@kernel
def _expand(layout: Layout) -> Ints:
    indices = np.empty(layout.voxels[-1], np.int64)
    at = 0
    for run in range(len(layout.start)):
        for step in range(layout.length[run]):
            indices[at + step] = layout.start[run] + step
        at += layout.length[run]
    return indices


@kernel
def _gather(layout: Layout, flat: NDArray[Any]) -> Floats:
    values = np.empty(layout.voxels[-1], np.float64)
    at = 0
    for run in range(len(layout.start)):
        first = layout.start[run]
        for step in range(layout.length[run]):
            values[at + step] = flat[first + step]
        at += layout.length[run]
    return values


@kernel
def _sum_coordinates(layout: Layout, out: Floats, start: int, stop: int) -> None:
    for k in range(start, stop):
        # Counted from the corner of the box, so that the sums do not know where the object lies.
        for run in range(layout.runs[k], layout.runs[k + 1]):
            line, x = divmod(layout.start[run], layout.shape[2])
            z, y = divmod(line, layout.shape[1])
            n = layout.length[run]
            out[k, 0] += n * (z - layout.box[k, 0])
            out[k, 1] += n * (y - layout.box[k, 2])
            out[k, 2] += n * (x - layout.box[k, 4]) + n * (n - 1) / 2
