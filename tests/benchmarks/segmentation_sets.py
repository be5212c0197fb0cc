"""Accuracy on real stacks and on simulated ones, for `organoid3d_segmentation.py`.

The data lie in `shared/data/organoid3d` beside the checkout: mouse_embryo (BBBC050, Tokuoka et al.
2020, CC BY 3.0), breast_organoids (Cellos, MIT), budding_organoid (LSTree, MIT), ovule (go-nuclear,
MIT), cells3d (scikit-image, BSD-3), worm_embryo (itarampoulous/StarDist3D, BSD-3).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from poolvox.organoid3d.nuclei import find_nuclei
from poolvox.organoid3d.simulate import FieldSpec, Optics, OrganoidSpec, simulate_field
from poolvox.shared.evaluate import evaluate_labels, evaluate_points

DATA = Path(__file__).parents[2] / "../shared/data/organoid3d"
# What the shipped model must reach, F1; the baseline's own on the same files is in the table.
TARGETS = {
    "mouse_embryo": 0.90,
    "breast_organoids": 0.60,
    "simulated": 0.85,
    "worm_embryo t30": 0.85,
    "worm_embryo t90": 0.85,
}
# Stacks of these sets on which the shipped model was not trained, as its card says.
HELD_OUT = (
    "mouse_embryo 001",
    "mouse_embryo 101",
    "mouse_embryo 351",
    "breast_organoids EGFP_d4_flt32_112",
    "breast_organoids mCherry_d0_flt32_16",
    "budding_organoid T0303",
)


# The baseline's sigma and distance of peaks, micrometres. For every set the best of these is taken,
# by the truth: what somebody gets who tries them all.
SETTINGS = ((0.6, 3.0), (1.0, 3.0), (2.0, 5.0), (3.0, 7.0))
# Smaller bodies are specks to the baseline, cubic micrometres.
SPECK = 50.0


@dataclass(frozen=True)
class Case:
    """A stack; truth are labels, or (N, 3) centres in voxels."""

    group: str
    name: str
    image: np.ndarray
    truth: np.ndarray
    spacing: tuple[float, float, float]


def real_cases() -> Iterator[Case]:
    for group, spacing in (
        ("mouse_embryo", (1.75, 0.8, 0.8)),
        ("breast_organoids", (5.0, 0.55, 0.55)),
    ):
        for path in sorted((DATA / group / "images").iterdir()):
            truth = tifffile.imread(DATA / group / "labels" / path.name)
            name = path.stem.removeprefix("Emb07_t")
            yield Case(group, name, tifffile.imread(path), truth, spacing)
    folder = DATA / "budding_organoid"
    for name in ("T0301", "T0303"):
        image, truth = (
            tifffile.imread(folder / f"{name}_{part}.tif") for part in ("nuclei", "nuclei_labels")
        )
        yield Case("budding_organoid", name, image, truth, (2.0, 0.26, 0.26))
    image, truth = (tifffile.imread(DATA / "cells3d" / f"{n}.tif") for n in ("nuclei", "labels"))
    yield Case("cells3d", "", image, truth, (0.29, 0.26, 0.26))
    import h5py

    with h5py.File(DATA / "ovule" / "1135_mini.h5") as file:
        yield Case("ovule", "", file["raw"][:], file["label"][:], (0.284, 0.127, 0.127))
    points = pd.read_csv(DATA / "worm_embryo" / "centroids.txt", sep="\t")
    for hour in (30, 90, 150):
        there = points[points["time"] == hour][["Z", "Y", "X"]].to_numpy(float)
        image = tifffile.imread(DATA / "worm_embryo" / f"WT-EMB01_t{hour}.tif")
        yield Case(f"worm_embryo t{hour}", "", image, there, (1.0, 0.2, 0.2))


def simulated_cases() -> Iterator[Case]:
    rng = np.random.default_rng(20_261)
    for kind, nuclei, spacing, diameter, light in (
        ("solid", 60, (2.0, 0.5, 0.5), 10.0, 120.0),
        ("cyst", 60, (1.0, 0.4, 0.4), 9.0, 60.0),
        ("bud", 80, (2.0, 0.6, 0.6), 11.0, 80.0),
        ("cyst", 30, (5.0, 0.55, 0.55), 12.0, 60.0),
    ):
        spec = FieldSpec(
            (OrganoidSpec(kind, nuclei, diameter),), spacing, optics=Optics(brightness=light)
        )
        field = simulate_field(spec, rng)
        yield Case("simulated", f"{kind} {nuclei}", field.image[0], field.nuclei, spacing)


def baseline(
    image: np.ndarray, spacing: tuple[float, float, float], sigma: float, apart: float
) -> np.ndarray:
    """Smooth, Otsu, holes filled, specks dropped, distance transform, peaks, watershed.

    `sigma` of the first Gaussian and the least distance of two peaks are in micrometres.
    """
    smooth = ndimage.gaussian_filter(image.astype(np.float32), [sigma / step for step in spacing])
    inside = ndimage.binary_fill_holes(smooth > threshold_otsu(smooth.ravel()))
    bodies, _ = ndimage.label(inside)
    large = np.bincount(bodies.ravel()) * np.prod(spacing) >= SPECK
    large[0] = False
    inside = large[bodies]
    depth = ndimage.distance_transform_edt(inside, spacing)
    depth = ndimage.gaussian_filter(depth, [1 / step for step in spacing])
    window = [2 * round(apart / step) + 1 for step in spacing]
    peaks = (depth == ndimage.maximum_filter(depth, size=window)) & inside
    markers, _ = ndimage.label(peaks, np.ones((3, 3, 3)))
    return watershed(-depth, markers, mask=inside)


def table(model: Path | None, target: Callable[[str, float, float], str]) -> Iterator[str]:
    """One line per stack, then sums per set."""
    ways: dict[str, Callable[[Case], np.ndarray]] = {
        f"baseline {sigma:g}": partial(_plain, sigma=sigma, apart=apart)
        for sigma, apart in SETTINGS
    }
    ways["classical"] = lambda case: _found(case, "classical")
    if model is not None:
        ways["network"] = lambda case: _found(case, model)
    cases = simulated_cases
    if DATA.is_dir():
        cases = _all_cases
    else:
        yield f"skipped: real stacks, since {DATA} is not there"
    yield f"F1 at IoU 0.5 (worm_embryo: of centres); {', '.join(ways)}; * not seen in training"
    counts: dict[tuple[str, str], np.ndarray] = {}
    for case in cases():
        row, seconds = [], []
        for way, segment in ways.items():
            start = time.process_time()
            found = _counts(case, segment(case))
            seconds.append(f"{time.process_time() - start:.1f}")
            row.append(_f1(found))
            for group in (case.group, *_held(case)):
                counts[group, way] = counts.get((group, way), np.zeros(3)) + found
        name = f"{case.group} {case.name}".strip()
        mark = "*" if _held(case) or case.group in ("cells3d", "simulated") else " "
        scores = "  ".join(f"{score:.3f}" for score in row)
        yield f"  {name:36s}{mark} {scores}   CPU s {', '.join(seconds)}"
    for group in dict.fromkeys(group for group, _ in counts):
        sums = {way: _f1(counts[group, way]) for way in ways}
        best = max(score for way, score in sums.items() if way.startswith("baseline"))
        yield f"  all of {group:30s} " + "  ".join(f"{score:.3f}" for score in sums.values())
        yield target(f"{group}: classical over the best baseline", sums["classical"] - best, 0)
        wanted = TARGETS.get(group)
        if wanted is not None and "network" in sums:
            yield target(f"{group}: network", sums["network"], wanted)


def _all_cases() -> Iterator[Case]:
    yield from real_cases()
    yield from simulated_cases()


def _held(case: Case) -> tuple[str, ...]:
    return (f"{case.group}, held out",) if f"{case.group} {case.name}" in HELD_OUT else ()


def _found(case: Case, model: str | Path) -> np.ndarray:
    return find_nuclei(case.image, spacing=case.spacing, model=model).labels


def _plain(case: Case, sigma: float, apart: float) -> np.ndarray:
    return baseline(case.image, case.spacing, sigma, apart)


def _counts(case: Case, labels: np.ndarray) -> np.ndarray:
    if case.truth.ndim == 2:
        score = evaluate_points(case.truth, labels, spacing=case.spacing).score
    else:
        score = evaluate_labels(case.truth, labels, spacing=case.spacing, threshold=0.5).main
    return np.array([score.matched, score.invented, score.missed], float)


def _f1(counts: np.ndarray) -> float:
    return float(2 * counts[0] / max(2 * counts[0] + counts[1] + counts[2], 1))
