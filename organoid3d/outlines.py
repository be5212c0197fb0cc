"""Outlines moved to where the intensity falls, without leaving the neighbourhood of the labels.

A network draws a smooth guess of each nucleus. Where the guess is too small or too large, the
stack itself tells: between the level inside an object and that of its surroundings lies a
threshold of its own. Voxels near the outline go to the side they look like, and where objects
meet, to the one they are nearer to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from poolvox.shared.errors import InputError

__all__ = ["OutlineOptions", "refine_labels", "refining_margin"]

Labels = NDArray[np.uint32]

# Blur before levels are compared, in parts of the reach: single voxels are noise.
SMOOTH = 0.35
# And no more than so many voxels; where the Gaussian ends, in standard deviations.
MOST_SMOOTH, TRUNCATE = 1.5, 3.0
# An object is left alone if inside and outside differ by less than so many spreads of the outside.
LEAST_CONTRAST = 2.0
# Surroundings reach this far, in reaches of the outline.
FAR = 3.0
MAD = 1.4826  # spread of a normal variable over its median absolute deviation
# Fewer voxels inside or outside tell no level.
LEAST_VOXELS = 8


@dataclass(frozen=True, slots=True)
class OutlineOptions:
    """How far outlines may move, and to which level.

    Parameters
    ----------
    reach : farthest that an outline moves, in radii of the object's ball of the same volume; by
        one voxel along axes where voxels are longer than that
    level : of the threshold, from 0, the surroundings, to 1, the inside
    tolerance : outlines whose volume would change by less than this part stay as they are
    """

    reach: float = 0.4
    level: float = 0.4
    tolerance: float = 0.25

    def __post_init__(self) -> None:
        """Refuse what makes no outline."""
        if not 0 < self.reach <= 1:
            raise InputError(f"reach must be above 0 and at most 1 radius, got {self.reach}")
        if not 0 < self.level < 1:
            raise InputError(f"level must lie between 0 and 1, got {self.level}")
        if not 0 <= self.tolerance < 1:
            raise InputError(f"tolerance must be from 0 to below 1, got {self.tolerance}")


def refine_labels(
    labels: ArrayLike,
    image: ArrayLike,
    *,
    spacing: Sequence[float],
    options: OutlineOptions | None = None,
    typical: float | None = None,
    part: tuple[slice, slice, slice] | None = None,
) -> Labels:
    """Move the outlines of labels to the edges in the image, within a bounded shell.

    Objects that hardly stand out from their surroundings, and those that are right to within the
    tolerance, are returned as they came; so is every object's core, and no label is lost.

    Parameters
    ----------
    labels : (Z, Y, X) array of integers, 0 is background
    image : (Z, Y, X) array, nuclei bright
    spacing : voxel size (z, y, x), micrometres
    typical : radius of an object, micrometres; None: that of the labels
    part : all that is wanted; the labels are whole as far round it as `refining_margin` says

    Returns
    -------
    (Z, Y, X) array with the same labels, or its part
    """
    before = np.asarray(labels).astype(np.uint32)
    picture = np.asarray(image, np.float32)
    if before.shape != picture.shape or before.ndim != 3:
        raise InputError(
            f"labels are {before.shape} and the image is {picture.shape}: expected one z, y, x"
        )
    chosen = options or OutlineOptions()
    steps = np.asarray(spacing, float)
    wanted = part or (slice(None), slice(None), slice(None))
    # The same bytes: labels beyond 2**31 would not fit any table of boxes.
    boxes = ndimage.find_objects(before.view(np.int32))
    radii = {
        label: _radius(before[box] == label, steps)
        for label, box in enumerate(boxes, 1)
        if box is not None
    }
    if not radii:
        return before[wanted]
    usual = typical or float(np.median(list(radii.values())))
    sigma = SMOOTH * chosen.reach * usual / steps
    smooth = ndimage.gaussian_filter(picture, np.minimum(sigma, MOST_SMOOTH), truncate=TRUNCATE)
    stack = _Stack(before, smooth, steps, chosen)
    return _assigned(stack, {n: (boxes[n - 1], r) for n, r in radii.items()}, wanted)


def refining_margin(
    radius: float, spacing: Sequence[float], options: OutlineOptions | None = None
) -> tuple[int, int, int]:
    """Voxels round a part that must be known for its outlines, if objects reach so far from it.

    Parameters
    ----------
    radius : farthest that an object near the part reaches from its middle, micrometres
    """
    reach = (options or OutlineOptions()).reach * radius
    # An object may reach into the part by its own reach, and is judged by what is round all of it.
    z, y, x = (
        int(2 * radius / step + (1 + FAR) * reach / min(step, reach) + TRUNCATE * MOST_SMOOTH) + 5
        for step in spacing
    )
    return z, y, x


@dataclass(frozen=True, slots=True)
class _Stack:
    """What the outlines of all objects are judged by."""

    labels: Labels
    smooth: NDArray[np.float32]
    steps: NDArray[np.float64]
    options: OutlineOptions


def _radius(mask: NDArray[np.bool_], steps: NDArray[np.float64]) -> float:
    """Of the ball of the same volume, micrometres."""
    return float(np.cbrt(np.count_nonzero(mask) * steps.prod() * 3 / (4 * np.pi)))


def _assigned(
    stack: _Stack,
    objects: Mapping[int, tuple[tuple[slice, ...], float]],
    wanted: tuple[slice, slice, slice],
) -> Labels:
    """Give each voxel to the object that wants it and whose old outline is nearest."""
    claims = np.zeros(stack.labels.shape, np.uint32)
    nearest = np.full(stack.labels.shape, np.inf, np.float32)
    ends = [side.indices(n)[:2] for side, n in zip(wanted, stack.labels.shape)]
    for label, (box, radius) in objects.items():
        reach = stack.options.reach * radius
        # Where planes lie farther apart than the reach, an outline may still move by one.
        metric = np.minimum(stack.steps, reach)
        near = np.ceil(reach / metric).astype(int) + 1
        if any(s.stop + m <= a or s.start - m >= b for s, m, (a, b) in zip(box, near, ends)):
            continue
        margin = np.ceil(FAR * reach / metric).astype(int) + 1
        part = tuple(
            slice(max(s.start - m, 0), min(s.stop + m, n))
            for s, m, n in zip(box, margin, stack.labels.shape)
        )
        mine = stack.labels[part] == label
        away = _signed_distance(mine, metric)
        shape = _new_shape(stack, part, mine, away, reach)
        better = shape & (away < nearest[part])
        claims[part][better] = label
        nearest[part][better] = away[better]
    return claims[wanted]


def _signed_distance(mask: NDArray[np.bool_], steps: NDArray[np.float64]) -> NDArray[np.float32]:
    """Distance to the outline, micrometres, negative inside; a stack's border is no outline."""
    outside = ndimage.distance_transform_edt(~mask, sampling=steps)
    inside = ndimage.distance_transform_edt(mask, sampling=steps) if not mask.all() else mask
    signed: NDArray[np.float32] = np.asarray(outside - inside, np.float32)
    return signed


def _new_shape(
    stack: _Stack,
    part: tuple[slice, ...],
    mine: NDArray[np.bool_],
    away: NDArray[np.float32],
    reach: float,
) -> NDArray[np.bool_]:
    """The object after its outline moved, or as it was."""
    options, smooth = stack.options, stack.smooth[part]
    others = (stack.labels[part] > 0) & ~mine
    core = away < -reach / 2
    if np.count_nonzero(core) < LEAST_VOXELS:
        core = mine
    around = (away > reach) & (away <= FAR * reach) & ~others
    if min(np.count_nonzero(core), np.count_nonzero(around)) < LEAST_VOXELS:
        return mine
    inside, (outside, spread) = float(np.median(smooth[core])), _darker_part(smooth[around])
    if inside - outside <= LEAST_CONTRAST * spread:
        return mine
    bright = smooth > outside + options.level * (inside - outside)
    shape = _largest((away <= reach) & ~others & (bright | (away < -reach)))
    change = abs(np.count_nonzero(shape) - np.count_nonzero(mine)) / np.count_nonzero(mine)
    return mine if change < options.tolerance or not shape.any() else shape


def _darker_part(values: NDArray[np.float32]) -> tuple[float, float]:
    """Level and spread of the darker half: the brighter one may be the object, unseen so far."""
    darker = values[values <= np.median(values)]
    level = float(np.median(darker))
    return level, MAD * float(np.median(np.abs(darker - level)))


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest part, its holes filled."""
    parts, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(parts == sizes.argmax())
    return filled
