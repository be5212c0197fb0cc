"""Normalisation where data are not as they should be."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from poolvox.shared.errors import InputError
from poolvox.shared.profiles import Record, normalize, normalize_local
from poolvox.shared.profiles.normalise.grouped import MAD, fit_scales

RNG = np.random.default_rng(3)


def table(values, **keys):
    frame = pd.DataFrame(values, columns=[f"Cells_F{i}" for i in range(values.shape[1])])
    for name, column in keys.items():
        frame.insert(0, f"Metadata_{name}", column)
    return frame


@pytest.mark.parametrize("method", ["standardize", "robustize", "mad_robustize"])
def test_no_spread_in_one_group_is_missing_there_and_said(method):
    values = RNG.standard_normal((40, 2))
    values[:20, 0] = 0.1 + 1e-17
    record = Record()
    z = normalize(
        table(values, Plate=["a"] * 20 + ["b"] * 20),
        by="Metadata_Plate",
        method=method,
        record=record,
    )
    assert z.Cells_F0[:20].isna().all()
    assert z.Cells_F0[20:].notna().all()
    assert z.Cells_F1.notna().all()
    assert record.frame[["what", "name", "reason"]].to_numpy().tolist() == [
        ["changed", "Cells_F0", "zero spread, so missing, in a"]
    ]


def test_rounding_is_no_spread():
    values = np.full((50, 1), 1e6, np.float32)
    values[::2] = np.nextafter(np.float32(1e6), np.float32(2e6))
    assert list(normalize(table(values), method="standardize")) == []


def test_missing_and_infinite_values_take_no_part():
    values = np.array([[1.0], [2], [4], [np.nan], [np.inf], [-np.inf]])
    record = Record()
    z = normalize(table(values), method="standardize", record=record)
    assert z.Cells_F0[:3].tolist() == pytest.approx(stats.zscore([1, 2, 4]))
    assert z.Cells_F0[3:].isna().all()
    assert record.frame.loc[0, ["name", "reason", "value"]].tolist() == [
        "Cells_F0",
        "infinite values are missing",
        2,
    ]


@pytest.mark.parametrize(
    "rows", [np.full((4, 1), np.nan), np.ones((1, 1)), np.zeros((0, 1)), np.full((3, 1), np.inf)]
)
def test_nothing_to_go_by_leaves_no_feature(rows):
    record = Record()
    z = normalize(table(rows, Well=["A1"] * len(rows)), record=record)
    assert list(z) == ["Metadata_Well"]
    assert len(z) == len(rows)
    assert "dropped" in record.frame["what"].tolist()


def test_keys_flags_and_the_index_stay():
    frame = table(RNG.standard_normal((4, 1)).astype("float32"), Plate=["a", "a", "b", "b"])
    frame["QC_Debris"] = [True, False, False, True]
    frame["Cells_Count"] = pd.array([1, None, 3, 4], dtype="Int64")
    frame.index = [7, 7, 3, 1]
    before = frame.copy()
    z = normalize(frame, method="standardize")
    assert list(z) == ["Metadata_Plate", "QC_Debris", "Cells_F0", "Cells_Count"]
    assert z.index.tolist() == [7, 7, 3, 1]
    assert z.QC_Debris.tolist() == [True, False, False, True]
    assert np.isnan(z.Cells_Count.iloc[1])
    z.loc[3, "Metadata_Plate"] = "other"
    pd.testing.assert_frame_equal(frame, before)


def test_precision_is_kept():
    values = RNG.standard_normal((30, 2))
    assert normalize(table(values)).dtypes.eq(np.float64).all()
    assert normalize(table(values.astype("f4"))).dtypes.eq(np.float32).all()


def test_a_group_without_reference_is_told():
    frame = table(RNG.standard_normal((6, 1)), Gene=list("ababcc"), Plate=list("112233"))
    with pytest.raises(InputError, match=r"no rows of 3 match .*leave those groups out"):
        normalize(frame, by="Metadata_Plate", samples="Metadata_Gene == 'a'")
    with pytest.raises(InputError, match="got 'zscore'"):
        normalize(frame, method="zscore")


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 400), st.integers(1, 5), st.sampled_from(["f4", "f8"]))
def test_order_and_partition_of_rows_change_nothing(seed, rows, groups, dtype):
    rng = np.random.default_rng(seed)
    values = rng.integers(-3, 4, (rows, 3)).astype(dtype) + rng.standard_normal(3).astype(dtype)
    frame = table(values, Plate=rng.integers(0, groups, rows))
    z = normalize(frame, by="Metadata_Plate")
    order = rng.permutation(rows)
    pd.testing.assert_frame_equal(normalize(frame.iloc[order], by="Metadata_Plate"), z.iloc[order])


@pytest.mark.parametrize("shape", ["random", "sorted", "few values", "periodic", "outliers"])
@pytest.mark.parametrize("count", [20_000, 20_001, 65_537])
def test_medians_of_long_columns_are_exact(shape, count):
    values = RNG.standard_normal(count)
    if shape == "sorted":
        values.sort()
    elif shape == "few values":
        values = np.round(values)
    elif shape == "periodic":
        # A sample at even steps sees one phase only.
        values = np.tile(np.arange(count // 1024 + 1.0), 1025)[:count]
    elif shape == "outliers":
        values[:: count // 1024] = 1e9
    order = np.arange(count, dtype=np.int64)
    matrix = np.asfortranarray(values[:, None])
    bounds = np.array([0, count])
    centre, spread, _ = fit_scales(matrix, order.astype(np.int32), bounds, True, MAD)
    median = np.median(values)
    assert centre[0, 0] == median
    assert spread[0, 0] == pytest.approx(1.4826 * np.median(np.abs(values - median)), rel=1e-12)


def test_normal_scores_of_ranks():
    values = np.exp(RNG.standard_normal((500, 1)) * 3)
    values[4] = np.nan
    z = normalize(table(values), method="standardize", rank=True).Cells_F0
    assert stats.skew(z.dropna()) == pytest.approx(0, abs=1e-6)
    assert z.dropna().rank().tolist() == pd.Series(values[:, 0]).dropna().rank().tolist()
    assert z.isna().sum() == 1


def test_neighbours_in_space_take_gradients_away():
    y, x = RNG.uniform(0, 1000, (2, 2000))
    values = np.stack([x / 100 + RNG.standard_normal(2000), RNG.standard_normal(2000)], axis=1)
    frame = table(values, X_um=x, Y_um=y, Tile=["1"] * 1997 + ["2"] * 3)
    frame.loc[0, "Metadata_X_um"] = np.nan
    record = Record()
    z = normalize_local(frame, neighbours=60, by="Metadata_Tile", record=record)
    own = z.iloc[1:1997]
    # At the border all neighbours lie on one side.
    inner = own[own.Metadata_X_um.between(100, 900) & own.Metadata_Y_um.between(100, 900)]
    assert np.corrcoef(x, values[:, 0])[0, 1] > 0.9
    assert abs(np.corrcoef(inner.Metadata_X_um, inner.Cells_F0)[0, 1]) < 0.07
    assert np.median(np.abs(inner.Cells_F0)) == pytest.approx(0.68, abs=0.15)
    assert z.Cells_F0.isna().to_numpy().nonzero()[0].tolist() == [0]
    with pytest.raises(InputError, match="Metadata_Q"):
        normalize_local(frame, positions=["Metadata_Q"])


def test_an_object_is_not_its_own_neighbour():
    frame = table(np.array([[0.0], [1], [2], [9]]), Y_um=[0.0] * 4, X_um=[0.0, 1, 2, 3])
    z = normalize_local(frame, neighbours=3, method="standardize")
    others = np.array([0.0, 1, 2])
    assert z.Cells_F0[3] == pytest.approx((9 - others.mean()) / others.std())
