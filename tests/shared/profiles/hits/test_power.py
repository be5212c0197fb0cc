import numpy as np
import pytest

from poolvox.shared.profiles.hits.hits import Comparison
from poolvox.shared.profiles.hits.power import cells_needed, find_power
from poolvox.shared.profiles.simulate import TableParams, simulate_screen_tables

CONTROLS = "Metadata_Gene == 'nontargeting'"


@pytest.fixture(scope="module")
def power():
    params = TableParams(
        genes=10, guides=4, controls=12, cells=150, features=24, factors=8, active=0.5
    )
    screen = simulate_screen_tables(params, np.random.default_rng(0))
    comparison = Comparison("Metadata_Guide", CONTROLS, batch="Metadata_Plate")
    return find_power(screen.objects, comparison, counts=(5, 10, 20, 40, 80))


def test_more_cells_find_more(power):
    assert power["Power_Cells"].tolist() == [5, 10, 20, 40, 80, -1]
    assert power["Power_Share"].iloc[-1] == 1
    assert power["Power_Share"].iloc[0] < 0.2
    assert (np.diff(power["Power_Found"]) >= -1).all()
    assert 17 <= power["Power_Found"].iloc[-1] <= 22  # 20 are active
    assert (power["Power_Controls"] <= 0.25).all()
    assert power["Power_Median"].iloc[2] == 20


def test_the_formula_is_what_chance_does():
    rng = np.random.default_rng(0)
    from scipy.stats import chi2

    needed = cells_needed(1.0, 20, level=0.01, power=0.8)
    means = rng.standard_normal((2000, 20)) / np.sqrt(needed)
    means[:, 0] += 1
    seen = needed * (means**2).sum(axis=1) > chi2.isf(0.01, 20)
    assert seen.mean() == pytest.approx(0.8, abs=0.03)


def test_larger_effects_need_fewer_cells():
    needed = [cells_needed(effect, 50) for effect in (0.5, 1, 2, 8)]
    assert needed == sorted(needed, reverse=True)
    assert needed[0] == pytest.approx(4 * needed[1], rel=0.05)
    assert needed[-1] == 1
    with pytest.raises(ValueError, match="above 0"):
        cells_needed(0, 50)
    with pytest.raises(ValueError, match="more than"):
        cells_needed(1e-4, 50)
