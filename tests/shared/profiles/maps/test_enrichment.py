import numpy as np
import pandas as pd
import pytest
from scipy import stats

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.maps.enrichment import enrich, read_gmt

LABELS = pd.Series([0] * 10 + [1] * 10 + [-1] * 20, index=[f"g{k}" for k in range(40)])
SETS = {
    "planted": [f"g{k}" for k in range(8)] + ["g30"],
    "spread": [f"g{k}" for k in range(0, 40, 5)],
    "small": ["g0", "g1"],
    "elsewhere": ["x", "y", "z", "w"],
}


def test_it_is_fishers_one_sided_test():
    found = enrich(LABELS, SETS)
    best = found.iloc[0]
    assert (best["Metadata_Cluster"], best["Enrichment_Set"]) == (0, "planted")
    table = [[8, 2], [1, 29]]
    assert best["Enrichment_PValue"] == pytest.approx(
        stats.fisher_exact(table, alternative="greater").pvalue
    )
    assert best["Enrichment_Fold"] == pytest.approx(8 * 40 / (9 * 10))
    assert best["Enrichment_Genes"].split() == [f"g{k}" for k in range(8)]
    assert set(found["Enrichment_Set"]) == {"planted", "spread"}


def test_the_universe_is_what_was_screened():
    narrow = enrich(LABELS, SETS, background=LABELS.index[:21])
    assert narrow["Enrichment_Universe"].eq(21).all()
    assert narrow["Enrichment_PValue"].min() > enrich(LABELS, SETS)["Enrichment_PValue"].min()
    with pytest.raises(InputError, match="not in the background"):
        enrich(LABELS, SETS, background=["g0"])


def test_depletion_is_no_enrichment_and_all_tests_count():
    away = enrich(LABELS, {"away": [f"g{k}" for k in range(19, 40)]})
    assert away["Enrichment_PValue"].min() > 0.5
    rng = np.random.default_rng(0)
    sets = {f"s{k}": list(rng.choice(LABELS.index, 6, replace=False)) for k in range(200)}
    found = enrich(LABELS, sets)
    assert found["Enrichment_QValue"].min() > 0.05
    alone = enrich(LABELS, {"one": ["g0", "g1", "g2"]})
    # Two clusters were tested, though the other one shares nothing.
    assert alone["Enrichment_QValue"].item() == pytest.approx(2 * alone["Enrichment_PValue"].item())


def test_nothing_to_test():
    assert enrich(LABELS, {"small": ["g0"]}).empty
    assert enrich(LABELS * 0 - 1, SETS).empty
    with pytest.raises(InputError, match="twice"):
        enrich(pd.concat([LABELS, LABELS]), SETS)


def test_gene_sets_are_read(tmp_path):
    path = tmp_path / "sets.gmt"
    path.write_text("A\thttp://x\tg1\tg2\tg1\n\nB\t\tg3\t\n", encoding="utf-8")
    assert read_gmt(path) == {"A": ["g1", "g2"], "B": ["g3"]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A\tx\n", "line 1"),
        ("A\tx\tg\nA\ty\th\n", "line 2.*twice"),
        ("A g1 g2", "tabs"),
        ("", "no"),
    ],
)
def test_bad_gene_sets_are_told(tmp_path, text, words):
    path = tmp_path / "sets.gmt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        read_gmt(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_gmt(tmp_path / "none.gmt")
