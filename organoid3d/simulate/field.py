"""One field of view, seen through the optics, with its exact truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from poolvox.organoid3d.simulate.optics import Optics, expose
from poolvox.organoid3d.simulate.scene import FieldSpec, Scene, draw_scene

__all__ = ["Field", "simulate_field"]

Labels = NDArray[np.uint32]
Stack = NDArray[np.float32]
Triple = tuple[float, float, float]

# Dark film of cytoplasm between nuclei that touch, micrometres.
FILM = 0.3
MARKER_SPREAD = 0.35  # log-spread of the marker between cells that express it
CHANNELS = ("nuclei", "membrane", "marker")


@dataclass(frozen=True, slots=True)
class Field:
    """A simulated stack and its truth.

    Attributes
    ----------
    image : (C, Z, Y, X) array, camera counts, channels as in `channels`
    nuclei, cells, lumens, organoids : (Z, Y, X) arrays of labels; a cell has its nucleus's label,
        a lumen that of its organoid, and an organoid includes its lumen
    table : one row per nucleus: label, organoid, centroid and volume in micrometres, brightness
    summary : one row per organoid
    """

    image: NDArray[np.uint16]
    nuclei: Labels
    cells: Labels
    lumens: Labels
    organoids: Labels
    table: pd.DataFrame
    summary: pd.DataFrame
    spacing: Triple
    channels: tuple[str, ...] = CHANNELS


def simulate_field(spec: FieldSpec, rng: np.random.Generator) -> Field:
    """Grow the organoids of `spec`, draw them and take the picture.

    Examples
    --------
    >>> spec = FieldSpec(organoids=(OrganoidSpec(kind="solid", nuclei=8),))
    >>> field = simulate_field(spec, np.random.default_rng(0))
    >>> field.image.shape[0], field.nuclei.max()
    (3, np.uint32(8))
    """
    scene = draw_scene(spec, rng)
    traits = _traits(spec, rng)
    emission = _emit(scene, traits, spec.optics, rng)
    planes = scene.nuclei[:: scene.factor].shape[0]
    depths = np.arange(planes, dtype=np.float64) * spec.spacing[0] - scene.top
    image = np.stack(
        [
            expose(spec.optics.blur(e, scene.spacing)[:: scene.factor], depths, spec.optics, rng)
            for e in emission
        ]
    )
    return _finish(spec, scene, traits, image)


def _traits(spec: FieldSpec, rng: np.random.Generator) -> pd.DataFrame:
    """Draw what tells nuclei apart: brightness and marker, one row per nucleus."""
    rows = []
    for number, organoid in enumerate(spec.organoids, 1):
        spread = spec.optics.brightness_cv * rng.standard_normal(organoid.nuclei)
        positive = rng.random(organoid.nuclei) < organoid.marker_positive
        level = organoid.marker_gain * np.exp(MARKER_SPREAD * rng.standard_normal(organoid.nuclei))
        rows.append(
            pd.DataFrame(
                {
                    "organoid": number,
                    "brightness": np.exp(spread),
                    "positive": positive,
                    "marker": np.where(positive, level, 0.08 * level),
                }
            )
        )
    table = pd.concat(rows, ignore_index=True)
    table.insert(0, "label", np.arange(1, len(table) + 1))
    return table


def _emit(
    scene: Scene,
    traits: pd.DataFrame,
    optics: Optics,
    rng: np.random.Generator,
) -> list[Stack]:
    """Photons that leave each voxel of the fine grid, per channel."""
    spacing = scene.spacing
    border = _borders(scene.cells)
    level = np.float32(optics.brightness)
    brightness = np.concatenate([[0], traits["brightness"]]).astype(np.float32)
    soft = np.clip(np.float32(0.5) - scene.gap / np.float32(spacing[1]), 0, 1)
    nuclei = level * brightness[scene.cells] * soft
    nuclei *= _texture(scene.nuclei.shape, spacing, optics.texture, rng)
    nuclei[border] *= np.float32(max(0.0, 1 - FILM / spacing[1]))
    membrane = np.where(border, level * np.float32(min(1.0, 0.5 / spacing[1])), np.float32(0))
    membrane[border & _near(scene.lumens)] *= 2
    expressed = np.concatenate([[0], traits["marker"]]).astype(np.float32)
    marker = level * expressed[scene.cells]
    marker[scene.nuclei > 0] *= np.float32(0.4)
    return [nuclei, membrane, marker]


def _borders(cells: Labels) -> NDArray[np.bool_]:
    """Mark cell voxels that have another cell, the lumen or the outside as a lateral neighbour."""
    border = np.zeros(cells.shape, bool)
    for axis in range(3):
        ahead, behind = np.moveaxis(cells, axis, 0)[1:], np.moveaxis(cells, axis, 0)[:-1]
        np.moveaxis(border, axis, 0)[:-1] |= ahead != behind
    border &= cells > 0
    return border


def _near(lumens: Labels) -> NDArray[np.bool_]:
    grown: NDArray[np.bool_] = ndimage.binary_dilation(lumens > 0, iterations=2)
    return grown


def _texture(
    shape: tuple[int, ...], spacing: Triple, amplitude: float, rng: np.random.Generator
) -> Stack:
    """Positive field of mean 1: chromatin in clumps of about 1 and 2.5 micrometres."""
    field = np.zeros(shape, np.float32)
    for width, weight in ((0.5, 0.6), (1.2, 0.8)):
        noise = rng.standard_normal(shape, dtype=np.float32)
        smooth = ndimage.gaussian_filter(noise, [width / s for s in spacing], truncate=3)
        field += np.float32(weight) * smooth / max(float(smooth.std()), 1e-9)
    texture: Stack = np.clip(1 + np.float32(amplitude) * field, 0.1, 3)
    return texture


def _finish(
    spec: FieldSpec,
    scene: Scene,
    traits: pd.DataFrame,
    image: NDArray[np.uint16],
) -> Field:
    nuclei, cells, lumens, organoids = (
        np.ascontiguousarray(labels[:: scene.factor])
        for labels in (scene.nuclei, scene.cells, scene.lumens, scene.organoids)
    )
    voxel = float(np.prod(spec.spacing))
    found = np.bincount(nuclei.ravel(), minlength=len(traits) + 1)[1:]
    where = ndimage.center_of_mass(nuclei > 0, nuclei, traits["label"][found > 0])
    table = traits[found > 0].reset_index(drop=True)
    table[["z_um", "y_um", "x_um"]] = np.asarray(where) * spec.spacing
    table["volume_um3"] = found[found > 0] * voxel
    summary = pd.DataFrame(
        {
            "organoid": np.arange(1, len(spec.organoids) + 1),
            "kind": [organoid.kind for organoid in spec.organoids],
            "nuclei": table.groupby("organoid").size().to_numpy(),
            "volume_um3": np.bincount(organoids.ravel(), minlength=len(spec.organoids) + 1)[1:]
            * voxel,
            "lumen_um3": np.bincount(lumens.ravel(), minlength=len(spec.organoids) + 1)[1:] * voxel,
        }
    )
    return Field(image, nuclei, cells, lumens, organoids, table, summary, spec.spacing)
