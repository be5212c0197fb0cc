import numpy as np
import pytest
from scipy.spatial.distance import cdist

from poolvox.shared.profiles.compare.energy import EnergyReference, energy_distance, energy_test


def by_definition(x, y):
    n, m = len(x), len(y)
    within = cdist(x, x).sum() / (n * (n - 1)) + cdist(y, y).sum() / (m * (m - 1))
    return 2 * cdist(x, y).mean() - within


def test_both_ways_give_the_definition(monkeypatch):
    monkeypatch.setattr("poolvox.shared.profiles.compare.energy.BLOCK_BYTES", 8 * 50 * 3)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, 4)), rng.standard_normal((50, 4)) + 0.5
    expected = by_definition(x, y)
    assert energy_distance(x, y) == pytest.approx(expected)
    assert energy_distance(y, x) == pytest.approx(expected)
    assert energy_test(x, y, rng, permutations=9).distance == pytest.approx(expected)


def test_alike_sets_are_at_no_distance_on_average():
    rng = np.random.default_rng(0)
    found = [
        energy_distance(rng.standard_normal((12, 3)), rng.standard_normal((15, 3)))
        for _ in range(300)
    ]
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(300)


def test_it_sees_what_means_do_not():
    rng = np.random.default_rng(0)
    found = energy_test(rng.normal(0, 1, (80, 2)), rng.normal(0, 3, (80, 2)), rng)
    assert found.p_value == 0.001


def test_p_values_are_no_smaller_than_chance_has():
    rng = np.random.default_rng(1)
    p = [
        energy_test(
            rng.standard_normal((8, 3)), rng.standard_normal((10, 3)), rng, permutations=99
        ).p_value
        for _ in range(300)
    ]
    for level in (0.05, 0.2):
        assert np.mean(np.array(p) <= level) <= level + 3 * np.sqrt(level / 300)


def test_controls_are_measured_against_each_other_once(monkeypatch):
    measured = []

    def count(x, y):
        measured.append(len(x) * len(y))
        return cdist(x, y)

    monkeypatch.setattr("poolvox.shared.profiles.compare.energy._distances", count)
    rng = np.random.default_rng(0)
    controls, groups = rng.standard_normal((50, 3)), rng.standard_normal((4, 20, 3)) + 0.3
    reference = EnergyReference.of(controls)
    found = [reference.test(group, np.random.default_rng(k)) for k, group in enumerate(groups)]
    assert sum(measured) == 50 * 50 + 4 * (20 * 20 + 20 * 50)
    alone = [energy_test(g, controls, np.random.default_rng(k)) for k, g in enumerate(groups)]
    assert found == alone


def test_few_points_and_samples():
    rng = np.random.default_rng(0)
    assert np.isnan(energy_test(np.ones((1, 2)), np.ones((5, 2)), rng).p_value)
    assert np.isnan(energy_distance(np.ones((3, 0)), np.ones((3, 0))))
    found = energy_test(rng.random((100, 2)), rng.random((90, 2)), rng, most=20, permutations=9)
    assert (found.first, found.second) == (20, 20)
    same = energy_test(np.ones((5, 2)), np.ones((6, 2)), rng)
    assert (same.distance, same.p_value) == (0.0, 1.0)
