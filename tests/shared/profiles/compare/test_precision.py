"""Average precision against copairs, against all rankings, and where copairs is wrong."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.compare.chance import NullPrecision, expected_precision
from poolvox.shared.profiles.compare.exchange import MeanNull
from poolvox.shared.profiles.compare.pairs import Pairs, design_pairs
from poolvox.shared.profiles.compare.precision import average_precision, mean_average_precision
from poolvox.shared.profiles.compare.shuffles import exchange_alike, exchange_labels, rank_rows
from poolvox.shared.profiles.compare.similarity import Space, similarities

copairs = pytest.importorskip("copairs.map")


def profiles(genes=12, guides=4, features=8, active=4, effect=1.5, seed=0, plates=2):
    rng = np.random.default_rng(seed)
    gene = np.repeat(np.arange(genes), guides)
    values = rng.standard_normal((len(gene), features))
    values += (
        effect
        * (rng.standard_normal((genes, features)) * (np.arange(genes) < active)[:, None])[gene]
    )
    keys = pd.DataFrame(
        {
            "Metadata_Gene": [f"g{k:02}" for k in gene],
            "Metadata_Plate": rng.integers(0, plates, len(gene)).astype(str),
            "Metadata_Control": gene >= genes - 3,
        }
    )
    return keys.join(pd.DataFrame(values, columns=[f"F{k}" for k in range(features)]))


def of_copairs(frame, pairs, distance="cosine"):
    names = ("pos_sameby", "pos_diffby", "neg_sameby", "neg_diffby")
    rules = {name: list(getattr(pairs, name)) for name in names}
    keys = frame.filter(regex="^Metadata_")
    return copairs.average_precision(
        keys, frame.filter(regex="^F").to_numpy(), **rules, distance=distance, progress_bar=False
    )


RULES = [
    Pairs("Metadata_Gene", neg_diffby="Metadata_Gene"),
    Pairs("Metadata_Gene", "Metadata_Plate", "Metadata_Plate", "Metadata_Gene"),
    Pairs("Metadata_Gene", (), (), ("Metadata_Gene", "Metadata_Control")),
    Pairs(("Metadata_Gene", "Metadata_Plate"), (), "Metadata_Plate", "Metadata_Gene"),
]


@pytest.mark.parametrize("pairs", RULES)
@pytest.mark.parametrize("metric", ["cosine", "correlation", "euclidean", "abs_cosine"])
def test_equal_to_copairs(pairs, metric):
    frame = profiles(genes=20, plates=3)
    ours = average_precision(frame, pairs, metric=metric, draws=9)
    theirs = of_copairs(frame, pairs, metric)
    has = theirs["n_pos_pairs"] > 0
    np.testing.assert_array_equal(ours["Map_Positives"], theirs["n_pos_pairs"])
    np.testing.assert_array_equal(ours["Map_Pairs"][has], theirs["n_total_pairs"][has])
    for mine, name in (
        ("Map_Precision", "average_precision"),
        ("Map_Normalized", "normalized_average_precision"),
    ):
        np.testing.assert_allclose(ours[mine][has], theirs[name][has], atol=1e-6)


def test_ties_favour_nobody():
    frame = profiles(effect=0)
    frame[frame.filter(regex="^F").columns] = 1.0
    assert of_copairs(frame, RULES[0])["average_precision"].eq(1).all()  # the defect
    found = average_precision(frame, RULES[0])
    expected = expected_precision(found["Map_Positives"], found["Map_Pairs"])
    np.testing.assert_allclose(found["Map_Precision"], expected)
    np.testing.assert_allclose(found["Map_Normalized"], 0, atol=1e-12)


def test_a_profile_without_direction_has_no_precision():
    frame = profiles()
    frame.loc[0, frame.filter(regex="^F").columns] = 0.0
    frame.loc[1, "F0"] = np.nan
    found = average_precision(frame, RULES[0])
    assert found["Map_Precision"][:2].isna().all()
    assert list(found["Map_Reason"][:3]) == ["no direction", "missing values", ""]
    # Nor do the others rank it.
    rest = average_precision(frame[2:], RULES[0])
    pd.testing.assert_frame_equal(found[2:], rest)


def test_reasons_of_designs_without_pairs():
    alone = pd.DataFrame({"Metadata_Gene": ["a", "b"], "F0": [1.0, 2], "F1": [2.0, 1]})
    assert set(average_precision(alone, RULES[0])["Map_Reason"]) == {"no positive pair"}
    same = alone.assign(Metadata_Gene="a")
    found = average_precision(same, RULES[0])
    assert set(found["Map_Reason"]) == {"no negative pair"}
    assert found["Map_PValue"].isna().all()
    assert mean_average_precision(alone, by="Metadata_Gene")["Map_Score"].isna().all()


def mean_over_orders(labels, similar):
    """Average precision as its definition has it, over all orders of what is tied."""
    found = []
    for order in itertools.permutations(range(len(labels))):
        if all(similar[a] >= similar[b] for a, b in itertools.pairwise(order)):
            right = [labels[k] for k in order]
            hits = [k for k, r in enumerate(right) if r]
            found.append(np.mean([(n + 1) / (k + 1) for n, k in enumerate(hits)]))
    return np.mean(found)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2)), min_size=2, max_size=6))
@settings(max_examples=40, deadline=None)
def test_tie_rule_is_the_mean_over_all_orders(ranking):
    labels, level = [r[0] for r in ranking], [r[1] for r in ranking]
    if not any(labels) or all(labels):
        return
    angle = np.concatenate([[0.0], np.array(level) * 0.4])
    frame = pd.DataFrame({"F0": np.cos(angle), "F1": np.sin(angle)})
    frame["Metadata_Gene"] = ["a", *("a" if right else "b" for right in labels)]
    found = average_precision(frame, RULES[0], queries=np.arange(len(frame)) == 0)
    assert found["Map_Precision"].iloc[0] == pytest.approx(
        mean_over_orders(labels, [-k for k in level])
    )


@pytest.mark.parametrize(("m", "n"), [(1, 7), (3, 9), (4, 12), (5, 5)])
def test_small_nulls_are_all_rankings(m, n):
    null, exact = NullPrecision(draws=10, seed=0).null(m, n)
    every = [
        np.mean([(k + 1) / (r + 1) for k, r in enumerate(ranks)])
        for ranks in itertools.combinations(range(n), m)
    ]
    assert exact
    np.testing.assert_allclose(null, np.sort(every))
    assert null.mean() == pytest.approx(float(expected_precision(m, n)))


def test_drawn_null_has_the_expected_mean():
    null, exact = NullPrecision(draws=20_000, seed=1).null(7, 60)
    assert not exact
    assert null.mean() == pytest.approx(
        float(expected_precision(7, 60)), abs=4 * null.std() / math.sqrt(len(null))
    )


def test_p_values_count_the_observed_one():
    null = NullPrecision(draws=999, seed=0)
    p = null.p_values(np.array([1.0, np.nan]), np.array([9, 9]), np.array([900, 900]))
    assert p[0] == 1 / 1000
    assert np.isnan(p[1])


def test_the_order_of_rows_and_other_profiles_do_not_matter():
    frame = profiles(genes=10)
    mixed = frame.sample(frac=1, random_state=0)
    one = average_precision(frame, RULES[0])
    pd.testing.assert_frame_equal(one, average_precision(mixed, RULES[0]).loc[one.index])
    for controls in (None, "Metadata_Control"):
        pd.testing.assert_frame_equal(
            mean_average_precision(frame, by="Metadata_Gene", controls=controls),
            mean_average_precision(mixed, by="Metadata_Gene", controls=controls),
        )


def test_all_exchanges_are_enumerated_in_small_designs():
    """Two profiles and six controls: all 28 pairs of the eight are tried."""
    frame = profiles(genes=4, guides=2, features=5, active=1, effect=3, seed=3)
    frame["Metadata_Control"] = frame["Metadata_Gene"] != "g00"
    found = mean_average_precision(frame, by="Metadata_Gene", controls="Metadata_Control")
    values = similarities(frame.filter(regex="^F").to_numpy())
    scores = []
    for a, b in itertools.combinations(range(8), 2):
        others = [k for k in range(8) if k not in (a, b)]
        ranks = [sum(values[q, k] > values[a, b] for k in others) + 1 for q in (a, b)]
        scores.append(np.mean([1 / rank for rank in ranks]))
    assert found["Map_Null"].item() == "all exchanges"
    assert found["Map_Score"].item() == pytest.approx(scores[0])
    assert found["Map_PValue"].item() == pytest.approx(
        np.mean(np.array(scores) >= scores[0] - 1e-9)
    )


@pytest.mark.parametrize("size", [2, 5])
def test_exchanges_by_ranks_are_those_by_counting_negatives(size):
    """Similarities of two decimals: many are tied."""
    values = np.random.default_rng(0).standard_normal((30, 3))
    similar = similarities(values).round(2)
    pattern = ~np.eye(size, dtype=bool)
    one, other = (np.random.default_rng(1) for _ in range(2))
    slots, stratum = np.arange(size), np.zeros(30, np.int64)
    counted = exchange_labels(similar, stratum, slots, pattern, 500, one)
    ranked = exchange_alike(rank_rows(similar), size, 500, other)
    assert len(np.unique(ranked)) > 20
    np.testing.assert_array_equal(ranked, counted)


@pytest.mark.parametrize(
    ("controls", "pool", "kind"),
    [("Metadata_Control", 3000, "all exchanges"), (None, 3000, "exchanges"), (None, 3, "pairs")],
)
def test_p_values_of_means_are_uniform_where_nothing_is_active(controls, pool, kind, monkeypatch):
    """A null of one precision is too wide for a mean; one of independent ones too narrow."""
    monkeypatch.setattr("poolvox.shared.profiles.compare.exchange.POOL", pool)
    p = []
    for seed in range(6):
        frame = profiles(genes=30, guides=3, features=40, active=0, seed=seed)
        frame["Metadata_Control"] = frame["Metadata_Gene"] >= "g20"
        found = mean_average_precision(frame, by="Metadata_Gene", controls=controls, seed=seed)
        assert set(found["Map_Null"]) == {kind}
        p.extend(found["Map_PValue"])
    for level in (0.05, 0.2, 0.5):
        spread = math.sqrt(level * (1 - level) / len(p))
        assert np.mean(np.array(p) <= level) == pytest.approx(level, abs=3.5 * spread)


def test_pairs_shared_by_two_profiles_make_one_chance():
    """Both rank each other first: of 2C + 1 similarities the shared one is the largest."""
    controls = 40
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.standard_normal((controls + 2, 30))).rename(columns="F{}".format)
    frame["Metadata_Gene"] = ["a", "a", *map(str, range(controls))]
    space = Space.of(frame.filter(regex="^F").to_numpy())
    design = design_pairs(frame.iloc[space.order], RULES[0])
    members = np.sort(np.flatnonzero(space.order < 2))
    null = MeanNull(space, design, draws=9999, seed=0)
    null.add(members, 1.0, np.array([controls, controls]))
    case = next(iter(null._cases.values()))
    values, how = null._chance(case)
    assert how == "pairs"
    assert values[0] == pytest.approx(1 / (2 * controls + 1), rel=0.3)


def test_active_genes_are_found_at_the_stated_rate():
    found, false = 0, 0
    for seed in range(4):
        frame = profiles(genes=40, guides=4, features=20, active=10, effect=1.5, seed=seed)
        table = mean_average_precision(frame, by="Metadata_Gene")
        called = table["Map_QValue"] <= 0.05
        truth = table["Metadata_Gene"] < "g10"
        found += int((called & truth).sum())
        false += int((called & ~truth).sum())
    assert found >= 38
    assert false <= 6


def test_wrong_input_is_told():
    frame = profiles()
    with pytest.raises(InputError, match="Metadata_Guide"):
        average_precision(frame, Pairs("Metadata_Guide"))
    with pytest.raises(InputError, match="missing values"):
        average_precision(frame.assign(Metadata_Gene=[None] * len(frame)), Pairs("Metadata_Gene"))
    with pytest.raises(InputError, match="no feature"):
        average_precision(frame[["Metadata_Gene"]], Pairs("Metadata_Gene"))
    with pytest.raises(InputError, match="control"):
        mean_average_precision(frame, by="Metadata_Gene", controls="Metadata_Gene == 'x'")
    with pytest.raises(ValueError, match="pos_sameby"):
        Pairs(())
