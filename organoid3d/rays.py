"""A fixed set of rays from one point, and the triangle between them that a direction points at.

The rays are the same for all objects, so that triangle is found by a short walk over all of them,
from a start that a table of directions knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Geometry", "cell_of", "make_geometry", "walk"]

F64 = NDArray[np.float64]

# Cells along each edge of the cube on which directions are tabulated.
CELLS = 24
# Negative coefficients up to this are rounding, so a walk along an edge comes to its end.
SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Geometry:
    """Rays, and the triangles between them.

    Attributes
    ----------
    vertices : (R, 3) array of unit vectors (z, y, x) in voxels
    faces : (F, 3) array of rays
    inverse : (F, 3, 3) array; times a point it gives the coefficients of the face's three rays
    across : (F, 3) array, the face beyond the edge that lies opposite to each ray
    starts : faces by direction, on a cube
    content : (F,) array, six times the volume between three rays of length 1
    given : (F, 3) array, the faces turned as they came: StarDist's code counts on that
    """

    vertices: F64
    faces: NDArray[np.int32]
    inverse: F64
    across: NDArray[np.int32]
    starts: NDArray[np.int32]
    content: F64
    given: NDArray[np.int32]

    @property
    def tables(self) -> tuple[NDArray[np.int32], F64, NDArray[np.int32], NDArray[np.int32]]:
        """What a walk needs."""
        return self.faces, self.inverse, self.across, self.starts


def make_geometry(vertices: NDArray[Any], faces: NDArray[Any]) -> Geometry:
    """Prepare rays for walking.

    Parameters
    ----------
    vertices : (R, 3) array of unit vectors
    faces : (F, 3) array; a closed surface round the origin
    """
    corners = np.asarray(vertices, np.float64)
    triangles = np.asarray(faces, np.int32)
    content = np.linalg.det(corners[triangles])
    # All faces turn the same way, so that content is volume.
    turned = np.where((content < 0)[:, None], triangles[:, [0, 2, 1]], triangles)
    inverse: F64 = np.linalg.inv(np.swapaxes(corners[turned], 1, 2)).astype(np.float64)
    across = _neighbours(turned)
    starts = np.zeros(6 * CELLS * CELLS, np.int32)
    _tabulate(starts, inverse, across)
    turned = np.ascontiguousarray(turned)
    return Geometry(corners, turned, inverse, across, starts, np.abs(content), triangles)


def _neighbours(faces: NDArray[np.int32]) -> NDArray[np.int32]:
    """Face beyond the edge opposite to each corner."""
    owner: dict[tuple[int, int], int] = {}
    for number, (a, b, c) in enumerate(faces.tolist()):
        owner.update({(b, c): number, (c, a): number, (a, b): number})
    # The neighbour runs along the same edge the other way.
    return np.array(
        [[owner[c, b], owner[a, c], owner[b, a]] for a, b, c in faces.tolist()], np.int32
    )


@njit(cache=True, nogil=True, inline="always")
def cell_of(z: float, y: float, x: float) -> int:
    """Cell of a direction on the cube."""
    az, ay, ax = abs(z), abs(y), abs(x)
    if az >= ay and az >= ax:
        side, u, v, most = (0 if z > 0 else 1), y, x, az
    elif ay >= ax:
        side, u, v, most = (2 if y > 0 else 3), z, x, ay
    else:
        side, u, v, most = (4 if x > 0 else 5), z, y, ax
    half = 0.5 * CELLS / max(most, 1e-30)
    i = min(int(u * half + 0.5 * CELLS), CELLS - 1)
    j = min(int(v * half + 0.5 * CELLS), CELLS - 1)
    return (side * CELLS + i) * CELLS + j


@njit(cache=True, nogil=True, inline="always")
def walk(
    z: float, y: float, x: float, face: int, inverse: Any, across: Any
) -> tuple[int, float, float, float]:
    """Face that a point is seen through, and the coefficients of its rays."""
    a = b = c = 0.0
    for _ in range(len(inverse)):
        m = inverse[face]
        a = m[0, 0] * z + m[0, 1] * y + m[0, 2] * x
        b = m[1, 0] * z + m[1, 1] * y + m[1, 2] * x
        c = m[2, 0] * z + m[2, 1] * y + m[2, 2] * x
        if a <= b and a <= c:
            if a >= -SLACK:
                break
            face = across[face, 0]
        elif b <= c:
            if b >= -SLACK:
                break
            face = across[face, 1]
        else:
            if c >= -SLACK:
                break
            face = across[face, 2]
    return face, a, b, c


@njit(cache=True, nogil=True)
def _tabulate(starts: Any, inverse: Any, across: Any) -> None:
    for cell in range(len(starts)):
        side, rest = cell // (CELLS * CELLS), cell % (CELLS * CELLS)
        u = 2 * (rest // CELLS + 0.5) / CELLS - 1
        v = 2 * (rest % CELLS + 0.5) / CELLS - 1
        w = 1.0 if side % 2 == 0 else -1.0
        if side < 2:
            face = walk(w, u, v, 0, inverse, across)[0]
        elif side < 4:
            face = walk(u, w, v, 0, inverse, across)[0]
        else:
            face = walk(u, v, w, 0, inverse, across)[0]
        starts[cell] = face
