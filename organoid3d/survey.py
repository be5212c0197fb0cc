"""What is decided once for a whole stack, from one pass over it, however large it is.

A stack is looked at slab by slab. What the decisions need is kept as a view: the stack itself where
it is small, else averaged over blocks of voxels. Where these would swallow nuclei, a sample of the
stack tells what nuclei tell: columns through all planes, on voxels that show them. How stored
pixels become what nuclei are looked for in, their `Light`, is the same for the whole stack and for
any part that is read later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolvox.organoid3d.blobs import Pooled, blob_response, pool, pool_by
from poolvox.organoid3d.cutout import Darkest
from poolvox.shared.errors import InputError

__all__ = ["Light", "Lit", "Sample", "Survey", "pool_stack", "survey_stack", "view_factors"]

Stack = NDArray[np.float32]

# Voxels of the largest view.
MOST = 16_000_000
# Voxels that are read at once.
SLAB = 16_000_000
# Wider voxels of a view do not show nuclei, micrometres.
FINE = 1.0
# Voxels of a sample, and the side of its columns.
SAMPLE, COLUMN = 8_000_000, 64
# What lies nearer to the side of a column than this may be blurred by the next one, micrometres.
SEAM = 4.0
# Columns with less to see than this part of the fullest are empty.
EMPTY = 0.1
# What is taken for voxels that are not finite: this percentile of the others.
DARK = 5
# No correction brightens by more than this: noise would be all that is left.
MAX_GAIN = 20.0
# The dark blobs of an inverted stack answer this much more than the bright ones.
INVERTED = 1.5
# Sizes at which blobs are asked, micrometres.
BLOB_SIZES = (6.0, 12.0)


@dataclass(frozen=True, slots=True)
class Light:
    """How pixels become what nuclei are looked for in.

    Attributes
    ----------
    fill : taken for what is not finite
    top : what contrast is turned round at; None where nuclei are bright
    rate : of the light's loss with depth, per plane; 0 where it is not corrected
    background : which is not brightened with depth
    beyond : value of all that lies beyond the cut of a stack that was cut out; else None
    level : taken for that
    """

    fill: float = 0.0
    top: float | None = None
    rate: float = 0.0
    background: float = 0.0
    beyond: float | None = None
    level: float = 0.0

    def of(self, pixels: NDArray[Any], first: float = 0.0) -> Stack:
        """(Z, Y, X) pixels as they are looked at, a copy; `first` is the place of their plane 0."""
        lit = np.array(pixels, np.float32)
        if pixels.dtype.kind == "f":
            lit[~np.isfinite(lit)] = self.fill
        if self.beyond is not None:
            lit[lit == np.float32(self.beyond)] = self.level
        if self.top is not None:
            np.subtract(np.float32(self.top), lit, out=lit)
        return self.deepened(lit, first)

    @property
    def uncut(self) -> Light:
        """The same, but what lies beyond a cut is left dark: it is no tissue."""
        return replace(self, beyond=None)

    def deepened(self, stack: Stack, first: float = 0.0) -> Stack:
        """Brighten deep planes of a finite stack by what they have lost, in place."""
        if self.rate > 0:
            depths = np.arange(stack.shape[0]) + first
            gain = np.minimum(np.exp(self.rate * depths), MAX_GAIN).astype(np.float32)
            stack -= np.float32(self.background)
            stack *= gain[:, None, None]
            stack += np.float32(self.background)
        return stack


class Lit:
    """A stack read by slices, in its light."""

    def __init__(self, source: Any, light: Light) -> None:
        """Wrap an array that is read by slices."""
        self._source, self._light = source, light
        self.shape: tuple[int, ...] = tuple(source.shape)

    def __getitem__(self, region: tuple[slice, ...]) -> Stack:
        """Pixels of a region."""
        first = region[0].indices(self.shape[0])[0]
        return self._light.of(np.asarray(self._source[region]), first)


@dataclass(frozen=True, slots=True)
class Sample(Pooled):
    """Columns of a stack, side by side along x; each is `column` voxels wide, 0: there is one."""

    column: int = 0

    def beside_seams(self) -> NDArray[np.bool_]:
        """(X,) places where what lies beside each other does not belong together."""
        place = np.arange(self.stack.shape[2])
        if not self.column:
            return np.zeros(len(place), bool)
        near, place = SEAM / self.spacing[2], place % self.column
        return np.asarray((place < near) | (place >= self.column - near))


@dataclass(frozen=True, slots=True)
class Survey:
    """What a stack is like.

    Attributes
    ----------
    light : how its pixels are taken; not corrected for depth
    view : the stack in that light, averaged where it is large
    sample : of the stack, to see nuclei in; the view itself where it shows them
    notes : what was changed
    """

    light: Light
    view: Pooled
    sample: Sample
    notes: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Tell whether the view is the stack itself."""
        return self.view.factors == (1, 1, 1)

    def corrected(self, rate: float, background: float) -> Survey:
        """The same with the loss of light corrected: `rate` per plane of the stack."""
        light = replace(self.light, rate=rate, background=background)
        view = replace(self.view, stack=_deepened(self.view, light))
        same = self.sample.stack is self.view.stack
        stack = view.stack if same else _deepened(self.sample, light)
        return Survey(light, view, replace(self.sample, stack=stack), self.notes)


def survey_stack(source: Any, spacing: Sequence[float], *, most: int = MOST) -> Survey:
    """Look at a stack once.

    Parameters
    ----------
    source : (Z, Y, X) array of real numbers, read by slices
    spacing : micrometres
    most : voxels of the view
    """
    factors = view_factors(source.shape, spacing, most)
    light = Light(_dark(source) if source.dtype.kind == "f" else 0.0)
    parts, broken, top, darkest = [], 0, -np.inf, Darkest()
    for first, pixels in _slabs(source, factors[0]):
        if pixels.dtype.kind == "f":
            broken += pixels.size - int(np.count_nonzero(np.isfinite(pixels)))
        lit = light.of(pixels, first)
        top = max(top, float(lit.max()))
        darkest.add(lit)
        parts.append(pool_by(lit, factors))
    voxels = int(np.prod(source.shape))
    if broken == voxels:
        raise InputError("the stack holds no finite number: all voxels are NaN or infinite")
    notes = []
    if broken:
        notes.append(f"{broken / voxels:.2%} of the voxels were not finite: taken as background")
    stack = parts[0] if len(parts) == 1 else np.concatenate(parts)
    cut = darkest.cut(lambda: (light.of(pixels) for _, pixels in _slabs(source, factors[0])))
    if cut is not None:
        notes.append(
            f"{cut.part:.0%} of the voxels lie beyond a cut: as dark as its edge from now on"
        )
        light = replace(light, beyond=cut.value, level=cut.level)
        stack = pool_stack(source, light, factors)
    view = Pooled(stack, factors, np.asarray(spacing, float) * factors)
    sample = _sample(source, light, view, spacing)
    if _is_inverted(sample):
        notes.append("nuclei are darker than their surroundings: the contrast was turned round")
        light = replace(light, top=top)
        same = sample.stack is view.stack
        view = replace(view, stack=np.float32(top) - stack)
        turned = view.stack if same else np.float32(top) - sample.stack
        sample = replace(sample, stack=turned)
    return Survey(light, view, sample, tuple(notes))


def pool_stack(source: Any, light: Light, factors: tuple[int, int, int]) -> Stack:
    """A stack in a light, averaged over blocks of so many voxels, in one pass."""
    parts = [
        pool_by(light.of(pixels, first), factors) for first, pixels in _slabs(source, factors[0])
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def view_factors(
    shape: Sequence[int], spacing: Sequence[float], most: int = MOST
) -> tuple[int, int, int]:
    """Voxels that are averaged along each axis: the finest first, until the view is small.

    Examples
    --------
    >>> view_factors((100, 1000, 1000), (2.0, 0.5, 0.5))
    (1, 3, 3)
    """
    factors = [1, 1, 1]
    while np.prod([-(-n // f) for n, f in zip(shape, factors, strict=True)]) > most:
        steps = [
            s * f if f < n else np.inf for s, f, n in zip(spacing, factors, shape, strict=True)
        ]
        factors[int(np.argmin(steps))] += 1
    z, y, x = factors
    return z, y, x


def _deepened(shown: Pooled, light: Light) -> Stack:
    """A view with its loss of light corrected."""
    each = shown.factors[0]
    # Its planes are this many of the stack's apart, and their middles lie between.
    coarse = replace(light, rate=light.rate * each)
    return coarse.deepened(shown.stack.copy(), (each - 1) / 2 / each)


def _sample(source: Any, light: Light, view: Pooled, spacing: Sequence[float]) -> Sample:
    """Columns of a stack in which there is something, side by side; or the view if it is fine."""
    z, y, x = (max(int(FINE / step + 1e-9), 1) for step in spacing)
    factors = (z, y, x)
    if all(there <= wanted for there, wanted in zip(view.factors, factors, strict=True)):
        return Sample(view.stack, view.factors, view.spacing)
    planes = -(-source.shape[0] // factors[0])
    side = min(COLUMN, max(int(np.sqrt(SAMPLE / planes)), 1))
    tall, wide = (min(side * f, n) for f, n in zip(factors[1:], source.shape[1:], strict=True))
    corners = [
        (y, x)
        for y in range(0, source.shape[1] - tall + 1, tall)
        for x in range(0, source.shape[2] - wide + 1, wide)
    ]
    # Dark nuclei are as good as bright ones.
    middle, seen = np.median(view.stack), np.zeros(view.stack.shape[1:])
    for plane in view.stack:
        seen += np.abs(plane - middle)
    _, down, across = view.factors
    scores = [
        seen[y // down : -(-(y + tall) // down), x // across : -(-(x + wide) // across)].mean()
        for y, x in corners
    ]
    full = np.flatnonzero(np.array(scores) >= EMPTY * max(scores))
    count = min(max(SAMPLE // (planes * side**2), 1), len(full))
    # Evenly over all that is there: neither the brightest nor the first stand for the others.
    chosen = full[np.linspace(0, len(full) - 1, count).round().astype(int)]
    deep = max(SLAB // (tall * wide) // factors[0], 1) * factors[0]
    columns = []
    for y, x in (corners[number] for number in chosen):
        slabs = [
            light.of(np.asarray(source[first : first + deep, y : y + tall, x : x + wide]), first)
            for first in range(0, source.shape[0], deep)
        ]
        columns.append(np.concatenate([pool_by(slab, factors) for slab in slabs]))
    steps = np.asarray(spacing, float) * factors
    return Sample(np.concatenate(columns, axis=2), factors, steps, columns[0].shape[2])


def _slabs(source: Any, each: int) -> Iterator[tuple[int, NDArray[Any]]]:
    """The stack in slabs of planes, multiples of `each`, and the first plane of each slab."""
    planes, size = source.shape[0], int(np.prod(source.shape[1:]))
    deep = max(SLAB // max(size, 1) // each, 1) * each
    for first in range(0, planes, deep):
        yield first, np.asarray(source[first : first + deep])


def _dark(source: Any) -> float:
    """What is dark in a stack of floats, from as many planes as a slab holds."""
    step = max(-(-int(np.prod(source.shape)) // SLAB), 1)
    sample = np.concatenate(
        [np.asarray(source[z : z + 1]).ravel() for z in range(0, source.shape[0], step)]
    ).astype(np.float32)
    sample = sample[np.isfinite(sample)]
    return float(np.percentile(sample, DARK)) if sample.size else 0.0


def _is_inverted(sample: Pooled) -> bool:
    """Tell by blobs and by the histogram's longer tail; both must say so."""
    coarse = pool(sample.stack, sample.spacing.tolist(), 1.0)
    low, middle, high = np.percentile(coarse.stack, (0.5, 50, 99.5))
    if high - low <= 0 or high - middle >= middle - low:
        return False
    clipped = np.clip(coarse.stack, low, high)
    # Blobs at the faces of the stack are cut and say little.
    bright, dark = 0.0, 0.0
    for size in BLOB_SIZES:
        response = blob_response(clipped, coarse.spacing, size)
        bright = max(bright, float(np.percentile(response, 99.9)))
        dark = max(dark, -float(np.percentile(response, 0.1)))
    return dark > INVERTED * bright
