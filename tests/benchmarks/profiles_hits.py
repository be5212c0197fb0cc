"""How often hits are false: in screens in which guides differ for nothing, and a few genes act.

The screens are drawn here, by other rules than those of `poolvox.shared.profiles.simulate`: guides
differ along some directions whatever they do, and have few cells or many.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tests.benchmarks.precision import Result

FEATURES = 40
SCREENS = 12
LEVELS = (0.001, 0.01, 0.05, 0.2)
# Shares of small p-values over those that chance has; of 1,800 genes 1 % scatter by a quarter.
SMALL = {0.01: 1.5, 0.05: 1.25}
# Share of false ones among the hits, at a stated rate of 5 %.
RATE = 0.05


@dataclass(frozen=True)
class Design:
    """A screen.

    Parameters
    ----------
    cells, spread : median number of cells of a guide, and standard deviation of its logarithm
    control_cells : the same of guides of controls, if they differ
    apart, along : standard deviation per feature that guides differ by for nothing, and along how
        many directions
    lopsided : guides are not evenly on all plates
    heavy : cells scatter with heavy tails
    active : share of the genes that do something
    """

    genes: int = 150
    guides: int = 3
    controls: int = 30
    cells: float = 40
    spread: float = 0.2
    control_cells: float | None = None
    apart: float = 0.1
    along: int = 5
    plates: int = 2
    lopsided: bool = False
    heavy: bool = False
    active: float = 0.0


UNEVEN = {"spread": 1.2}
DESIGNS = {
    "guides of equal size that do not differ": Design(cells=60, apart=0),
    "few cells and many": Design(**UNEVEN),
    "few cells and many, 10 controls": Design(**UNEVEN, controls=10),
    "few cells and many, along one line": Design(**UNEVEN, along=1),
    "few cells and many, lopsided plates": Design(**UNEVEN, lopsided=True, plates=4),
    "one guide for each gene": Design(**UNEVEN, guides=1, genes=300),
    "controls of many cells": Design(cells=15, control_cells=500),
    "controls of few cells": Design(cells=300, control_cells=15, genes=60),
    "three cells of a guide": Design(cells=3, control_cells=40, guides=4, apart=0),
    "heavy tails": Design(cells=8, control_cells=40, heavy=True, apart=0),
    "a fifth active": Design(cells=60, spread=1.0, active=0.2),
    "half active": Design(cells=60, spread=1.0, active=0.5),
}


def hits_section() -> list[Result]:
    """Small p-values by chance, and false hits, of every design."""
    results = []
    for name, design in DESIGNS.items():
        small, false, power = judge(design)
        told = ", ".join(f"{level:g}: {share:.2f}" for level, share in zip(LEVELS, small))
        results += [
            Result(f"{name}, p <= {level:g} by chance", share, SMALL[level], told)
            for level, share in zip(LEVELS, small)
            if level in SMALL
        ]
        if design.active:
            results.append(Result(f"{name}, false hits", false, RATE, f"power {power:.2f}"))
    return results


def judge(design: Design) -> tuple[list[float], float, float]:
    """Small p-values over stated ones, mean share of false hits, share of active genes found."""
    from poolvox.shared.profiles import benjamini_hochberg

    chance, false, found = [], [], []
    for seed in range(SCREENS):
        frame, active = screen(design, np.random.default_rng([7, seed]))
        p = gene_p_values(frame)
        true = p.index.isin(active)
        hit = benjamini_hochberg(p) <= RATE
        chance.append(p[~true].dropna().to_numpy())
        false.append((hit & ~true).sum() / max(hit.sum(), 1))
        found.append((hit & true).sum() / max(true.sum(), 1))
    by_chance = np.concatenate(chance)
    small = [float((by_chance <= level).mean() / level) for level in LEVELS]
    return small, float(np.mean(false)), float(np.mean(found))


def gene_p_values(frame: pd.DataFrame) -> pd.Series:
    """`Hit_PValue` of genes; without what `find_hits` tells beside, which takes longer."""
    from poolvox.shared.profiles.hits.comparison import Comparison, gather_cells
    from poolvox.shared.profiles.hits.noise import fit_noise
    from poolvox.shared.profiles.hits.shifts import measure_groups
    from poolvox.shared.profiles.hits.sums import sum_units

    rules = Comparison(
        "Metadata_Gene", "Metadata_Gene == 'none'", "Metadata_Guide", batch="Metadata_Plate"
    )
    cells = gather_cells(frame, rules)
    sums = sum_units(cells.points, cells.unit, cells.batch, cells.shape)
    group = cells.units["group"].to_numpy()
    noise = fit_noise(sums, cells.control, group, cells.covariance)
    tested = measure_groups(sums, cells.control, noise, group, len(cells.groups))
    p = pd.Series(tested.p, index=cells.groups["Metadata_Gene"])
    return p.drop("none")


def screen(design: Design, rng: np.random.Generator) -> tuple[pd.DataFrame, list[str]]:
    """Cells of a screen, and the genes that do something."""
    gene = np.repeat(np.arange(design.genes), design.guides)
    gene = np.concatenate([gene, np.full(design.controls, -1)])
    count = _counts(design, gene < 0, rng)
    guide = np.repeat(np.arange(len(gene)), count)
    active = np.arange(design.genes) < design.active * design.genes
    lines = _unit(rng, design.along) * np.sqrt(FEATURES / design.along)
    shift = design.apart * rng.standard_normal((len(gene), design.along)) @ lines
    effect = _unit(rng, design.genes) * rng.uniform(0.6, 1.2, (design.genes, 1)) * active[:, None]
    shift += np.concatenate([effect, np.zeros((1, FEATURES))])[gene]
    mix = rng.standard_normal((FEATURES, FEATURES)) / np.sqrt(FEATURES) + np.eye(FEATURES) / 2
    plate = _plates(design, guide, len(gene), rng)
    scale = np.exp(0.15 * rng.standard_normal(design.plates))
    values = (_noise(design, len(guide), rng) + shift[guide]) @ mix.T * scale[plate][:, None]
    values += 0.5 * rng.standard_normal((design.plates, FEATURES))[plate]
    names = np.array([*map("g{}".format, range(design.genes)), "none"], dtype=object)
    frame = pd.DataFrame(values.astype(np.float32)).rename(columns="Cells_F{}".format)
    frame["Metadata_Gene"] = names[gene][guide]
    frame["Metadata_Guide"] = guide.astype(str)
    frame["Metadata_Plate"] = plate.astype(str)
    return frame, list(names[:-1][active])


def _counts(design: Design, control: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    middle = np.where(control, design.control_cells or design.cells, design.cells)
    cells = middle * np.exp(design.spread * rng.standard_normal(len(control)))
    return cells.round().clip(1, 2_000).astype(int)


def _plates(design: Design, guide: np.ndarray, guides: int, rng: np.random.Generator) -> np.ndarray:
    if not design.lopsided:
        return rng.integers(0, design.plates, len(guide))
    edges = np.cumsum(rng.dirichlet(np.full(design.plates, 0.4), guides), axis=1)
    return (rng.random((len(guide), 1)) > edges[guide, :-1]).sum(axis=1)


def _noise(design: Design, cells: int, rng: np.random.Generator) -> np.ndarray:
    if design.heavy:
        return rng.standard_t(3, (cells, FEATURES)) / np.sqrt(3)
    return rng.standard_normal((cells, FEATURES))


def _unit(rng: np.random.Generator, count: int) -> np.ndarray:
    rows = rng.standard_normal((count, FEATURES))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
