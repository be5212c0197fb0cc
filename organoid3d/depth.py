"""Light lost with depth: measured once on a stack's nuclei, and corrected where they tell it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from poolvox.organoid3d.nuclei import Nuclei, NucleiRequest, find_prepared
from poolvox.organoid3d.preprocess import Attenuation, measure_attenuation
from poolvox.organoid3d.survey import Survey

__all__ = ["Loss", "measure_loss"]

# Percentile of what lies outside nuclei: the background, which does not fade with depth.
BACKGROUND = 20


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss of light in a stack.

    Attributes
    ----------
    attenuation : the fit
    survey : the stack as it is looked at from now on: corrected where that was wanted and known
    corrected : whether it was
    nuclei : on which it was measured, on the voxels of the sample
    """

    attenuation: Attenuation
    survey: Survey
    corrected: bool
    nuclei: Nuclei


def measure_loss(
    survey: Survey, spacing: Sequence[float], *, correct: bool, diameter: float | None = None
) -> Loss:
    """Measure the loss of light on nuclei that cost little to find.

    Parameters
    ----------
    spacing : of the stack, micrometres
    correct : whether to correct it where the fit is trusted
    diameter : of a typical nucleus, micrometres; estimated where it is not given
    """
    shown = survey.sample
    z, y, x = shown.spacing.tolist()
    nuclei = find_prepared(shown.stack, (z, y, x), NucleiRequest("classical", diameter=diameter))
    background = _background(shown.stack, nuclei.labels)
    attenuation = _fit(shown.stack, nuclei.labels, z, background)
    corrected = correct and attenuation.trusted
    if corrected:
        survey = survey.corrected(attenuation.rate * float(spacing[0]), background)
    return Loss(attenuation, survey, corrected, nuclei)


def _background(stack: NDArray[np.float32], nuclei: NDArray[np.uint32]) -> float:
    outside = stack[nuclei == 0]
    return float(np.percentile(outside, BACKGROUND)) if outside.size else float(stack.min())


def _fit(
    stack: NDArray[np.float32], nuclei: NDArray[np.uint32], step: float, background: float
) -> Attenuation:
    ids = np.arange(1, int(nuclei.max()) + 1)
    if not len(ids):
        return Attenuation(reason="no nuclei")
    light = np.asarray(ndimage.mean(stack, nuclei, ids)) - background
    planes = np.broadcast_to(np.arange(stack.shape[0]).reshape(-1, 1, 1), stack.shape)
    return measure_attenuation(light, np.asarray(ndimage.mean(planes, nuclei, ids)) * step)
