"""Principal components, maps and clusters."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.compare.similarity import find_neighbours
from poolvox.shared.profiles.maps.clusters import cluster, neighbour_graph
from poolvox.shared.profiles.maps.embedding import embed, fit_principal

NAMES = [f"F{k}" for k in range(10)]


@pytest.fixture
def blobs():
    """Four groups of directions, of 40, 30, 20 and 10 profiles."""
    rng = np.random.default_rng(0)
    which = np.repeat(np.arange(4), (40, 30, 20, 10))
    values = 4 * rng.standard_normal((4, 10))[which] + rng.standard_normal((100, 10))
    frame = pd.DataFrame(values, columns=NAMES, index=[f"gene{k}" for k in range(100)])
    return frame.assign(Metadata_Group=which).sample(frac=1, random_state=1)


@pytest.mark.parametrize("cuts", [(), (1,), (20, 21, 90)])
def test_parts_give_the_components_of_the_whole(blobs, cuts):
    values = blobs[NAMES].to_numpy()
    found = fit_principal(np.split(values, cuts), 4)
    theirs = PCA(4).fit(values)
    np.testing.assert_allclose(np.abs(found.axes.T @ theirs.components_.T), np.eye(4), atol=1e-8)
    np.testing.assert_allclose(found.variance, theirs.explained_variance_ * 99 / 100)
    np.testing.assert_allclose(found.variance / found.total, theirs.explained_variance_ratio_)
    np.testing.assert_allclose(np.abs(found.transform(values)), np.abs(theirs.transform(values)))


def test_missing_values_do_not_depend_on_the_cut():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((400, 5)) * [5, 2, 1, 1, 1] + 100
    gaps = np.where(rng.random(values.shape) < 0.1, np.nan, values)
    one, two = fit_principal([gaps], 2), fit_principal([gaps[:7], gaps[7:]], 2)
    np.testing.assert_allclose(one.axes, two.axes, atol=1e-10)
    assert abs(one.axes[0, 0]) > 0.99
    assert np.isfinite(one.transform(gaps)).all()
    with pytest.raises(InputError, match="no value"):
        fit_principal([np.full((3, 2), np.nan)], 1)
    with pytest.raises(InputError, match="no value"):
        fit_principal([], 1)


def test_a_map_keeps_the_rows(blobs):
    found = embed(blobs, features=NAMES, method="pca", components=3)
    assert list(found.columns) == ["Embed_1", "Embed_2", "Embed_3"]
    assert found.index.equals(blobs.index)
    again = embed(blobs[::-1], features=NAMES, method="pca", components=3)
    pd.testing.assert_frame_equal(found, again[::-1], check_exact=True)


def test_few_profiles_have_a_map_too(blobs):
    one = embed(blobs.head(1), features=NAMES)
    assert one.to_numpy().tolist() == [[0.0, 0.0]]
    assert embed(blobs.head(2), features=["F0"])["Embed_2"].eq(0).all()
    with pytest.raises(InputError, match="no map"):
        embed(blobs[["Metadata_Group"]].astype(str))
    with pytest.raises(InputError, match="at least 30"):
        embed(blobs.head(5), features=NAMES, method="umap")
    with pytest.raises(ValueError, match="method"):
        embed(blobs, method="tsne")


@pytest.mark.slow  # umap-learn compiles for half a minute
@pytest.mark.filterwarnings("ignore")
def test_umap_parts_the_groups(blobs):
    pytest.importorskip("umap")
    found = embed(blobs, features=NAMES, method="umap", seed=1)
    near = find_neighbours(found.to_numpy(), 3, "euclidean").index
    group = blobs["Metadata_Group"].to_numpy()
    assert (group[near] == group[:, None]).mean() > 0.95
    again = embed(blobs[::-1], features=NAMES, method="umap", seed=1)
    pd.testing.assert_frame_equal(found, again[::-1])


@pytest.mark.parametrize("method", ["leiden", "louvain"])
def test_clusters_are_the_groups(blobs, method):
    if method == "leiden":
        pytest.importorskip("leidenalg")
    found = cluster(blobs, features=NAMES, neighbours=8, resolution=0.5, method=method)
    assert adjusted_rand_score(blobs["Metadata_Group"], found) > 0.95
    assert found.value_counts().sort_index().is_monotonic_decreasing
    assert found.name == "Metadata_Cluster"
    again = cluster(blobs[::-1], features=NAMES, neighbours=8, resolution=0.5, method=method)
    pd.testing.assert_series_equal(found, again[::-1])


def test_a_profile_without_direction_is_in_no_cluster(blobs):
    frame = blobs.copy()
    frame.loc[frame.index[3], NAMES] = 0.0
    frame.loc[frame.index[4], "F0"] = np.nan
    found = cluster(frame, features=NAMES, method="louvain")
    assert (found.iloc[[3, 4]] == -1).all()
    assert (found.drop(frame.index[[3, 4]]) >= 0).all()


def test_edges_weigh_what_neighbourhoods_share():
    values = np.array([[1.0, 0], [1, 0.1], [1, 0.3], [0, 1], [0.1, 1]])
    graph = neighbour_graph(values, 1)
    near = {tuple(edge): weight for edge, weight in zip(graph.edges.tolist(), graph.weights)}
    # 0 and 1 are each other's nearest; 2 is nearest to 1, which is not nearest to it.
    assert near[0, 1] == 1.0
    assert near[1, 2] == pytest.approx(1 / 3)
    assert near[3, 4] == 1.0
    assert (0, 3) not in near


LIKE_UMAP = """
try:
    import tensorflow
    seen = 1.0
except ImportError:
    seen = 0.0

class UMAP:
    def __init__(self, **options):
        self.size = options["n_components"]

    def fit_transform(self, points):
        return [[seen] * self.size] * len(points)
"""


def test_umap_does_not_load_tensorflow(blobs, monkeypatch, tmp_path):
    """It takes seconds and writes notes on the screen, for a variant that is not used."""
    (tmp_path / "umap.py").write_text(LIKE_UMAP)
    (tmp_path / "tensorflow.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("umap", "tensorflow"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert embed(blobs, features=NAMES, method="umap").to_numpy().max() == 0.0
    import tensorflow

    assert Path(tensorflow.__file__).parent == tmp_path


def test_packages_that_are_not_there_are_named(blobs, monkeypatch):
    monkeypatch.setitem(sys.modules, "leidenalg", None)
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(InputError, match=r"poolvox\[embed\]"):
        cluster(blobs, features=NAMES, method="leiden")
    with pytest.raises(InputError, match=r"poolvox\[embed\]"):
        embed(blobs, features=NAMES, method="umap")
    with pytest.raises(ValueError, match="above 0"):
        cluster(blobs, features=NAMES, resolution=0)
