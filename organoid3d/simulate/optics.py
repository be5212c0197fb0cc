"""From emitting structures to camera counts: blur, loss with depth, background and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from poolvox.shared.errors import InputError

__all__ = ["Optics", "expose"]

Stack = NDArray[np.float32]
# Standard deviation of a Gaussian whose width at half height is 1.
SIGMA_PER_FWHM = 0.42466
CAMERA_MAX = 65535  # counts


@dataclass(frozen=True, slots=True)
class Optics:
    """A microscope and its camera.

    Parameters
    ----------
    lateral, axial : widths of the point spread function at half height, micrometres
    attenuation : part of the light lost per micrometre of depth below the organoid's top
    brightness : photons from a voxel inside a nucleus of median brightness
    brightness_cv : log-spread of the brightness between nuclei
    texture : depth of the chromatin texture, relative
    background : photons everywhere
    offset : camera counts without light
    gain : counts per photon
    read_noise : standard deviation, counts
    """

    lateral: float = 0.7
    axial: float = 2.9
    attenuation: float = 0.006
    brightness: float = 120.0
    brightness_cv: float = 0.25
    texture: float = 0.25
    background: float = 8.0
    offset: float = 100.0
    gain: float = 2.0
    read_noise: float = 5.0

    def __post_init__(self) -> None:
        """Refuse what no microscope does."""
        if not 0 <= self.attenuation < 1:
            got = self.attenuation
            raise InputError(f"attenuation is a part of the light per micrometre, got {got}")

    def blur(self, emission: Stack, spacing: tuple[float, float, float]) -> Stack:
        """Blur an emission (Z, Y, X) sampled at `spacing` micrometres."""
        widths = (self.axial, self.lateral, self.lateral)
        sigma = [SIGMA_PER_FWHM * width / step for width, step in zip(widths, spacing)]
        blurred: Stack = ndimage.gaussian_filter(emission, sigma, mode="nearest", truncate=3)
        return blurred


def expose(
    photons: Stack, depths: NDArray[np.float64], optics: Optics, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Attenuate planes that lie `depths` micrometres deep, and record them with a camera."""
    passed = ((1 - optics.attenuation) ** np.maximum(depths, 0)).astype(np.float32)
    expected = photons * passed[:, None, None] + np.float32(optics.background)
    counts = optics.gain * rng.poisson(expected).astype(np.float32) + np.float32(optics.offset)
    counts += optics.read_noise * rng.standard_normal(counts.shape, dtype=np.float32)
    recorded: NDArray[np.uint16] = np.clip(np.rint(counts), 0, CAMERA_MAX).astype(np.uint16)
    return recorded
