"""Bring each base image onto the reads: they lie at the same places in all cycles and channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from poolvox.ops.psf import DEFAULT_SIGMA, SIZE, WINDOW, fall_off
from poolvox.ops.spots import SpotSettings, combine_bases, detect, plane_levels, stand_alone
from poolvox.shared.imaging.warp import Transform

__all__ = ["Refined", "refine_planes"]

Images = NDArray[np.uint16]
Points = NDArray[np.float64]

# Reads used: the brightest, at least as bright as this over the noise, this far from the next and
# from the border of the image (pixels).
READS = 400
READ_SNR = 8.0
ALONE = 5.0
# A read takes part in a plane where its light there is this often the error of that.
PLANE_SNR = 6.0
# A plane is moved on the evidence of at least this many reads, in rounds of Newton's method that
# end when it moves less than this (pixels).
LEAST_READS = 10
ROUNDS, SETTLED = 3, 0.01


@dataclass(frozen=True, slots=True)
class Refined:
    """Transforms per cycle and channel, and for base images what is left (pixels) and on how many
    reads that was measured."""

    transforms: list[list[Transform]]
    residual: NDArray[np.float64]
    evidence: NDArray[np.int64]


def refine_planes(
    images: Images, coarse: Sequence[Sequence[Transform]], bases: tuple[int, ...]
) -> Refined:
    """Move each base image onto the reads that all of them show together.

    Parameters
    ----------
    images : (cycle, channel, Y, X) array
    coarse : transforms per cycle and channel that are right to within a pixel or two
    bases : indices of the base channels
    """
    shape = images.shape[:2]
    residual, evidence = np.full(shape, np.nan), np.zeros(shape, np.int64)
    transforms = [list(cycle) for cycle in coarse]
    levels = plane_levels(images, bases)
    points, sigma = _bright_reads(combine_bases(images, coarse, bases, levels))
    moves = np.zeros((*shape, 2))
    for t, noises in enumerate(levels[:, :, 1].tolist()):
        for c, noise in zip(bases, noises, strict=True):
            if noise == 0 or len(points) < LEAST_READS:
                continue
            at = coarse[t][c].apply(points)
            offsets = _offsets(images[t, c], at, sigma, PLANE_SNR * noise)
            moves[t, c], residual[t, c], evidence[t, c] = _judged(points, offsets)
    moves = _completed(moves, evidence >= LEAST_READS, bases)
    for t in range(shape[0]):
        for c in range(shape[1]):
            y, x = moves[t, c]
            transforms[t][c] = Transform((float(y), float(x))).after(coarse[t][c])
    return Refined(transforms, residual, evidence)


def _completed(moves: Points, seen: NDArray[np.bool_], bases: tuple[int, ...]) -> Points:
    """Moves of all planes from those that were measured.

    A plane without enough reads of its own drifts as the others of its cycle, and is off as its
    channel is in other cycles. Reads tell how planes lie to each other, not to the nuclei: on the
    average of its base images, the first cycle stays put.
    """
    known = np.where(seen[:, :, None], moves, np.nan)[:, list(bases)]
    if not seen.any():
        return np.zeros_like(moves)
    colour, drift = np.zeros(known.shape[1:]), np.zeros((len(known), 2))
    for _ in range(ROUNDS):
        drift = _median(known - colour, axis=1)
        colour = _median(known - drift[:, None], axis=0)
    filled = np.where(np.isnan(known), drift[:, None] + colour, known)
    gauge = filled[0].mean(axis=0)
    whole = np.repeat(drift[:, None] - drift[0], moves.shape[1], axis=1)
    whole[:, list(bases)] = filled - gauge
    return whole


def _median(values: Points, axis: int) -> Points:
    """Median of what is known; 0 where nothing is."""
    known = np.isfinite(values)
    order = np.sort(np.where(known, values, np.inf), axis=axis)
    count = known.sum(axis=axis)
    middle = [np.maximum(count - 1, 0) // 2, count // 2]
    pair = [np.take_along_axis(order, np.expand_dims(m, axis), axis) for m in middle]
    return np.where(count > 0, np.nan_to_num(0.5 * (pair[0] + pair[1]).squeeze(axis)), 0.0)


def _bright_reads(combined: NDArray[np.float32]) -> tuple[Points, float]:
    """Places of bright reads that stand alone, and the width of reads."""
    height, width = combined.shape
    spots = detect(combined, SpotSettings(min_snr=READ_SNR))
    y, x = spots["y"].to_numpy(), spots["x"].to_numpy()
    inside = (np.minimum(y, height - 1 - y) > WINDOW) & (np.minimum(x, width - 1 - x) > WINDOW)
    chosen = np.flatnonzero(inside & stand_alone(y, x, ALONE))
    order = np.argsort(-spots["snr"].to_numpy()[chosen], kind="stable")[:READS]
    points = np.column_stack([y, x])[np.sort(chosen[order])]
    return points, float(spots["sigma"].iloc[0]) if len(spots) else DEFAULT_SIGMA


@njit(cache=True, nogil=True)
def _offsets(plane, at, sigma, least):  # type: ignore[no-untyped-def]
    """How far each read lies from its place, (n, 2); NaN for those that the plane does not show."""
    move = np.zeros(2)
    offsets = np.full(at.shape, np.nan)
    for _ in range(ROUNDS):
        rest = _displaced(plane, at, move, sigma, least)
        seen = np.isfinite(rest[:, 0])
        if seen.sum() < LEAST_READS:
            return np.full(at.shape, np.nan)
        offsets = rest + move
        before, move = move, _middle(offsets[seen])
        if np.abs(move - before).max() < SETTLED:
            break
    return offsets


def _judged(points: Points, offsets: Points) -> tuple[Points, float, int]:
    """Common move of a plane, what it leaves, and on how many reads.

    Each half of the reads judges the move that the other half asks for: where it would leave them
    further off than they are, it is not made.
    """
    seen = np.isfinite(offsets[:, 0])
    points, offsets = points[seen], offsets[seen]
    if len(points) < LEAST_READS:
        return np.zeros(2), float("nan"), len(points)
    before, after = _cross_examined(points, offsets)
    if after > before:
        return np.zeros(2), before, len(points)
    return _middle(offsets), after, len(points)


@njit(cache=True, nogil=True)
def _cross_examined(points, offsets):  # type: ignore[no-untyped-def]
    """How far off each half of the reads is, as it is and with the move of the other half."""
    before, after = 0.0, 0.0
    for half in range(2):
        here, there = offsets[half::2], offsets[1 - half :: 2]
        before += 0.5 * _patchy(points[half::2], here)
        after += 0.5 * _patchy(points[half::2], here - _middle(there))
    return before, after


@njit(cache=True, nogil=True)
def _middle(offsets):  # type: ignore[no-untyped-def]
    return np.array([np.median(offsets[:, 0]), np.median(offsets[:, 1])])


@njit(cache=True, nogil=True)
def _patchy(points, offsets):  # type: ignore[no-untyped-def]
    """Root mean square over the quarters of the tile of how far their reads are off together.

    What the scatter of the reads makes of it is taken off.
    """
    centre = _middle(points)
    total, quarters = 0.0, 0
    for q in range(4):
        inside = ((points[:, 0] > centre[0]) == (q // 2 == 1)) & (
            (points[:, 1] > centre[1]) == (q % 2 == 1)
        )
        part = offsets[inside]
        if len(part) < 2:
            continue
        middle = _middle(part)
        spread = 1.4826 * _middle(np.abs(part - middle))
        # A median is pi / 2 times as uncertain as a mean.
        total += np.sum(middle**2) - np.pi / 2 * np.sum(spread**2) / len(part)
        quarters += 1
    return np.sqrt(max(total / quarters, 0.0)) if quarters else 0.0


@njit(cache=True, nogil=True, fastmath=True)
def _displaced(plane, at, move, sigma, least):  # type: ignore[no-untyped-def]
    """One step of Newton's method for the place of a Gaussian spot on a level background."""
    offsets = np.full((len(at), 2), np.nan)
    height, width = plane.shape
    variance, count = sigma * sigma, SIZE * SIZE
    along, across = np.empty(SIZE), np.empty(SIZE)
    for i in range(len(at)):
        y, x = at[i, 0] + move[0], at[i, 1] + move[1]
        top, left = int(np.floor(y + 0.5)) - WINDOW, int(np.floor(x + 0.5)) - WINDOW
        if top < 0 or left < 0 or top + SIZE > height or left + SIZE > width:
            continue
        fall_off(along, top - y, sigma)
        fall_off(across, left - x, sigma)
        g_r, gg_r, gd_r, ggd_r, ggdd_r = _moments(along, top - y)
        g_c, gg_c, gd_c, ggd_c, ggdd_c = _moments(across, left - x)
        total, mixed, slope_y, slope_x = 0.0, 0.0, 0.0, 0.0
        for r in range(SIZE):
            row, row_mixed, row_slope = 0.0, 0.0, 0.0
            for c in range(SIZE):
                v = np.float64(plane[top + r, left + c])
                row += v
                row_mixed += across[c] * v
                row_slope += across[c] * (left + c - x) * v
            total += row
            mixed += along[r] * row_mixed
            slope_y += along[r] * (top + r - y) * row_mixed
            slope_x += along[r] * row_slope
        spread = gg_r * gg_c - (g_r * g_c) ** 2 / count
        peak = (mixed - g_r * g_c * total / count) / spread
        if peak * np.sqrt(spread) < least:
            continue
        level = (total - peak * g_r * g_c) / count
        step_y = (slope_y - level * gd_r * g_c - peak * ggd_r * gg_c) / (ggdd_r * gg_c)
        step_x = (slope_x - level * g_r * gd_c - peak * gg_r * ggd_c) / (gg_r * ggdd_c)
        offsets[i, 0] = min(max(step_y * variance / peak, -2.0), 2.0)
        offsets[i, 1] = min(max(step_x * variance / peak, -2.0), 2.0)
    return offsets


@njit(cache=True, nogil=True, fastmath=True)
def _moments(profile, offset):  # type: ignore[no-untyped-def]
    """Sums over g, g^2, g d, g^2 d and g^2 d^2 of a profile g at distances d from its centre."""
    g, gg, gd, ggd, ggdd = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(SIZE):
        d = offset + k
        g += profile[k]
        gg += profile[k] * profile[k]
        gd += profile[k] * d
        ggd += profile[k] * profile[k] * d
        ggdd += profile[k] * profile[k] * d * d
    return g, gg, gd, ggd, ggdd
