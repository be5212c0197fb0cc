"""How a camera sees a scene: spots, background, vignetting, noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from poolvox.ops.simulate.params import Camera, Chemistry
from poolvox.ops.simulate.scene import Cells
from poolvox.shared.imaging.warp import Transform, resample

__all__ = [
    "CHROMATIN",
    "Scenery",
    "expose",
    "make_scenery",
    "photograph",
    "plane_transforms",
    "spot_peak",
    "stamp_spots",
]

Floats = NDArray[np.float64]
Plane = NDArray[np.float32]

FULL_WELL = 65535
# Autofluorescence is not the same in all channels; the figures repeat over them.
CHANNEL_GLOW = (1.0, 0.9, 0.35, 0.3)
# The bare background rises a little with every cycle.
RISE_PER_CYCLE = 0.03
BLUR_SIGMA = 3.5
# Texture of a nucleus, as a standard deviation about its mean.
CHROMATIN = 0.18


@dataclass(frozen=True, slots=True)
class Scenery:
    """What glows besides the reads, on the wide field: nuclei, cell bodies, debris."""

    nuclei: Plane
    glow: Plane
    debris: Plane
    margin: int


def make_scenery(cells: Cells, camera: Camera, rng: np.random.Generator) -> Scenery:
    """Paint nuclei with texture, bodies with autofluorescence, and a few pieces of debris."""
    count = len(cells.y)
    stain = np.concatenate([[0], np.exp(0.3 * rng.standard_normal(count))])
    glow = np.concatenate([[0], np.exp(0.5 * rng.standard_normal(count))])
    shape = cells.nuclei.shape
    fine = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), 1.3)
    texture = 1 + CHROMATIN * fine / fine.std()
    nuclei = stain[cells.nuclei] * texture * camera.nuclear_stain
    body = glow[cells.bodies] * (1 - 0.4 * (cells.nuclei > 0)) * camera.autofluorescence
    soft = [ndimage.gaussian_filter(np.float32(plane), camera.psf) for plane in (nuclei, body)]
    return Scenery(soft[0], soft[1], _debris(shape, camera, rng), cells.margin)


def _debris(shape: tuple[int, ...], camera: Camera, rng: np.random.Generator) -> Plane:
    plane = np.zeros(shape, np.float32)
    for _ in range(rng.poisson(camera.debris)):
        path = np.cumsum(rng.standard_normal((rng.integers(4, 30), 2)) * 1.2, axis=0)
        rows, columns = (path + rng.random(2) * shape).astype(np.int64).T
        keep = (rows >= 0) & (columns >= 0) & (rows < shape[0]) & (columns < shape[1])
        plane[rows[keep], columns[keep]] += np.exp(rng.normal(7.5, 0.7))
    blurred: Plane = ndimage.gaussian_filter(plane, camera.psf)
    return blurred


def spot_peak(camera: Camera, chemistry: Chemistry) -> float:
    """Height of the median spot, in counts at a gain of 1, that has the signal-to-noise asked."""
    gains = np.asarray(chemistry.gains)
    shot = gains * camera.background * camera.counts_per_photon
    noise = np.sqrt(camera.read_noise**2 + shot)
    return float(camera.snr * np.exp(np.log(noise / gains).mean()))


def plane_transforms(
    shape: tuple[int, int], cycles: int, channels: int, camera: Camera, rng: np.random.Generator
) -> list[list[Transform]]:
    """Drift of each cycle and offset of each channel; the first of both is the reference."""
    centre = ((shape[0] - 1) / 2, (shape[1] - 1) / 2)
    drift = rng.uniform(-camera.drift, camera.drift, (cycles, 2))
    turn = camera.rotation * rng.uniform(-1, 1, cycles)
    stretch = 1 + camera.scale * rng.uniform(-1, 1, cycles)
    colour = rng.uniform(-camera.chromatic, camera.chromatic, (channels, 2))
    drift[0], turn[0], stretch[0], colour[0] = 0, 0, 1, 0
    return [
        [
            Transform.about(centre, tuple(drift[t] + colour[c]), rotation=turn[t], scale=stretch[t])
            for c in range(channels)
        ]
        for t in range(cycles)
    ]


def expose(
    scenery: Scenery,
    spots: Plane,
    transform: Transform,
    *,
    camera: Camera,
    gain: float,
    cycle: int,
    channel: int | None,
    blurred: bool,
    rng: np.random.Generator,
) -> NDArray[np.uint16]:
    """One image of the camera; `channel` is None for the nuclear stain."""
    shape = spots.shape
    wide = Transform((float(scenery.margin),) * 2).after(transform.inverse())
    light = np.full(shape, camera.background, np.float32)
    if channel is None:
        light += resample(scenery.nuclei, wide, shape)
    else:
        light *= 1 + RISE_PER_CYCLE * cycle
        glow = CHANNEL_GLOW[channel % len(CHANNEL_GLOW)]
        light += glow * resample(scenery.glow, wide, shape) + spots
        light += resample(scenery.debris, wide, shape)
    if blurred:
        light = np.asarray(ndimage.gaussian_filter(light, BLUR_SIGMA), np.float32)
    return photograph(light, camera, rng, gain=gain)


def photograph(
    light: Plane, camera: Camera, rng: np.random.Generator, *, gain: float = 1.0
) -> NDArray[np.uint16]:
    """Vignette, amplify and digitise the light of a scene, given in counts at a gain of 1."""
    seen: Plane = light * _vignette(light.shape, camera.vignetting) * np.float32(gain)
    return _digitise(seen, camera, rng)


def _vignette(shape: tuple[int, ...], loss: float) -> Plane:
    y, x = (np.linspace(-1, 1, size, dtype=np.float32) for size in shape)
    return np.asarray(1 - loss * (y[:, None] ** 2 + x**2) / 2, np.float32)


def _digitise(light: Plane, camera: Camera, rng: np.random.Generator) -> NDArray[np.uint16]:
    variance = camera.read_noise**2 + camera.counts_per_photon * light
    counts = light + np.sqrt(variance) * rng.standard_normal(light.shape, np.float32)
    for _ in range(rng.poisson(camera.specks / 4)):
        y, x = (rng.integers(0, size) for size in light.shape)
        counts[y : y + 2, x : x + 3] = FULL_WELL
    digital: NDArray[np.uint16] = np.clip(np.rint(counts + camera.offset), 0, FULL_WELL).astype(
        np.uint16
    )
    return digital


def stamp_spots(y: Floats, x: Floats, peak: Floats, sigma: Floats, shape: tuple[int, int]) -> Plane:
    """Sum of round Gaussian spots, sampled at the centres of the pixels."""
    plane = np.zeros(shape, np.float32)
    _stamp(y, x, peak, sigma, plane)
    return plane


@njit(cache=True, nogil=True)
def _stamp(y, x, peak, sigma, plane):  # type: ignore[no-untyped-def]
    height, width = plane.shape
    across = np.empty(64)
    for i in range(len(y)):
        reach = min(int(np.ceil(4 * sigma[i])), 30)
        top, left = int(np.round(y[i])) - reach, int(np.round(x[i])) - reach
        inverse = 0.5 / sigma[i] ** 2
        for k in range(2 * reach + 1):
            across[k] = np.exp(-((left + k - x[i]) ** 2) * inverse)
        for r in range(max(0, top), min(height, top + 2 * reach + 1)):
            along = peak[i] * np.exp(-((r - y[i]) ** 2) * inverse)
            for c in range(max(0, left), min(width, left + 2 * reach + 1)):
                plane[r, c] += along * across[c - left]
