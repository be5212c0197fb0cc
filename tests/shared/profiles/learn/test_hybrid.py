import numpy as np
import pandas as pd
import pytest

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.learn.hybrid import (
    ablate,
    feature_blocks,
    hybrid_profiles,
    neighbour_accuracy,
)
from poolvox.shared.profiles.tables.columns import feature_columns


def profiles(measured=1.0, learned=1.0, seed=0):
    """Guides of 8 genes and controls; measured features tell four genes, learned ones the rest."""
    rng = np.random.default_rng(seed)
    genes = np.repeat([f"g{k}" for k in range(8)] + ["control"], [4] * 8 + [30])
    shape = rng.normal(size=(8, 30)) * (np.arange(8) < 4)[:, None] * 1.5 * measured
    look = rng.normal(size=(8, 8)) * (np.arange(8) >= 4)[:, None] * 1.5 * learned
    places = np.minimum(np.arange(len(genes)) // 4, 8)
    zero = lambda table: np.vstack([table, np.zeros(table.shape[1])])  # noqa: E731
    values = rng.normal(size=(len(genes), 38))
    values += np.hstack([zero(shape), zero(look)])[places]
    scales = np.r_[10.0 ** rng.uniform(-2, 3, 30), np.full(8, 0.02)]
    names = [f"Cells_Shape_M{k}" for k in range(30)] + [f"Cells_Embedding_{k:03}" for k in range(8)]
    table = pd.DataFrame(values * scales + 5, columns=names)
    table.insert(0, "Metadata_Gene", genes)
    return table


CONTROLS = "Metadata_Gene == 'control'"


def test_blocks_have_equal_shares_among_the_controls():
    table = hybrid_profiles(profiles(), controls=CONTROLS)
    blocks = feature_blocks(table)
    assert [len(names) for names in blocks.values()] == [30, 8]
    controls = table[table["Metadata_Gene"] == "control"]
    for names in blocks.values():
        assert controls[names].to_numpy().var(axis=0).sum() == pytest.approx(1)
        assert np.abs(controls[names].mean()).max() < 1e-6


def test_both_together_find_what_each_finds_alone():
    table = ablate(profiles(), by="Metadata_Gene", controls=CONTROLS).set_index("Metadata_Block")
    assert table["Block_Features"].to_dict() == {"measured": 30, "learned": 8, "both": 38}
    for score in ("Block_MAP", "Block_NeighbourAccuracy"):
        alone = table.loc[["measured", "learned"], score]
        assert table.loc["both", score] > alone.max() + 0.05
    assert table.loc["both", "Block_Found"] >= 0.75


def test_a_block_without_signal_is_seen_to_give_none():
    table = ablate(profiles(learned=0), by="Metadata_Gene", controls=CONTROLS)
    scores = table.set_index("Metadata_Block")["Block_Found"]
    assert scores["learned"] == 0
    assert scores["measured"] >= 0.4


def test_measured_features_alone_are_one_row():
    table = profiles().drop(columns=feature_blocks(profiles())["learned"])
    assert ablate(table, by="Metadata_Gene")["Metadata_Block"].tolist() == ["measured"]


def test_features_without_spread_are_left_out():
    table = hybrid_profiles(profiles().assign(Cells_Shape_Flat=3.0), controls=CONTROLS)
    assert "Cells_Shape_Flat" not in table
    with pytest.raises(InputError, match="none of 1 features varies"):
        hybrid_profiles(pd.DataFrame({"Cells_Flat_A": [1.0] * 9}))
    with pytest.raises(InputError, match="no features"):
        hybrid_profiles(pd.DataFrame({"Metadata_Gene": ["a"]}))


def test_neighbours_vote():
    values = np.array([[1, 0.1], [1, 0.0], [0.9, 0.2], [-1, 0.1], [-1, -0.1], [0, 1]])
    names = ["a", "a", "a", "b", "b", "alone"]
    assert neighbour_accuracy(values, names, count=2) == 1
    assert neighbour_accuracy(values, ["a", "b", "a", "b", "a", "x"], count=1) < 0.5
    assert np.isnan(neighbour_accuracy(values, list("abcdef")))
    assert len(feature_columns(profiles())) == 38
