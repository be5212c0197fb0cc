"""How large nuclei are, as the network sees them, against those that it was trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from poolvox.organoid3d.network import Network
from poolvox.organoid3d.rays import Geometry
from poolvox.organoid3d.stars import Stars

__all__ = ["is_off", "lateral_widths", "size_off"]

# Nuclei that are larger or smaller than in training by more than this are looked for again.
OFF = 1.2
# A network draws nuclei nearer to the size of its training than they are, by about half of what
# they differ: what it draws, taken to this power, tells their size.
BACK = 1.7
# No more than this at once, and nothing from fewer nuclei.
LIMITS = (0.5, 2.0)
TELLING = 5
# Rays that lie nearest to the plane tell the width in it.
LATERAL_RAYS = 12


def lateral_widths(stars: Stars, geometry: Geometry) -> NDArray[np.float64]:
    """Mean widths of polyhedra in the plane: (N,) array, voxels of the network."""
    rise = np.abs(geometry.vertices[:, 0])
    reach = np.hypot(geometry.vertices[:, 1], geometry.vertices[:, 2])
    flat = np.argsort(rise - reach, kind="stable")[:LATERAL_RAYS]
    widths: NDArray[np.float64] = 2 * (stars.dist[:, flat] * reach[flat]).mean(axis=1)
    return widths


def size_off(stars: Stars, network: Network) -> float:
    """Typical width of nuclei over that in training; 1 where there are too few to tell."""
    if network.folder.diameter is None or len(stars) < TELLING:
        return 1.0
    drawn = np.median(lateral_widths(stars, network.geometry)) / network.folder.diameter[1]
    return float(np.clip(drawn**BACK, *LIMITS))


def is_off(factor: float) -> bool:
    """Whether nuclei of so many times the size have to be looked for at another scale."""
    return not 1 / OFF < factor < OFF
