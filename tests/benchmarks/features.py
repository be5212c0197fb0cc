"""Speed and memory of the features against scikit-image and cp_measure, in CPU time of one run.

    python -m tests.benchmarks.features [--quick]

Everything runs on one thread; numba's kernels are compiled before the clock starts. Exits with 1
if a target is missed.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable
from itertools import combinations
from textwrap import indent

import numpy as np
from scipy import ndimage

from poolvox.organoid3d.measure import (
    MeasureSettings,
    measure_nuclei,
    measure_organoids,
    tabulate_edges,
)
from poolvox.organoid3d.tissue import Tissue
from poolvox.shared.features import find_objects, group_names, measure
from poolvox.shared.features.granularity import GranularityOptions
from poolvox.shared.features.texture import TextureOptions

SPACING_3D = (1.0, 0.5, 0.5)
SPACING_2D = (0.325, 0.325)


def scene(shape, spacing, count, radii, channels, seed=0):
    """`count` ellipsoids of random radii in micrometres that do not overlap, and their channels."""
    rng = np.random.default_rng(seed)
    scale = np.array(spacing)
    labels, found = np.zeros(shape, np.int32), 0
    while found < count:
        axes = rng.uniform(*radii) * rng.uniform(0.8, 1.25, len(shape))
        centre = rng.uniform(0, 1, len(shape)) * shape * scale
        low = np.maximum(((centre - axes) / scale).astype(int), 0)
        high = np.minimum(((centre + axes) / scale).astype(int) + 2, shape)
        box = tuple(slice(a, b) for a, b in zip(low, high))
        grid = np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high)], indexing="ij")
        where = np.stack(grid, axis=-1) * scale
        mask = (((where - centre) / axes) ** 2).sum(-1) <= 1
        if mask.any() and not labels[box][mask].any():
            found += 1
            labels[box][mask] = found
    images = {}
    for i in range(channels):
        noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 1) * 400
        noise += rng.standard_normal(shape, dtype=np.float32) * 100 + 1000 + 800 * (labels > 0)
        images[f"c{i}"] = np.clip(noise, 0, 65535).astype(np.uint16)
    return labels, images


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        work()
    return time.process_time() - start


def ours(labels, images, spacing, groups, *options) -> float:
    # Once on a corner, so that nothing is compiled or loaded under the clock.
    corner = tuple(slice(0, 48) for _ in labels.shape)
    small = {name: image[corner] for name, image in images.items()}
    measure(labels[corner], small, spacing=spacing, groups=groups, options=options)
    return cpu(lambda: measure(labels, images, spacing=spacing, groups=groups, options=options))


def compare(report: Report, what: str, labels, images, groups) -> None:
    """One group after the other on the same voxels with the same parameters, then all of them."""
    ours_all = theirs_all = 0.0
    spacing = (1.0,) * labels.ndim
    for name, (own, options, peers) in groups.items():
        spent = ours(labels, images, spacing, [own], *options)
        other = sum(theirs(labels, images, peer) for peer in peers)
        ours_all, theirs_all = ours_all + spent, theirs_all + other
        each = 1e3 / len(np.unique(labels[labels > 0]))
        print(
            f"     {what}: {name:44s} cp_measure {other * each:8.3f}, ours {spent * each:7.3f} "
            f"ms/object: {other / spent:6.1f}x"
        )
    report.line(f"{what}: all these groups", theirs_all / ours_all, "x", 20, False)


def theirs(labels, images, name: str) -> float:
    """CPU seconds of a group of cp_measure: of each channel, of each pair, or of the mask."""
    from cp_measure.bulk import get_core_measurements, get_correlation_measurements

    core, pairs = get_core_measurements(), get_correlation_measurements()
    # Over the whole range: what it makes grey levels of would else have only a few of them.
    values = [image / float(image.max()) for image in images.values()]
    if name in pairs:
        more = {"scale_max": 65535} if name == "costes" else {}
        both = list(combinations(values, 2))
        return sum(cpu(lambda a=a, b=b: pairs[name](a, b, labels, **more)) for a, b in both)
    once = name in ("sizeshape", "zernike", "feret")
    return sum(cpu(lambda v=v: core[name](labels, v)) for v in (values[:1] if once else values))


def skimage_table(labels, image, spacing) -> float:
    from skimage.measure import regionprops_table

    names = (
        "area", "bbox", "centroid", "extent", "equivalent_diameter_area", "euler_number",
        "solidity", "inertia_tensor_eigvals", "intensity_mean", "intensity_min",
        "intensity_max", "intensity_std",
    )  # fmt: skip
    return cpu(lambda: regionprops_table(labels, image, properties=names, spacing=spacing))


class Report:
    """Lines of a measurement with its target; knows whether one was missed."""

    def __init__(self) -> None:
        self.missed = 0

    def line(self, what: str, value: float, unit: str, target: float, at_most: bool) -> None:
        good = value <= target if at_most else value >= target
        self.missed += not good
        sign = "<=" if at_most else ">="
        print(f"{'ok  ' if good else 'MISS'} {what:66s} {value:9.2f} {unit} ({sign} {target:g})")


def volumes(report: Report, count: int, shape: tuple[int, ...]) -> None:
    labels, images = scene(shape, SPACING_3D, count, (3.2, 4.6), 2)
    engine = group_names(3)
    lean = [name for name in engine if name not in ("granularity", "curvature")]
    what = f"3D, {count} nuclei in {' x '.join(map(str, shape))}, 2 channels"
    for name in engine:
        spent = ours(labels, images, SPACING_3D, [name]) * 1e3 / count
        print(f"     {what}: {name:40s} {spent:9.3f} ms/object")
    corner = tuple(slice(0, min(side, 140)) for side in shape)
    tables(labels[corner], {name: image[corner] for name, image in images.items()}, engine)
    for groups, name, target in (
        (engine, "all tables", 12),
        (lean, "all tables without granularity, curvature", 5),
    ):
        spent = tables(labels, images, groups)
        parts = ", ".join(f"{part} {value * 1e3 / count:.3f}" for part, value in spent.items())
        print(f"     {what}: {parts} ms/object")
        total = sum(spent.values()) * 1e3 / count
        report.line(f"{what}: {name}", total, "ms/object", target, True)
    one = {"c0": images["c0"]}
    fast = ours(labels, one, SPACING_3D, ["shape", "intensity"])
    slow = skimage_table(labels, one["c0"], SPACING_3D)
    report.line(f"{what}: shape, intensity / regionprops_table", slow / fast, "x", 5, False)


def tissue_of(labels) -> Tissue:
    """An organoid round all nuclei but those at its sides, with a lumen."""
    mask = np.ones(labels.shape, np.int32)
    mask[:, :8], mask[:, -8:], mask[:, :, :8], mask[:, :, -8:] = 0, 0, 0, 0
    lumen, half = np.zeros_like(mask), labels.shape[1] // 2
    inner = np.s_[20:40, half - 30 : half + 30, half - 30 : half + 30]
    lumen[inner] = labels[inner] == 0
    return Tissue(mask, lumen)


def tables(labels, images, groups) -> dict[str, float]:
    """CPU seconds of the tables that a run of the organoid pipeline measures, part by part.

    Nuclei: the groups, harmonics, graph and positions. Organoid: its own shape, intensity and
    harmonics, contents, graph, summaries. Nothing is known beforehand but the label images.
    """
    tissue, kept = tissue_of(labels), {}
    settings = MeasureSettings(groups=(*groups, "graph", "position"))

    def nuclei() -> None:
        kept["objects"] = find_objects(labels, spacing=SPACING_3D)
        kept["table"] = measure_nuclei(
            kept["objects"], images, spacing=SPACING_3D, tissue=tissue, settings=settings
        )

    def organoid() -> None:
        nuclei, table = kept["objects"], kept["table"]
        measure_organoids(nuclei, tissue, table, images, spacing=SPACING_3D, settings=settings)

    def edges() -> None:
        mask = tissue.solid
        tabulate_edges(kept["objects"], spacing=SPACING_3D, mask=mask, settings=settings)

    return {"nuclei": cpu(nuclei), "organoid": cpu(organoid), "edges": cpu(edges)}


def against_peers(report: Report) -> None:
    """The groups that both have, with one set of parameters.

    Shape is measured once, all else of every channel, colocalisation of every pair. Spacing is 1,
    so that distances are voxels; images fill the range from 0 to 1. Texture: one distance of 3,
    256 grey levels, all directions (ours adds the energy at one scale, and patterns in 2D).
    Granularity: 16 radii, 1 to 16 voxels; cp_measure's on a copy of a quarter of the size along
    each axis, as it does by itself, ours on all voxels. Costes: cp_measure's faster search.
    """
    print(indent(inspect.cleandoc(against_peers.__doc__ or ""), " " * 5))
    texture = TextureOptions(distances_um=(3.0,), levels=256, sigmas_um=(1.0,))
    grains = GranularityOptions(radii_um=tuple(float(r) for r in range(1, 17)))
    pairs = ("pearson", "manders_fold", "rwc", "costes")
    space = {
        "shape / sizeshape": ("shape", (), ("sizeshape",)),
        "intensity": ("intensity", (), ("intensity",)),
        "texture": ("texture", (texture,), ("texture",)),
        "granularity": ("granularity", (grains,), ("granularity",)),
        "colocalisation": ("colocalisation", (), pairs),
    }
    plane = space | {
        "shape / sizeshape, feret": ("shape", (), ("sizeshape", "feret")),
        "zernike": ("zernike", (), ("zernike",)),
        "radial / radial_distribution": ("radial", (), ("radial_distribution",)),
    }
    del plane["shape / sizeshape"]
    labels, images = scene((64, 96, 160), SPACING_3D, 60, (3.2, 4.6), 2)
    compare(report, "3D, 60 nuclei, 2 channels", labels, images, space)
    labels, images = scene((384, 384), SPACING_2D, 100, (4.0, 6.0), 4)
    compare(report, "2D, 100 cells, 4 channels", labels, images, plane)


def tiles(report: Report) -> None:
    labels, images = scene((2048, 2048), SPACING_2D, 3000, (4.0, 6.0), 4)
    for name in group_names(2):
        spent = ours(labels, images, SPACING_2D, [name])
        print(f"     2D, 3000 cells, 4 channels: {name:45s} {spent:9.3f} CPU s")
    spent = ours(labels, images, SPACING_2D, group_names(2))
    report.line("2D, 3000 cells of 2048 x 2048, 4 channels: all groups", spent, "CPU s", 6, True)


def memory(report: Report) -> None:
    labels, images = scene((64, 384, 384), SPACING_3D, 500, (3.2, 4.6), 2)
    groups = group_names(3)
    corner = tuple(slice(0, 140) for _ in labels.shape)
    tables(labels[corner], {name: image[corner] for name, image in images.items()}, groups)
    for what, work in (
        ("nuclei", lambda: measure(labels, images, spacing=SPACING_3D, groups=groups)),
        ("all tables", lambda: tables(labels, images, groups)),
    ):
        # The label images of the tissue are given, like those of the nuclei.
        given = 0 if what == "nuclei" else 2 * 4 * labels.size
        tracemalloc.start()
        work()
        peak = tracemalloc.get_traced_memory()[1] - given
        tracemalloc.stop()
        share = peak / (labels.size * len(images))
        report.line(f"3D, memory over the images: {what}", share, "bytes/voxel/channel", 12, True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the nuclei, no peers")
    quick = parser.parse_args().quick
    report = Report()
    if quick:
        volumes(report, 100, (64, 160, 160))
        return int(report.missed > 0)
    volumes(report, 1000, (64, 512, 512))
    tiles(report)
    memory(report)
    against_peers(report)
    return int(report.missed > 0)


if __name__ == "__main__":
    sys.exit(main())
