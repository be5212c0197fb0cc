import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.compare.similarity import find_neighbours, neighbours, similarities


@pytest.fixture
def values():
    return np.random.default_rng(0).standard_normal((60, 7)) + 3


@pytest.mark.parametrize(
    ("metric", "of_scipy"),
    [
        ("cosine", lambda v: 1 - cdist(v, v, "cosine")),
        ("abs_cosine", lambda v: np.abs(1 - cdist(v, v, "cosine"))),
        ("correlation", lambda v: 1 - cdist(v, v, "correlation")),
        ("euclidean", lambda v: 1 / (1 + cdist(v, v))),
    ],
)
def test_equal_to_scipy(values, metric, of_scipy):
    found = similarities(values, metric)
    other = ~np.eye(len(values), dtype=bool)
    np.testing.assert_allclose(found[other], of_scipy(values)[other], atol=2e-5)


def test_mahalanobis_is_blind_to_scale_and_mixing():
    rng = np.random.default_rng(1)
    values = rng.standard_normal((5000, 4))
    mixed = values @ rng.standard_normal((4, 4)) * 100
    plain = similarities(values[:40], "euclidean")
    turned = find_neighbours(mixed, 1, "mahalanobis", reference=np.arange(4000))
    straight = find_neighbours(values, 1, "euclidean")
    assert (turned.index == straight.index).mean() > 0.9
    assert plain.shape == (40, 40)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_neighbours_are_the_best_of_all(values, metric, monkeypatch):
    monkeypatch.setattr("poolvox.shared.profiles.compare.similarity.BLOCK_BYTES", 4 * 60 * 7)
    found = find_neighbours(values, 5, metric)
    whole = similarities(values, metric)
    np.fill_diagonal(whole, -np.inf)
    best = np.argsort(-whole, axis=1)[:, :5]
    np.testing.assert_array_equal(found.index, best)
    np.testing.assert_allclose(found.value, np.take_along_axis(whole, best, 1), atol=1e-6)


def test_rows_that_have_no_similarity():
    values = np.array([[1.0, 0], [0, 0], [np.nan, 1], [1, 0.1], [np.inf, 0]])
    found = find_neighbours(values, 2)
    np.testing.assert_array_equal(found.index, [[3, -1], [-1, -1], [-1, -1], [0, -1], [-1, -1]])
    assert np.isnan(found.value[1]).all()
    assert np.isnan(similarities(values)[1]).all()


def test_equal_profiles_are_exactly_equally_similar():
    rng = np.random.default_rng(2)
    values = np.repeat(rng.standard_normal((50, 33)), 3, axis=0)[rng.permutation(150)]
    whole = similarities(values)
    _, which = np.unique(values, axis=0, return_inverse=True)
    for k in range(50):
        assert (np.ptp(whole[:, which == k], axis=1) == 0).all()


def test_the_table_does_not_depend_on_the_order_of_rows(values):
    frame = pd.DataFrame(values, columns=[f"F{k}" for k in range(7)])
    frame["Metadata_Gene"] = [f"g{k:02}" for k in range(60)]
    frame.loc[5, "F0":"F6"] = frame.loc[4, "F0":"F6"]
    table = neighbours(frame, name="Metadata_Gene", count=3)
    again = neighbours(frame.sample(frac=1, random_state=1), name="Metadata_Gene", count=3)
    pd.testing.assert_frame_equal(table, again)
    assert len(table) == 180
    assert (table["Metadata_Gene"] != table["Metadata_Neighbour"]).all()
    first = table[(table["Metadata_Gene"] == "g05") & (table["Similarity_Rank"] == 1)]
    assert first["Metadata_Neighbour"].item() == "g04"
    assert first["Similarity_Value"].item() == pytest.approx(1, abs=1e-6)


def test_wrong_input_is_told(values):
    with pytest.raises(InputError, match="Metadata_Gene"):
        neighbours(pd.DataFrame(values), name="Metadata_Gene")
    with pytest.raises(ValueError, match="metric"):
        similarities(values, "hamming")
    with pytest.raises(ValueError, match="count"):
        find_neighbours(values, 0)
    assert similarities(np.empty((0, 3))).shape == (0, 0)
