"""Affine maps between images of one field, and resampling through them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Transform", "resample"]


@dataclass(frozen=True, slots=True)
class Transform:
    """Where a point of the reference lies in another image: `matrix @ (y, x) + shift`.

    Parameters
    ----------
    shift : y and x, in pixels
    matrix : rotation and scale about the origin, the centre of the pixel (0, 0)

    Examples
    --------
    >>> Transform((2.5, -1.0)).apply(np.array([[10.0, 10.0]]))
    array([[12.5,  9. ]])
    """

    shift: tuple[float, float] = (0.0, 0.0)
    matrix: tuple[tuple[float, float], tuple[float, float]] = ((1.0, 0.0), (0.0, 1.0))

    @classmethod
    def about(
        cls,
        centre: tuple[float, float],
        shift: tuple[float, float],
        *,
        rotation: float = 0.0,
        scale: float = 1.0,
    ) -> Transform:
        """Turn by `rotation` degrees and stretch by `scale` about `centre`, then move."""
        angle = np.deg2rad(rotation)
        matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        moved = np.asarray(centre) + shift - matrix @ np.asarray(centre)
        return _transform(moved, matrix)

    @property
    def is_translation(self) -> bool:
        """Whether it neither turns nor stretches."""
        return self.matrix == ((1.0, 0.0), (0.0, 1.0))

    @property
    def rotation(self) -> float:
        """Angle in degrees."""
        return float(np.rad2deg(np.arctan2(self.matrix[1][0], self.matrix[0][0])))

    @property
    def scale(self) -> float:
        """Factor by which lengths grow."""
        return float(np.sqrt(abs(np.linalg.det(np.asarray(self.matrix)))))

    def apply(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Positions in the other image of (n, 2) points of the reference."""
        moved: NDArray[np.float64] = np.asarray(points) @ np.asarray(self.matrix).T + self.shift
        return moved

    def after(self, first: Transform) -> Transform:
        """Apply `first`, then this."""
        matrix = np.asarray(self.matrix) @ np.asarray(first.matrix)
        return _transform(self.apply(np.asarray([first.shift]))[0], matrix)

    def inverse(self) -> Transform:
        """The map back."""
        matrix = np.linalg.inv(np.asarray(self.matrix))
        return _transform(-matrix @ np.asarray(self.shift), matrix)


def resample(
    image: NDArray[Any],
    transform: Transform,
    shape: tuple[int, int] | None = None,
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Bring `image` onto the frame of the reference, linearly interpolated.

    Parameters
    ----------
    image : (Y, X) array
    transform : from the reference to `image`
    shape : of the reference; that of `image` if not given
    out : (Y, X) array to fill, of the type of `image`

    Returns
    -------
    (Y, X) array of the type of `image`; what lies outside `image` is zero
    """
    if out is None:
        out = np.empty(shape or image.shape, image.dtype)
    out[:] = 0
    matrix = np.asarray(transform.matrix, np.float64)
    rounding = np.float32(0.5 if np.issubdtype(image.dtype, np.integer) else 0.0)
    shift = np.asarray(transform.shift, np.float64)
    if transform.is_translation:
        _move(np.ascontiguousarray(image), shift[0], shift[1], rounding, out)
    else:
        _resample(np.ascontiguousarray(image), matrix, shift, rounding, out)
    return out


def _transform(shift: NDArray[Any], matrix: NDArray[Any]) -> Transform:
    (a, b), (c, d) = matrix.tolist()
    return Transform((float(shift[0]), float(shift[1])), ((a, b), (c, d)))


@njit(cache=True, nogil=True, fastmath=True)
def _resample(image, matrix, shift, rounding, out):  # type: ignore[no-untyped-def]
    height, width = image.shape
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            y = matrix[0, 0] * r + matrix[0, 1] * c + shift[0]
            x = matrix[1, 0] * r + matrix[1, 1] * c + shift[1]
            if y < 0 or x < 0 or y > height - 1 or x > width - 1:
                continue
            top, left = min(int(y), height - 2), min(int(x), width - 2)
            fy, fx = np.float32(y - top), np.float32(x - left)
            above = image[top, left] * (1 - fx) + image[top, left + 1] * fx
            below = image[top + 1, left] * (1 - fx) + image[top + 1, left + 1] * fx
            out[r, c] = above * (1 - fy) + below * fy + rounding


@njit(cache=True, nogil=True, fastmath=True)
def _move(image, y, x, rounding, out):  # type: ignore[no-untyped-def]
    """As `_resample` without a matrix: weights are the same everywhere, so rows go at once."""
    height, width = image.shape
    top, left = int(np.floor(y)), int(np.floor(x))
    fy, fx = np.float32(y - top), np.float32(x - left)
    one = np.float32(1)  # a whole number would turn all of it into double precision
    a, b = (one - fy) * (one - fx), (one - fy) * fx
    c, d = fy * (one - fx), fy * fx
    # Where the fraction is zero the far neighbour counts nothing and need not be there.
    across, down = (1 if fx > 0 else 0), (1 if fy > 0 else 0)
    first, last = max(0, -left), min(out.shape[1], width - across - left)
    if last <= first:
        return
    for r in range(max(0, -top), min(out.shape[0], height - down - top)):
        upper = image[r + top, first + left : last + left]
        lower = image[r + top + down, first + left : last + left]
        upper_next = image[r + top, first + left + across : last + left + across]
        lower_next = image[r + top + down, first + left + across : last + left + across]
        target = out[r, first:last]
        for k in range(last - first):
            value = a * np.float32(upper[k]) + b * np.float32(upper_next[k])
            value += c * np.float32(lower[k]) + d * np.float32(lower_next[k])
            target[k] = value + rounding
