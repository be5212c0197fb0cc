"""Normalise, choose, aggregate and consensus against pycytominer, and where it is wrong."""

import numpy as np
import pandas as pd
import pytest

from poolvox.shared.profiles import (
    Record,
    SelectionOptions,
    aggregate,
    normalize,
    select_features,
)

pycytominer = pytest.importorskip("pycytominer")

ROWS, COUNT = 600, 24
FEATURES = [f"Cells_AreaShape_F{i}" for i in range(COUNT)]


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(5)
    values = rng.standard_normal((ROWS, COUNT)) * rng.uniform(0.1, 50, COUNT) + 7
    values[:, 3] = 2 * values[:, 2] + 0.01 * values[:, 1]
    values[:, 5] = values[:, 2]
    values[:, 6] = rng.integers(0, 2, ROWS)
    values[rng.random(values.shape) < 0.02] = np.nan
    values[: ROWS // 10, 9] = np.nan
    table = pd.DataFrame(values, columns=FEATURES)
    table.insert(0, "Metadata_Plate", np.where(np.arange(ROWS) % 2, "P1", "P2"))
    table.insert(1, "Metadata_Gene", rng.choice(["nt", "a", "b", "c10", "c2"], ROWS))
    return table


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("samples", [None, "Metadata_Gene == 'nt'"])
@pytest.mark.parametrize("method", ["standardize", "robustize", "mad_robustize"])
def test_normalize_is_theirs(frame, method, samples, dtype):
    given = frame.astype(dict.fromkeys(FEATURES, dtype))
    ours = normalize(given, method=method, samples=samples)
    theirs = pycytominer.normalize(
        given, features=FEATURES, method=method, samples=samples or "all", mad_robustize_epsilon=0
    )
    kept = [name for name in FEATURES if name in ours]
    assert len(kept) >= COUNT - 1
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    np.testing.assert_allclose(ours[kept], theirs[kept], rtol=tolerance, atol=tolerance)


def test_groups_are_the_same_as_one_after_the_other(frame):
    ours = normalize(frame, by="Metadata_Plate")
    for plate, rows in frame.groupby("Metadata_Plate"):
        alone = normalize(rows)[list(ours)]
        pd.testing.assert_frame_equal(ours[ours.Metadata_Plate == plate], alone)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (("variance",), ["variance_threshold"]),
        (("frequency",), ["frequency_threshold"]),
        (("missing",), ["drop_na_columns"]),
        (("outliers",), ["drop_outliers"]),
        (("correlation",), ["correlation_threshold"]),
        (
            ("variance", "correlation", "missing", "frequency"),
            [
                "variance_threshold",
                "correlation_threshold",
                "drop_na_columns",
                "frequency_threshold",
            ],
        ),
    ],
)
def test_choice_is_theirs(frame, ours, theirs):
    options = SelectionOptions(outliers=60, variance=0.3)
    kept = select_features(frame, operations=ours, options=options)
    expected = pycytominer.feature_select(
        frame, features=FEATURES, operation=theirs, outlier_cutoff=60, min_variance=0.3
    )
    # Of the equal columns 2 and 5 either may go: they have no rule for it, ours is the later.
    alike = {FEATURES[2], FEATURES[5]}
    assert set(kept) - alike == set(expected) - alike
    assert len(kept.columns) == len(expected.columns)
    assert len(kept.columns) < len(frame.columns)


def test_replicates_that_disagree_go_as_theirs(frame):
    z = normalize(frame, method="standardize")
    z[FEATURES[0]] += 5 * pd.factorize(frame.Metadata_Gene)[0]
    z = normalize(z, method="standardize")
    options = SelectionOptions(replicates=["Metadata_Gene"], agreement=0.8)
    kept = select_features(z, operations=["replicates"], options=options)
    expected = pycytominer.feature_select(
        z,
        features=[name for name in FEATURES if name in z],
        operation="noise_removal",
        noise_removal_perturb_groups="Metadata_Gene",
        noise_removal_stdev_cutoff=0.8,
    )
    assert list(kept) == list(expected)
    assert FEATURES[0] in kept
    assert FEATURES[1] not in kept


@pytest.mark.parametrize("method", ["median", "mean"])
def test_aggregate_is_theirs(frame, method):
    by = ["Metadata_Plate", "Metadata_Gene"]
    ours = aggregate(frame, by=by, method=method).sort_values(by)
    theirs = pycytominer.aggregate(frame, strata=by, features=FEATURES, operation=method)
    np.testing.assert_allclose(ours[FEATURES], theirs.sort_values(by)[FEATURES], rtol=1e-12)
    assert ours.Metadata_Count.tolist() == frame.groupby(by).size().tolist()


@pytest.mark.filterwarnings("ignore:DataFrameGroupBy.apply:FutureWarning")
def test_consensus_is_theirs_but_for_their_rounded_weights(frame):
    whole = frame.drop(columns=FEATURES[9]).dropna().head(40)
    names = [name for name in FEATURES if name in whole]
    ours = aggregate(whole, by="Metadata_Gene", method="modz").sort_values("Metadata_Gene")
    arguments = {"replicate_columns": ["Metadata_Gene"], "operation": "modz", "features": names}
    theirs, exact = (
        pycytominer.consensus(whole, **arguments, modz_args={"precision": digits})
        for digits in (4, 15)
    )
    np.testing.assert_allclose(ours[names], exact.sort_values("Metadata_Gene")[names], rtol=1e-9)
    # Weights that were rounded to four digits no longer sum to one.
    assert not np.allclose(theirs[names], exact[names], rtol=1e-6)


def test_zero_spread_is_missing_never_enormous():
    rng = np.random.default_rng(0)
    mostly = np.where(rng.random(200) < 0.6, 0.0, rng.random(200))
    frame = pd.DataFrame({"Cells_Zeros": mostly, "Cells_Fine": rng.random(200)})
    theirs = pycytominer.normalize(
        frame, features=list(frame), meta_features=[], method="mad_robustize"
    )
    assert theirs["Cells_Zeros"].max() > 1e17
    record = Record()
    ours = normalize(frame, record=record)
    assert list(ours) == ["Cells_Fine"]
    assert record.frame.iloc[0][["what", "name", "reason"]].tolist() == [
        "dropped",
        "Cells_Zeros",
        "zero spread in every group",
    ]


def test_opposite_features_are_the_same_thing_twice():
    x = np.random.default_rng(0).standard_normal(100)
    frame = pd.DataFrame({"Cells_A": x, "Cells_B": -x, "Cells_C": np.roll(x, 3)})
    theirs = pycytominer.feature_select(
        frame, features=list(frame), operation="correlation_threshold"
    )
    assert list(theirs) == list(frame)
    record = Record()
    assert list(select_features(frame, record=record)) == ["Cells_A", "Cells_C"]
    assert record.frame.loc[0, "reason"] == "correlated beyond 0.9 with Cells_A"
    assert record.frame.loc[0, "value"] == pytest.approx(-1)
