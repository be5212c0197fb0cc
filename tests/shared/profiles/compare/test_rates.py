import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from poolvox.shared.profiles.compare.rates import (
    benjamini_hochberg,
    combine_simes,
    hierarchical_fdr,
)

multitest = pytest.importorskip("statsmodels.stats.multitest")


@given(arrays(float, st.integers(1, 30), elements=st.floats(0, 1)))
def test_equal_to_statsmodels(p):
    expected = multitest.multipletests(p, method="fdr_bh")[1]
    np.testing.assert_allclose(benjamini_hochberg(p), expected, atol=1e-12)


def test_what_is_no_test_takes_no_part():
    np.testing.assert_allclose(benjamini_hochberg([0.02, np.nan, 0.04]), [0.04, np.nan, 0.04])
    assert np.isnan(benjamini_hochberg([np.nan])).all()
    assert len(benjamini_hochberg([])) == 0
    with pytest.raises(ValueError, match="between 0 and 1"):
        benjamini_hochberg([1.5])


def test_families_are_chosen_first():
    p = [0.001, 0.9, 0.004, 0.5, 0.6, 0.7]
    found = hierarchical_fdr(p, ["a", "a", "b", "b", "c", "c"], level=0.05)
    assert found["chosen"].tolist() == [True, True, True, True, False, False]
    np.testing.assert_allclose(found["q"], [0.003, 1, 0.012, 0.75, 1, 1])


def test_many_tests_make_no_family_look_active():
    """The smallest of many p-values is small by chance; tools that take it choose every family."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(50), 40)
    chosen = [
        hierarchical_fdr(rng.random(len(groups)), groups, level=0.05)["chosen"].any()
        for _ in range(60)
    ]
    assert np.mean(chosen) < 0.15
    assert combine_simes([0.5, np.nan]) == 0.5
    assert np.isnan(combine_simes([np.nan]))


def test_the_rate_holds_inside_the_chosen_families():
    rng = np.random.default_rng(1)
    shares = []
    for _ in range(60):
        groups = np.repeat(np.arange(40), 5)
        real = (groups < 10) & (np.arange(200) % 5 < 3)
        p = np.where(real, rng.beta(0.05, 8, 200), rng.random(200))
        found = hierarchical_fdr(p, groups, level=0.1)
        picked = found["q"] <= 0.1
        per_family = [
            (picked & ~real)[groups == g].sum() / max(picked[groups == g].sum(), 1)
            for g in np.unique(groups[found["chosen"]])
        ]
        shares.append(np.mean(per_family) if per_family else 0.0)
        assert picked[real].mean() > 0.5
    assert np.mean(shares) <= 0.1


def test_groups_must_be_named():
    with pytest.raises(ValueError, match="group"):
        hierarchical_fdr([0.1], [None], level=0.05)
    with pytest.raises(ValueError, match="between"):
        hierarchical_fdr([0.1], ["a"], level=5)
