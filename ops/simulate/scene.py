"""Where things are: nuclei, cell bodies, and the reads inside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from poolvox.ops.simulate.params import Layout

__all__ = ["Cells", "place_cells", "place_reads", "reads_per_cell"]

Floats = NDArray[np.float64]
Labels = NDArray[np.int32]

# Harmonics of a cell's outline: 2 gives it length, 3 and 4 make it irregular.
HARMONICS = (2, 3, 4)
OUTLINE_SPREAD = (0.12, 0.06, 0.04)
# A body reaches this many nuclear radii, as the median.
BODY_OVER_NUCLEUS = 1.7
# The largest radius, over the median of its kind, that is drawn.
REACH = 1.9


@dataclass(frozen=True, slots=True)
class Cells:
    """Cells of a field that is wider than the tile by `margin` on every side.

    Positions are in pixels of the tile; labels cover the wide field, `label = index + 1`.
    """

    y: Floats
    x: Floats
    nuclei: Labels
    bodies: Labels
    margin: int

    def inside(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Which cells have their centre on the tile."""
        height, width = shape
        inner: NDArray[np.bool_] = (
            (self.y >= 0) & (self.y < height - 0.5) & (self.x >= 0) & (self.x < width - 0.5)
        )
        return inner


def place_cells(layout: Layout, margin: int, rng: np.random.Generator) -> Cells:
    """Scatter cells at random, no closer than their own spacing allows, and draw their outlines."""
    height, width = (size + 2 * margin for size in layout.shape)
    density = layout.cells / (layout.shape[0] * layout.shape[1])
    count = round(density * height * width)
    tries = rng.random((60 * count, 2)) * (height, width)
    apart = layout.spacing * np.exp(0.22 * rng.standard_normal(len(tries)))
    kept = _keep_apart(tries, apart, count)
    y, x = tries[kept].T
    radius = np.sqrt(layout.nucleus_area / np.pi) * np.exp(0.12 * rng.standard_normal(len(y)))
    body = BODY_OVER_NUCLEUS * radius * np.exp(0.12 * rng.standard_normal(len(y)))
    shape = (height, width)
    nuclei = _outlines(y, x, radius, shape, rng)
    bodies = _outlines(y, x, body, shape, rng)
    bodies[nuclei > 0] = nuclei[nuclei > 0]
    return Cells(y - margin, x - margin, nuclei, bodies, margin)


def reads_per_cell(count: int, layout: Layout, rng: np.random.Generator) -> NDArray[np.int64]:
    """Numbers of reads of `count` transduced cells: one, and a negative binomial above it."""
    mean = layout.reads - 1
    if mean <= 0:
        return np.ones(count, np.int64)
    p = layout.dispersion / (layout.dispersion + mean)
    return 1 + rng.negative_binomial(layout.dispersion, p, count)


def place_reads(
    cells: Cells, owner: NDArray[np.int64], spill: float, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Put each read at random into the body of its cell, and let it stray by `spill` pixels.

    Parameters
    ----------
    owner : (n,) labels, from 1

    Returns
    -------
    y, x : (n,) arrays in pixels of the tile
    """
    flat = cells.bodies.ravel()
    order = np.argsort(flat, kind="stable")
    begin = np.searchsorted(flat[order], owner, side="left")
    end = np.searchsorted(flat[order], owner, side="right")
    pixel = order[begin + (rng.random(len(owner)) * (end - begin)).astype(np.int64)]
    rows, columns = np.divmod(pixel, cells.bodies.shape[1])
    inside = rng.random((2, len(owner))) - 0.5
    stray = spill * rng.standard_normal((2, len(owner)))
    return (
        rows + inside[0] + stray[0] - cells.margin,
        columns + inside[1] + stray[1] - cells.margin,
    )


def _outlines(
    y: Floats, x: Floats, radius: Floats, shape: tuple[int, int], rng: np.random.Generator
) -> Labels:
    amplitude = rng.standard_normal((len(y), len(HARMONICS))) * OUTLINE_SPREAD
    phase = rng.random((len(y), len(HARMONICS))) * 2 * np.pi
    labels: Labels = _draw(y, x, radius, amplitude, phase, np.array(HARMONICS), shape)
    return labels


@njit(cache=True, nogil=True)
def _keep_apart(points, apart, count):  # type: ignore[no-untyped-def]
    """Take points one by one that keep their distance from those taken, until there are enough."""
    kept = np.empty(count, np.int64)
    n = 0
    for i in range(len(points)):
        if n == count:
            break
        free = True
        for k in range(n):
            j = kept[k]
            limit = 0.5 * (apart[i] + apart[j])
            dy = points[i, 0] - points[j, 0]
            dx = points[i, 1] - points[j, 1]
            if dy * dy + dx * dx < limit * limit:
                free = False
                break
        if free:
            kept[n] = i
            n += 1
    return kept[:n]


@njit(cache=True, nogil=True)
def _draw(y, x, radius, amplitude, phase, harmonics, shape):  # type: ignore[no-untyped-def]
    """Give each pixel to the outline it lies deepest in."""
    labels = np.zeros(shape, np.int32)
    depth = np.ones(shape, np.float32)
    for i in range(len(y)):
        reach = int(REACH * radius[i]) + 1
        for r in range(max(0, int(y[i]) - reach), min(shape[0], int(y[i]) + reach + 2)):
            for c in range(max(0, int(x[i]) - reach), min(shape[1], int(x[i]) + reach + 2)):
                dy, dx = r - y[i], c - x[i]
                angle = np.arctan2(dy, dx)
                limit = 1.0
                for k in range(len(harmonics)):
                    limit += amplitude[i, k] * np.cos(harmonics[k] * angle + phase[i, k])
                relative = np.sqrt(dy * dy + dx * dx) / (radius[i] * max(limit, 0.4))
                if relative < depth[r, c]:
                    depth[r, c] = relative
                    labels[r, c] = i + 1
    return labels
