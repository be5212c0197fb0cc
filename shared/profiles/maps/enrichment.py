"""What clusters stand for: gene sets of which they hold more than chance has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.compare.rates import benjamini_hochberg

__all__ = ["enrich", "read_gmt"]

# Genes of a set that must be in the universe: of fewer nothing can be said.
SMALLEST: Final = 3
COLUMNS: Final = (
    "Metadata_Cluster",
    "Enrichment_Set",
    "Enrichment_Overlap",
    "Enrichment_SetSize",
    "Enrichment_ClusterSize",
    "Enrichment_Universe",
    "Enrichment_Fold",
    "Enrichment_PValue",
    "Enrichment_QValue",
    "Enrichment_Genes",
)


def read_gmt(path: Path | str) -> dict[str, list[str]]:
    """Read gene sets: one per line, tabs between name, description and genes.

    Raises
    ------
    InputError
        with the line where something is wrong: no genes, or a name that occurred before
    """
    source = Path(path)
    try:
        text = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{source} cannot be read as gene sets: {error}") from error
    sets: dict[str, list[str]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, *rest = (part.strip() for part in line.split("\t"))
        genes = [gene for gene in rest[1:] if gene]
        if not name or not genes:
            raise InputError(
                f"{source}, line {number}: expected a name, a description and genes with tabs "
                f"between, got {line[:60]!r}"
            )
        if name in sets:
            raise InputError(f"{source}, line {number}: the set {name!r} is there twice")
        sets[name] = list(dict.fromkeys(genes))
    if not sets:
        raise InputError(f"{source} holds no gene sets")
    return sets


def enrich(
    labels: pd.Series,
    sets: Mapping[str, Sequence[str]],
    *,
    background: Iterable[str] | None = None,
) -> pd.DataFrame:
    """Test every cluster for every gene set, one-sided by the hypergeometric distribution.

    Parameters
    ----------
    labels : cluster of each gene, the genes as index; below 0 is no cluster
    sets : genes of each set; names are compared as they are written
    background : the universe, those genes that could have been in a cluster: all that were
        screened. If None, all genes of `labels`. Genes of a set outside of it do not count

    Returns
    -------
    one row per cluster and set that share a gene, best first: names, `Enrichment_Overlap`,
    `Enrichment_SetSize` and `Enrichment_ClusterSize` within `Enrichment_Universe`,
    `Enrichment_Fold` over chance, `Enrichment_PValue`, `Enrichment_QValue` (over all clusters and
    sets, those that share nothing included) and `Enrichment_Genes`
    """
    from scipy.stats import hypergeom

    if labels.index.has_duplicates:
        twice = labels.index[labels.index.duplicated()][0]
        raise InputError(f"gene {twice!r} is in the clusters twice: give each gene one row")
    clustered = {str(gene): label for gene, label in labels.items() if label >= 0}
    universe = {str(gene) for gene in (labels.index if background is None else background)}
    outside = sorted(set(clustered) - universe)
    if outside:
        raise InputError(f"{len(outside)} clustered genes are not in the background: {outside[:5]}")
    inside = {name: universe.intersection(genes) for name, genes in sets.items()}
    rows = []
    for label in sorted(set(clustered.values())):
        members = {gene for gene, other in clustered.items() if other == label}
        for name, genes in sorted(inside.items()):
            if len(genes) < SMALLEST:
                continue
            both = sorted(members & genes)
            p = hypergeom.sf(len(both) - 1, len(universe), len(genes), len(members))
            fold = len(both) * len(universe) / (len(genes) * len(members))
            sizes = (len(both), len(genes), len(members), len(universe))
            rows.append((label, name, *sizes, fold, p, np.nan, " ".join(both)))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table["Enrichment_QValue"] = benjamini_hochberg(table["Enrichment_PValue"])
    return _best_first(table[table["Enrichment_Overlap"] > 0])


def _best_first(table: pd.DataFrame) -> pd.DataFrame:
    order: list[Any] = ["Enrichment_PValue", "Metadata_Cluster", "Enrichment_Set"]
    return table.sort_values(order, kind="stable").reset_index(drop=True)
