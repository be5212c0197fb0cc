"""The phenotype image of a tile: magnified, turned, shifted, with a marker that answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from poolvox.ops.simulate.optics import CHROMATIN, photograph
from poolvox.ops.simulate.params import Phenotype, ScreenParams
from poolvox.ops.simulate.tile import Truth
from poolvox.shared.imaging.warp import Transform, resample

__all__ = ["choose_hits", "phenotype_channels", "phenotype_transform", "simulate_phenotype"]

# Marker of the median cell, in counts, and its spread between cells as a log standard deviation.
MARKER = 500.0
MARKER_SPREAD = 0.3
NUCLEAR_SHARE = 0.35


def phenotype_channels(params: ScreenParams) -> tuple[str, str]:
    """Names of the channels of a phenotype image."""
    return (params.nuclear_channel or "DAPI", "marker")


def choose_hits(library: pd.DataFrame, hits: int, rng: np.random.Generator) -> list[str]:
    """Genes that change the marker."""
    genes = sorted(set(library["gene_symbol"]) - {"nontargeting"})
    return sorted(rng.choice(genes, min(hits, len(genes)), replace=False).tolist())


def phenotype_transform(phenotype: Phenotype, shape: tuple[int, int]) -> Transform:
    """From pixels of the sequencing tile to pixels of the phenotype image."""
    magnified = phenotype.magnification
    centre = ((shape[0] - 1) / 2, (shape[1] - 1) / 2)
    # Magnified about the tile's centre, which comes to lie in the centre of the larger image.
    middle = tuple(magnified * (c + 0.5) - 0.5 - c for c in centre)
    shift = tuple(m + s for m, s in zip(middle, phenotype.shift))
    return Transform.about(
        centre, (shift[0], shift[1]), rotation=phenotype.rotation, scale=magnified
    )


def simulate_phenotype(
    truth: Truth, params: ScreenParams, hits: list[str], rng: np.random.Generator
) -> tuple[NDArray[np.uint16], pd.DataFrame]:
    """Photograph the cells of a simulated tile again.

    Returns
    -------
    image : (channel, Y, X) array
    cells : label, y, x in the phenotype image, and the marker that the cell truly has
    """
    phenotype = params.phenotype or Phenotype()
    scene, margin = truth.scene, truth.scene.margin
    transform = phenotype_transform(phenotype, params.layout.shape)
    shape = tuple(round(size * phenotype.magnification) for size in params.layout.shape)
    wide = Transform((float(margin),) * 2).after(transform.inverse())
    cells = truth.cells[["label"]].copy()
    cells[["y", "x"]] = transform.apply(truth.cells[["y", "x"]].to_numpy())
    cells["marker"] = _marker(truth.cells, hits, phenotype.effect, rng)
    level = MARKER * np.exp(MARKER_SPREAD * rng.standard_normal(len(scene.y)))
    level[scene.inside(params.layout.shape)] = cells["marker"]
    planes = (_stain(scene.nuclei, params, rng), _bodies(scene.bodies, scene.nuclei, level))
    images = [
        photograph(resample(plane, wide, (shape[0], shape[1])), params.camera, rng)
        for plane in planes
    ]
    return np.stack(images), cells


def _marker(
    cells: pd.DataFrame, hits: list[str], effect: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    changed = cells["gene"].isin(hits) | cells["gene_2"].isin(hits)
    spread = np.exp(MARKER_SPREAD * rng.standard_normal(len(cells)))
    level: NDArray[np.float64] = MARKER * spread * np.where(changed, effect, 1.0)
    return level


def _stain(
    nuclei: NDArray[np.int32], params: ScreenParams, rng: np.random.Generator
) -> NDArray[np.float32]:
    texture = ndimage.gaussian_filter(rng.standard_normal(nuclei.shape, np.float32), 1.0)
    plane = (nuclei > 0) * (1 + CHROMATIN * texture / texture.std()) * params.camera.nuclear_stain
    blurred: NDArray[np.float32] = ndimage.gaussian_filter(np.float32(plane), 0.7)
    return blurred


def _bodies(
    bodies: NDArray[np.int32], nuclei: NDArray[np.int32], level: NDArray[np.float64]
) -> NDArray[np.float32]:
    plane = np.append(0, level)[bodies] * np.where(nuclei > 0, NUCLEAR_SHARE, 1.0)
    blurred: NDArray[np.float32] = ndimage.gaussian_filter(np.float32(plane), 0.7)
    return blurred
