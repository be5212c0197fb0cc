"""A plate of simulated organoids on disk: raw stacks, a config that runs, and the truth beside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import tifffile
import yaml

from poolvox.organoid3d.simulate.field import CHANNELS, Field, simulate_field
from poolvox.organoid3d.simulate.scene import FieldSpec
from poolvox.organoid3d.simulate.tissue import OrganoidSpec

__all__ = ["Effect", "PlateSpec", "simulate_plate"]


@dataclass(frozen=True, slots=True)
class Effect:
    """What a treatment does to organoids.

    Parameters
    ----------
    lumen : factor on the lumen's size, see `OrganoidSpec.lumen_scale`
    marker : factor on the marker's brightness
    nuclei : factor on the number of nuclei
    """

    lumen: float = 1.0
    marker: float = 1.0
    nuclei: float = 1.0


@dataclass(frozen=True, slots=True)
class PlateSpec:
    """A plate.

    Parameters
    ----------
    wells : treatment of each well
    effects : what each treatment does; one that is missing does nothing
    stacks : stacks per well
    organoids : organoids per stack
    organoid : the untreated organoid; the number of nuclei varies around it
    nuclei_cv : relative spread of the number of nuclei between organoids
    view : voxel size, shape and optics of a stack
    """

    wells: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType(
            {"A1": "control", "A2": "control", "B1": "treated", "B2": "treated"}
        )
    )
    effects: Mapping[str, Effect] = field(
        default_factory=lambda: MappingProxyType({"treated": Effect(lumen=1.3, marker=2.0)})
    )
    stacks: int = 1
    organoids: int = 1
    organoid: OrganoidSpec = field(default_factory=lambda: OrganoidSpec(nuclei=24))
    nuclei_cv: float = 0.1
    view: FieldSpec = field(default_factory=lambda: FieldSpec(spacing=(2.0, 0.6, 0.6)))


def simulate_plate(spec: PlateSpec, out: Path, rng: np.random.Generator) -> Path:
    """Write `stacks/`, `truth/`, `treatments.csv` and `config.yaml` into `out`.

    The truth holds, per stack, the labels of nuclei, cells, lumens and organoids as TIFF files
    named like it, and two tables, `nuclei.csv` and `organoids.csv`.
    """
    tables: dict[str, list[pd.DataFrame]] = {"nuclei": [], "organoids": []}
    for well, treatment in spec.wells.items():
        effect = spec.effects.get(treatment, Effect())
        for number in range(1, spec.stacks + 1):
            organoids = tuple(_treated(spec, effect, rng) for _ in range(spec.organoids))
            stack = simulate_field(replace(spec.view, organoids=organoids), rng)
            _write(stack, out, f"{well}_{number}")
            keys = {"well": well, "stack": str(number), "treatment": treatment}
            tables["nuclei"].append(stack.table.assign(**keys))
            tables["organoids"].append(stack.summary.assign(**keys))
    for name, parts in tables.items():
        pd.concat(parts, ignore_index=True).to_csv(out / "truth" / f"{name}.csv", index=False)
    layout = pd.DataFrame({"well": list(spec.wells), "treatment": list(spec.wells.values())})
    layout.to_csv(out / "treatments.csv", index=False)
    path = out / "config.yaml"
    path.write_text(_config(spec), encoding="utf-8")
    return path


def _treated(spec: PlateSpec, effect: Effect, rng: np.random.Generator) -> OrganoidSpec:
    plain = spec.organoid
    spread = 1 + spec.nuclei_cv * float(rng.standard_normal())
    return replace(
        plain,
        nuclei=max(1, round(plain.nuclei * effect.nuclei * max(spread, 0.2))),
        lumen_scale=plain.lumen_scale * effect.lumen,
        marker_gain=plain.marker_gain * effect.marker,
    )


def _write(stack: Field, out: Path, name: str) -> None:
    z, y, x = stack.spacing
    metadata = {
        "axes": "ZCYX",
        "Channel": {"Name": list(stack.channels)},
        **{
            f"PhysicalSize{axis}{unit}": value
            for axis, size in (("Z", z), ("Y", y), ("X", x))
            for unit, value in (("", size), ("Unit", "µm"))
        },
    }
    raw = out / "stacks" / f"{name}.ome.tif"
    raw.parent.mkdir(parents=True, exist_ok=True)
    image = np.ascontiguousarray(stack.image.swapaxes(0, 1))
    tifffile.imwrite(raw, image, ome=True, photometric="minisblack", metadata=metadata)
    truth = out / "truth"
    truth.mkdir(exist_ok=True)
    for kind in ("nuclei", "cells", "lumens", "organoids"):
        labels = getattr(stack, kind).astype(np.uint16)
        tifffile.imwrite(truth / f"{name}_{kind}.tif", labels, compression="zlib")


def _config(spec: PlateSpec) -> str:
    document = {
        "pipeline": "organoid3d",
        "output": "run",
        "raw": {
            "stacks": {
                "files": "stacks/{well}_{organoid}.ome.tif",
                "channels": list(CHANNELS),
                "voxel_size": list(spec.view.spacing),
            }
        },
        "nuclei": {"channel": "nuclei"},
        "cells": {"channel": "membrane"},
        "profiles": {
            "annotate": [{"table": "treatments.csv", "on": {"Metadata_Well": "well"}}],
            "controls": "control",
        },
    }
    return yaml.safe_dump(document, sort_keys=False)
