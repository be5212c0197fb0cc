"""Outlines moved to where the intensity falls, without leaving the neighbourhood of the labels.

A network draws a smooth guess of each nucleus. Where the guess is too small or too large, the
stack itself tells: between the level inside an object and that of its surroundings lies a
threshold of its own. Voxels near the outline go to the side they look like, and where objects
meet, to the one they are nearer to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from poolvox.shared.errors import InputError

__all__ = ["OutlineOptions", "refine_labels"]

Labels = NDArray[np.uint32]

# Blur before levels are compared, in parts of the reach: single voxels are noise.
SMOOTH = 0.35
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
) -> Labels:
    """Move the outlines of labels to the edges in the image, within a bounded shell.

    Objects that hardly stand out from their surroundings, and those that are right to within the
    tolerance, are returned as they came; so is every object's core, and no label is lost.

    Parameters
    ----------
    labels : (Z, Y, X) array of integers, 0 is background
    image : (Z, Y, X) array, nuclei bright
    spacing : voxel size (z, y, x), micrometres

    Returns
    -------
    (Z, Y, X) array with the same labels
    """
    before = np.asarray(labels).astype(np.uint32)
    picture = np.asarray(image, np.float32)
    if before.shape != picture.shape or before.ndim != 3:
        raise InputError(
            f"labels are {before.shape} and the image is {picture.shape}: expected one z, y, x"
        )
    chosen = options or OutlineOptions()
    steps = np.asarray(spacing, float)
    volumes = np.bincount(before.ravel())
    radii = np.cbrt(volumes * steps.prod() * 3 / (4 * np.pi))
    found = np.flatnonzero(volumes)
    typical = float(np.median(radii[found[found > 0]])) if (found > 0).any() else 0.0
    if typical == 0:
        return before
    sigma = SMOOTH * chosen.reach * typical / steps
    smooth = ndimage.gaussian_filter(picture, np.minimum(sigma, 1.5), truncate=3)
    return _assigned(_Stack(before, smooth, steps, chosen), radii)


@dataclass(frozen=True, slots=True)
class _Stack:
    """What the outlines of all objects are judged by."""

    labels: Labels
    smooth: NDArray[np.float32]
    steps: NDArray[np.float64]
    options: OutlineOptions


def _assigned(stack: _Stack, radii: NDArray[np.float64]) -> Labels:
    """Give each voxel to the object that wants it and whose old outline is nearest."""
    claims = np.zeros(stack.labels.shape, np.uint32)
    nearest = np.full(stack.labels.shape, np.inf, np.float32)
    for label, box in enumerate(ndimage.find_objects(stack.labels.astype(np.int64)), 1):
        if box is None:
            continue
        reach = stack.options.reach * radii[label]
        # Where planes lie farther apart than the reach, an outline may still move by one.
        metric = np.minimum(stack.steps, reach)
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
    return claims


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
