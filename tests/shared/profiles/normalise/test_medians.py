"""Medians and quantiles of groups are those of numpy, wherever the rows of the groups are."""

import numpy as np
import pandas as pd
import pytest

from poolvox.shared.profiles.normalise import grouped
from poolvox.shared.profiles.tables.groups import group_rows

RNG = np.random.default_rng(3)
SHAPES = {
    "normal": lambda n: RNG.standard_normal(n),
    "far from 0": lambda n: 1e4 + RNG.standard_normal(n),
    "skewed": lambda n: np.exp(3 * RNG.standard_normal(n)),
    "few values": lambda n: RNG.integers(0, 4, n) * 1.0,
    "one value": lambda n: np.full(n, 7.5),
    "two values": lambda n: np.repeat([0.0, 1.0], [n // 2, n - n // 2]),
    "sorted": lambda n: np.sort(RNG.standard_normal(n)),
    "with holes": lambda n: np.where(RNG.random(n) < 0.3, np.nan, RNG.standard_normal(n)),
    "in steps of the sample": lambda n: np.arange(n) % 128 * 1.0,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_centres_and_spreads_are_exact(shape, dtype):
    sizes = (1, 2, 31, 32, 33, 97, 1_000, 4_097)
    codes = RNG.permutation(np.repeat(np.arange(len(sizes)), sizes))
    values = SHAPES[shape](len(codes)).astype(dtype)
    frame = pd.DataFrame({"Metadata_Well": codes})
    groups = group_rows(frame, "Metadata_Well")
    matrix = np.asfortranarray(values[:, None])
    median, mad, count = grouped.fit_scales(matrix, *groups.layout, grouped.MAD)
    middle, width, _ = grouped.fit_scales(matrix, *groups.layout, grouped.QUARTILES)
    for g in range(len(sizes)):
        own = values[(codes == g) & np.isfinite(values)].astype(float)
        assert count[g, 0] == len(own)
        if not len(own):
            assert np.isnan(median[g, 0])
            continue
        low, half, high = np.quantile(own, [0.25, 0.5, 0.75])
        assert median[g, 0] == middle[g, 0] == pytest.approx(half, rel=1e-14)
        assert width[g, 0] == pytest.approx(high - low, rel=1e-6)
        # Deviations are kept in the precision of the values.
        rounding = np.finfo(dtype).eps * np.abs(own).max()
        assert mad[g, 0] / 1.4826 == pytest.approx(np.median(abs(own - half)), abs=rounding)


def test_rows_are_found_either_way():
    values = np.asfortranarray(RNG.standard_normal((5_000, 3)).astype(np.float32))
    frame = pd.DataFrame({"Metadata_Gene": RNG.integers(0, 12, len(values))})
    few = group_rows(frame, "Metadata_Gene").only(RNG.random(len(values)) < 0.5)
    apart = (few.order.astype(np.int32), few.bounds, False)
    assert few.layout.scattered
    for method in (grouped.MEAN, grouped.MEDIAN, grouped.ROBUST):
        np.testing.assert_array_equal(
            grouped.group_centres(values, *few.layout, method),
            grouped.group_centres(values, *apart, method),
        )
    sparse = few.only(RNG.random(len(values)) < 0.1)
    assert not sparse.layout.scattered
    assert grouped.group_centres(values, *sparse.layout, grouped.MEDIAN).shape == (12, 3)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weight", ["any", "equal", "rare"])
def test_half_of_the_weight_is_on_either_side(shape, weight):
    for n in (1, 2, 31, 32, 33, 500, 5_000):
        values = SHAPES[shape](n)
        weights = {
            "any": RNG.uniform(0.1, 1, n),
            "equal": np.full(n, 0.9),
            "rare": np.where(RNG.random(n) < 0.02, 1e3, 1e-3),
        }[weight]
        bounds, places = np.array([0, n]), np.arange(n, dtype=np.int32)
        matrix = np.asfortranarray(values[:, None])
        found = grouped.weighted_centres(matrix, weights, places, bounds, True, True)[0, 0]
        there = np.isfinite(values)
        if not there.any():
            assert np.isnan(found)
        elif weight == "equal":
            assert found == np.median(values[there])
        else:
            half = weights[there].sum() / 2 * (1 + 1e-9)
            assert weights[there & (values < found)].sum() <= half
            assert weights[there & (values > found)].sum() <= half


@pytest.mark.parametrize("extreme", [1e3, -1e3])
@pytest.mark.parametrize("n", [32, 100, 1_000, 5_000])
def test_samples_that_lead_astray_change_nothing(n, extreme):
    """What is looked at first, at even steps, is unlike all the rest."""
    values = RNG.standard_normal(n).astype(np.float32)
    values[:: max(n // max(8, n // 128), 1)] = extreme
    matrix, bounds = np.asfortranarray(values[:, None]), np.array([0, n])
    places = np.arange(n, dtype=np.int32)
    middle, width, _ = grouped.fit_scales(matrix, places, bounds, True, grouped.QUARTILES)
    low, half, high = np.quantile(values.astype(float), [0.25, 0.5, 0.75])
    assert middle[0, 0] == half
    assert width[0, 0] == pytest.approx(high - low)
    found = grouped.weighted_centres(matrix, np.full(n, 0.7), places, bounds, True, True)
    assert found[0, 0] == half
