"""Loops over pixels that are stored: one pass, and other threads go on meanwhile."""

from __future__ import annotations

from numba import njit

__all__ = ["copy_block", "halve_planes"]


@njit(cache=True, nogil=True)
def copy_block(block, out):  # type: ignore[no-untyped-def]
    """Copy (k, y, x) whole numbers into the corner of `out`, zeros beyond; tell if any is not 0."""
    depth, height, width = block.shape
    zero = out.dtype.type(0)
    seen = zero
    for k in range(out.shape[0]):
        for r in range(out.shape[1]):
            target = out[k, r]
            filled = width if k < depth and r < height else 0
            for c in range(filled):
                value = block[k, r, c]
                target[c] = value
                seen |= value
            for c in range(filled, out.shape[2]):
                target[c] = zero
    return seen != zero


@njit(cache=True, nogil=True)
def halve_planes(planes, out):  # type: ignore[no-untyped-def]
    """Means of 2 by 2 pixels of (k, y, x) small whole numbers, to nearest, halves to even.

    A rest at the border is the mean of what is there.
    """
    _, height, width = planes.shape
    for k in range(out.shape[0]):
        for r in range(out.shape[1]):
            upper = planes[k, 2 * r]
            lower = planes[k, min(2 * r + 1, height - 1)]
            target = out[k, r]
            for c in range(width // 2):
                total = 1 + upper[2 * c] + upper[2 * c + 1] + lower[2 * c] + lower[2 * c + 1]
                target[c] = (total + ((total - 1) >> 2 & 1)) >> 2
            if width % 2:
                total = 1 + 2 * (upper[width - 1] + lower[width - 1])
                target[width // 2] = (total + ((total - 1) >> 2 & 1)) >> 2
