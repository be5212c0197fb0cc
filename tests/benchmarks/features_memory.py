"""What `features.py` measures in a process of its own: memory over the images.

python -m tests.benchmarks.features_memory nuclei|tables|cells SCENE.npz      # prints JSON
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

import numpy as np

from poolvox.shared.features import group_names, measure
from tests.benchmarks.features import tables, tissue_of
from tests.benchmarks.features_scenes import SPACING_2D, SPACING_3D, corner

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident(field: str) -> int:
    """Bytes in memory now (`VmRSS`), or at most since the last reset (`VmHWM`)."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def peak_over(labels, images, work) -> int:
    """Bytes that `work` adds to what the process holds with its images and compiled code."""
    work(*corner(labels, images, 64))
    gc.collect()
    RESET.write_text("5")
    before = resident("VmRSS")
    work(labels, images)
    return resident("VmHWM") - before


def main(what: str, path: str) -> None:
    with np.load(path) as stored:
        images = {name: stored[name] for name in stored.files}
    labels = images.pop("labels")
    spacing = SPACING_2D if labels.ndim == 2 else SPACING_3D
    groups = group_names(labels.ndim)
    if what != "tables":
        peak = peak_over(
            labels, images, lambda *given: measure(*given, spacing=spacing, groups=groups)
        )
    else:
        # The label images of the tissue are given, like those of the nuclei.
        tissues = {
            shape: tissue_of(part)
            for part in (labels, corner(labels, {}, 64)[0])
            for shape in (part.shape,)
        }
        peak = peak_over(
            labels,
            images,
            lambda part, few: tables(part, few, groups, tissues[part.shape]),
        )
    print(json.dumps({"bytes": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
