"""Correlations of columns, of which some lack values, are those of pandas."""

import numpy as np
import pandas as pd
import pytest

from poolvox.shared.profiles.normalise.correlation import correlate_columns


@pytest.mark.parametrize("holed", [0, 1, 3, 6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pairs_are_compared_where_both_have_values(holed, dtype):
    rng = np.random.default_rng(holed)
    values = rng.standard_normal((20_000, 6)) + rng.standard_normal((20_000, 1))
    # Values lack where another column is large, so what is left has another mean and width.
    for column in range(holed):
        values[values[:, column - 1] > 0.5, column] = np.nan
    matrix = np.asfortranarray(values.astype(dtype))
    found = correlate_columns(matrix, np.arange(len(values)))
    np.testing.assert_allclose(found, pd.DataFrame(matrix).corr(), atol=2e-6)
    np.testing.assert_array_equal(found, found.T)
    rows = np.sort(rng.choice(len(values), 9_000, replace=False))
    some = correlate_columns(matrix, rows, [5, 0, 2])
    np.testing.assert_allclose(some, pd.DataFrame(matrix[rows][:, [5, 0, 2]]).corr(), atol=2e-6)


def test_too_few_or_equal_values_have_no_correlation():
    values = np.full((5, 4), np.nan)
    values[:, 0] = 1.0
    values[:, 1] = np.arange(5)
    values[0, 2] = 3.0
    values[:3, 3] = [1.0, 0.0, 2.0]
    found = correlate_columns(np.asfortranarray(values), np.arange(5))
    assert np.isnan(found[0]).all()
    assert np.isnan(found[2]).all()
    assert found[1, 3] == pytest.approx(np.corrcoef([0, 1, 2], [1, 0, 2])[0, 1])
