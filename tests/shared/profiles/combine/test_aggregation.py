import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolvox.shared.errors import InputError
from poolvox.shared.profiles import Record, aggregate, bootstrap

RNG = np.random.default_rng(9)


def test_rows_of_a_group_make_one():
    frame = pd.DataFrame(
        {
            "Metadata_Well": ["A10", "A2", "A2", "A10", "A2", None],
            "Cells_A": [1.0, 2, 4, 3, np.nan, 7],
            "Cells_B": np.array([1, 2, np.inf, 3, np.nan, 7], np.float32),
            "Cells_None": np.nan,
        }
    )
    profiles = aggregate(frame, by="Metadata_Well")
    assert profiles.Metadata_Well.tolist()[:2] == ["A2", "A10"]
    assert profiles.Metadata_Count.tolist() == [3, 2, 1]
    assert profiles.Cells_A.tolist() == [3, 2, 7]
    assert profiles.Cells_B.tolist() == [2, 2, 7]
    assert profiles.Cells_None.isna().all()


def test_a_group_of_nothing_is_told():
    frame = pd.DataFrame({"Metadata_Well": ["A1", "A2"], "Cells_A": [np.nan, 1.0]})
    record = Record()
    assert aggregate(frame, by="Metadata_Well", record=record).Cells_A.isna().tolist() == [
        True,
        False,
    ]
    assert record.frame["name"].tolist() == ["A1"]
    assert len(aggregate(frame.iloc[:0], by="Metadata_Well")) == 0


@pytest.mark.parametrize("method", ["median", "mean"])
def test_whole_weights_are_as_many_rows(method):
    values = RNG.standard_normal((30, 3))
    counts = RNG.integers(0, 4, 30)
    frame = pd.DataFrame(values, columns=["Cells_A", "Cells_B", "Cells_C"])
    frame["Metadata_Gene"] = np.arange(30) % 3
    frame["Call_Posterior"] = counts
    weighted = aggregate(frame, by="Metadata_Gene", method=method, weights="Call_Posterior")
    repeated = frame.loc[np.repeat(frame.index, counts)]
    expected = aggregate(repeated, by="Metadata_Gene", method=method)
    names = ["Cells_A", "Cells_B", "Cells_C"]
    np.testing.assert_allclose(weighted[names], expected[names], rtol=1e-12)
    assert weighted.Metadata_Weight.tolist() == expected.Metadata_Count.tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 600))
def test_equal_weights_are_none(seed, rows):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"Cells_A": rng.integers(0, 9, rows) * 1.0, "Metadata_Gene": "g"})
    frame["Call_Posterior"] = 0.37
    plain = aggregate(frame, by="Metadata_Gene").Cells_A
    weighted = aggregate(frame, by="Metadata_Gene", weights="Call_Posterior").Cells_A
    assert weighted.tolist() == plain.tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 400), st.booleans())
def test_the_weighted_median_has_half_of_the_weight_on_either_side(seed, rows, ties):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 6, rows) * 1.0 if ties else rng.standard_normal(rows)
    weights = rng.integers(0, 5, rows).astype(float)
    weights[0] = 1
    frame = pd.DataFrame({"Cells_A": values, "Metadata_Gene": "g", "Call_P": weights})
    found = aggregate(frame, by="Metadata_Gene", weights="Call_P").Cells_A[0]
    assert found == np.median(np.repeat(values, weights.astype(int)))


def test_doubtful_calls_count_less():
    frame = pd.DataFrame({"Metadata_Gene": "g", "Cells_A": [0.0, 0, 10], "Call_P": [0.9, 0.9, 0.1]})
    assert aggregate(frame, by="Metadata_Gene", method="mean", weights="Call_P").Cells_A[
        0
    ] == pytest.approx(1 / 1.9)
    frame["Call_P"] = [0.9, np.nan, -1]
    with pytest.raises(InputError, match="negative"):
        aggregate(frame, by="Metadata_Gene", weights="Call_P")
    frame["Call_Q"] = 1.0
    with pytest.raises(InputError, match="no weights"):
        aggregate(frame, by="Metadata_Gene", method="modz", weights="Call_Q")


@pytest.mark.parametrize("method", ["robust", "median"])
def test_robust_centres_stand_outliers_and_are_sharper_than_the_median(method):
    values = RNG.standard_normal((200, 50)) + 5
    values[:20] = 1e3
    frame = pd.DataFrame(values, columns=[f"Cells_{i}" for i in range(50)]).assign(Metadata_W="a")
    centre = aggregate(frame, by="Metadata_W", method=method).iloc[0, 2:].to_numpy(float)
    assert abs(centre.mean() - 5) < 0.25
    assert centre.std() < (0.085 if method == "robust" else 0.14)


def test_the_odd_replicate_counts_least():
    profile = RNG.standard_normal(40)
    values = np.stack([profile + 0.1 * RNG.standard_normal(40) for _ in range(3)] + [-5 * profile])
    frame = pd.DataFrame(values, columns=[f"Cells_{i}" for i in range(40)]).assign(Metadata_G="g")
    made = aggregate(frame, by="Metadata_G", method="modz").iloc[0, 2:].to_numpy(float)
    assert np.abs(made - profile).max() < 0.35
    alone = aggregate(frame.head(1), by="Metadata_G", method="modz").iloc[0, 2:].to_numpy(float)
    np.testing.assert_allclose(alone, values[0])


def test_confidence_of_a_profile_covers_the_truth():
    covered = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame({"Cells_A": rng.standard_normal(60) + 2, "Metadata_G": "g"})
        low, high = bootstrap(frame, by="Metadata_G", rng=rng, method="mean").Cells_A
        covered.append(low < 2 < high)
        assert 0.3 < high - low < 0.75
    assert sum(covered) >= 24
    assert bootstrap(frame, by="Metadata_G", rng=rng).Metadata_Bound.tolist() == ["low", "high"]


def test_unknown_names_are_told():
    frame = pd.DataFrame({"Cells_A": [1.0], "Metadata_Well": ["A1"]})
    with pytest.raises(InputError, match=r"cannot group by \['Metadata_Gene'\]"):
        aggregate(frame, by="Metadata_Gene")
    with pytest.raises(InputError, match="median, mean, robust, modz"):
        aggregate(frame, by="Metadata_Well", method="mode")
    with pytest.raises(InputError, match="Call_P"):
        aggregate(frame, by="Metadata_Well", weights="Call_P")
