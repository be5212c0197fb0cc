"""Tissue graphs against planted neighbours, analytic areas and networkx."""

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from poolvox.organoid3d.graph import (
    clark_evans,
    describe_graph,
    describe_nodes,
    find_edges,
    geary_c,
    measure_contacts,
    moran_i,
    neighbour_statistics,
    ripley_l,
    tissue_graph,
)
from poolvox.organoid3d.simulate import FieldSpec, OrganoidSpec
from poolvox.organoid3d.simulate.scene import draw_scene
from poolvox.shared.errors import InputError


def blocks(*places, size=4, shape=(8, 8, 24)):
    """Cubes with their lower corner at `places`, labelled from 1."""
    labels = np.zeros(shape, np.int64)
    for label, (z, y, x) in enumerate(places, start=1):
        labels[z : z + size, y : y + size, x : x + size] = label
    return labels


def halved_ball(spacing, normal, radius=22.0):
    normal = np.asarray(normal) / np.linalg.norm(normal)
    shape = tuple(int(np.ceil(2 * (radius + 3) / s)) for s in spacing)
    grid = [(np.arange(n) - (n - 1) / 2 + 0.2) * s for n, s in zip(shape, spacing)]
    z, y, x = np.meshgrid(*grid, indexing="ij")
    side = normal[0] * z + normal[1] * y + normal[2] * x > 0
    return (z**2 + y**2 + x**2 < radius**2) * (1 + side.astype(np.int64))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (5.0, 1.0, 1.0)])
@pytest.mark.parametrize("normal", [(0.3, 0.5, 0.8), (1, 0, 0), (0, 1, 0), (1, 1, 1)])
def test_the_area_of_contact_does_not_depend_on_its_direction(spacing, normal):
    """Counting faces would be up to 70 % off."""
    contacts = measure_contacts(halved_ball(spacing, normal), spacing=spacing)
    disk, sphere = np.pi * 22**2, 4 * np.pi * 22**2
    assert contacts.pairs["area"].tolist() == [pytest.approx(disk, rel=0.04)]
    assert contacts.objects["free"].sum() == pytest.approx(sphere, rel=0.015)


def test_contact_needs_a_face():
    by_face = measure_contacts(blocks((2, 2, 2), (2, 2, 6)), spacing=(1, 1, 1))
    by_edge = measure_contacts(blocks((0, 0, 2), (4, 4, 2)), spacing=(1, 1, 1))
    assert len(by_face.pairs) == 1
    assert len(by_edge.pairs) == 0


def test_contacts_do_not_change_with_ids_or_blocks():
    labels = halved_ball((2.0, 1.0, 1.0), (0.3, 0.5, 0.8))
    names = np.array([0, 2**60 + 1, 7])
    plain = measure_contacts(labels, spacing=(2, 1, 1))
    renamed = measure_contacts(names[labels], spacing=(2, 1, 1))
    assert renamed.pairs[["source", "target"]].to_numpy().tolist() == [[7, 2**60 + 1]]
    assert renamed.pairs["area"][0] == plain.pairs["area"][0]


def test_the_border_of_the_volume_is_neither_contact_nor_free():
    labels = np.ones((5, 6, 7), np.uint16)
    contacts = measure_contacts(labels, spacing=(1, 1, 1))
    assert contacts.objects.to_numpy().tolist() == [[0, 0, 0]]


def test_a_ball_inside_another_touches_it_all_over():
    """A curved contact: as vectors its faces would sum to nothing."""
    z, y, x = np.indices((44, 44, 44)) - 21.7
    r = np.sqrt(z**2 + y**2 + x**2)
    labels = (r < 20).astype(int) + (r < 10)
    contacts = measure_contacts(labels, spacing=(1, 1, 1))
    assert contacts.pairs["area"][0] == pytest.approx(4 * np.pi * 100, rel=0.02)
    assert contacts.objects["free"][2] == 0


ROW = [(2, 2, x) for x in (0, 4, 8, 16)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"kind": "contact"}, [(1, 2), (2, 3)]),
        ({"kind": "contact", "reach": 3.0}, [(1, 2), (2, 3), (3, 4)]),
        ({"kind": "radius", "radius": 8.5}, [(1, 2), (1, 3), (2, 3), (3, 4)]),
        ({"kind": "knn", "neighbours": 1}, [(1, 2), (2, 3), (3, 4)]),
        ({"kind": "delaunay"}, [(1, 2), (2, 3), (3, 4)]),
    ],
)
def test_edges_of_a_row(options, expected):
    edges = find_edges(blocks(*ROW), spacing=(1, 1, 1), **options)
    assert list(zip(edges["source"], edges["target"])) == expected
    assert edges["distance"].tolist() == pytest.approx(
        [abs(ROW[a - 1][2] - ROW[b - 1][2]) for a, b in expected]
    )


def test_delaunay_does_not_cross_the_lumen():
    """Nuclei on a shell: without the mask the triangulation joins opposite sides."""
    z, y, x = np.indices((40, 40, 40)) - 19.5
    r = np.sqrt(z**2 + y**2 + x**2)
    tissue = (r > 12) & (r < 19)
    turns = np.random.default_rng(3).standard_normal((60, 3))
    places = np.unique(
        (turns / np.linalg.norm(turns, axis=1)[:, None] * 15.5 + 19.5).astype(int), axis=0
    )
    labels = np.zeros(tissue.shape, np.int32)
    labels[tuple(places.T)] = np.arange(1, len(places) + 1)
    free = find_edges(labels, spacing=(1, 1, 1), kind="delaunay")
    pruned = find_edges(labels, spacing=(1, 1, 1), kind="delaunay", mask=tissue)
    # A chord of length d passes within 15.5 - d^2 / 124 of the centre: 21.5 reaches the lumen.
    assert free["distance"].max() > 24
    assert pruned["distance"].max() < 24
    assert nx.is_connected(nx.from_edgelist(pruned[["source", "target"]].to_numpy().tolist()))


@pytest.mark.parametrize(("kind", "count"), [("cyst", 60), ("solid", 40)])
def test_delaunay_neighbours_are_those_whose_cells_meet(kind, count):
    """Simulated cells tell who is next to whom; unpruned, a cyst's degree is 10."""
    spec = FieldSpec(organoids=(OrganoidSpec(kind=kind, nuclei=count),))
    scene = draw_scene(spec, np.random.default_rng(1))
    half = np.s_[::2, ::2, ::2]
    spacing = [2 * step for step in scene.spacing]
    tissue = (scene.organoids[half] > 0) & (scene.lumens[half] == 0)
    pairs = measure_contacts(scene.cells[half], spacing=spacing).pairs
    touch = {(a, b) for a, b, _ in pairs.to_numpy()}
    broad = {(a, b) for a, b, area in pairs.to_numpy() if area >= 20}
    edges = find_edges(scene.nuclei[half], spacing=spacing, kind="delaunay", mask=tissue)
    found = set(zip(edges["source"], edges["target"]))
    assert len(found & touch) >= 0.95 * len(found)
    assert len(found & broad) >= 0.92 * len(broad)
    if kind == "cyst":
        assert 2 * len(found) / count == pytest.approx(2 * len(broad) / count, rel=0.15)


def test_organoids_that_lie_side_by_side_have_no_common_edges():
    labels = blocks((2, 2, 2), (2, 2, 6), (2, 2, 10), (2, 2, 14))
    organoids = np.zeros_like(labels)
    organoids[..., :10], organoids[..., 10:] = 7, 4
    for kind in ("contact", "delaunay", "knn", "radius"):
        edges = find_edges(labels, spacing=(1, 1, 1), kind=kind, mask=organoids)
        assert list(zip(edges["source"], edges["target"])) == [(1, 2), (3, 4)], kind


@pytest.mark.parametrize("kind", ["contact", "delaunay", "knn", "radius"])
@pytest.mark.parametrize("places", [[], [(2, 2, 2)], [(2, 2, 2), (2, 2, 6)]])
def test_few_objects_give_small_graphs(kind, places):
    graph = tissue_graph(blocks(*places), spacing=(2.0, 1.0, 1.0), kind=kind)
    assert len(graph) == len(places)
    assert graph.number_of_edges() == max(0, len(places) - 1)
    assert len(describe_nodes(graph)) == len(places)
    mask = np.ones((8, 8, 24), bool)
    assert describe_graph(graph, mask=mask, spacing=(2.0, 1.0, 1.0))["Nodes"] == len(places)


@pytest.mark.parametrize("count", [5, 20])
def test_objects_in_one_plane_have_neighbours(count):
    labels = np.zeros((3, 40, 40), np.int32)
    places = np.random.default_rng(0).permutation(38 * 38)[:count]
    labels[1, places // 38 + 1, places % 38 + 1] = np.arange(1, count + 1)
    edges = find_edges(labels, spacing=(5.0, 1.0, 1.0), kind="delaunay")
    assert len(edges) >= count - 1


def random_graph(seed=0, count=40):
    rng = np.random.default_rng(seed)
    labels = np.zeros((20, 30, 30), np.int32)
    places = rng.permutation(labels.size)[:count]
    labels.ravel()[places] = np.arange(1, count + 1)
    return tissue_graph(labels, spacing=(2.0, 1.0, 1.0), kind="radius", radius=9.0)


def test_centralities_are_those_of_networkx():
    graph = random_graph()
    table = describe_nodes(graph)
    for name, expected in (
        ("Closeness", nx.closeness_centrality(graph)),
        ("Betweenness", nx.betweenness_centrality(graph)),
        ("Clustering", nx.clustering(graph)),
        ("PageRank", nx.pagerank(graph)),
        ("CoreNumber", nx.core_number(graph)),
    ):
        assert table[name].to_dict() == pytest.approx(expected, abs=1e-12)
    giant = graph.subgraph(max(nx.connected_components(graph), key=len))
    eccentricity = nx.eccentricity(giant)
    assert table.loc[list(giant), "Eccentricity"].to_dict() == pytest.approx(eccentricity)


def test_the_whole_graph_is_described_as_networkx_does():
    graph = random_graph()
    giant = graph.subgraph(max(nx.connected_components(graph), key=len))
    values = describe_graph(graph)
    assert values["Diameter"] == nx.diameter(giant)
    assert values["MeanPath"] == pytest.approx(nx.average_shortest_path_length(giant))
    assert values["Assortativity"] == pytest.approx(nx.degree_assortativity_coefficient(graph))
    assert values["Transitivity"] == pytest.approx(nx.transitivity(graph))


def test_algebraic_connectivity_of_a_path_is_known():
    graph = tissue_graph(blocks(*[(2, 2, 4 * k) for k in range(6)]), spacing=(1, 1, 1))
    expected = 2 * (1 - np.cos(np.pi / 6))
    assert describe_graph(graph)["AlgebraicConnectivity"] == pytest.approx(expected)


def test_modularity_does_not_depend_on_the_order_of_edges():
    graph = random_graph()
    shuffled = nx.Graph()
    nodes = np.random.default_rng(1).permutation(list(graph)).tolist()
    shuffled.add_nodes_from((node, graph.nodes[node]) for node in nodes)
    shuffled.add_edges_from(reversed([(b, a, d) for a, b, d in graph.edges(data=True)]))
    assert describe_graph(shuffled) == pytest.approx(describe_graph(graph), nan_ok=True)


def test_neighbour_means_leave_out_nan():
    graph = tissue_graph(blocks(*ROW), spacing=(1, 1, 1))
    values = pd.DataFrame({"size": [1.0, 5.0, np.nan, 2.0]}, index=[1, 2, 3, 4])
    table = neighbour_statistics(graph, values)
    assert table["NeighbourMean_size"].tolist()[:3] == [5, 1, 5]
    assert np.isnan(table["NeighbourMean_size"][4])


def test_moran_and_geary_of_two_halves():
    """A path whose halves have values 0 and 1: one edge of five joins unlike nodes."""
    graph = nx.path_graph(range(1, 7))
    halves = dict(zip(range(1, 7), [0, 0, 0, 1, 1, 1]))
    assert moran_i(graph, halves) == pytest.approx(6 / 5 * (4 * 0.25 - 0.25) / 1.5)
    assert geary_c(graph, halves) == pytest.approx(5 / 10 * 1 / 1.5)
    assert np.isnan(moran_i(graph, dict.fromkeys(halves, 3.0)))


def points_in(mask, spacing, count, seed):
    rng = np.random.default_rng(seed)
    voxels = np.argwhere(mask)
    chosen = voxels[rng.integers(len(voxels), size=count)]
    return (chosen + rng.random((count, 3)) - 0.5) * spacing


def test_ripley_is_zero_for_random_points_in_a_hollow_mask():
    spacing = np.array((2.0, 1.0, 1.0))
    z, y, x = np.indices((30, 60, 60)) - np.array((14.5, 29.5, 29.5))[:, None, None, None]
    r = np.sqrt((2 * z) ** 2 + y**2 + x**2)
    mask = (r < 28) & (r > 14)
    random = [
        ripley_l(points_in(mask, spacing, 300, s), [4, 8], mask=mask, spacing=spacing)
        for s in range(8)
    ]
    assert np.mean(random, axis=0) == pytest.approx([0, 0], abs=0.25)
    apart = [clark_evans(points_in(mask, spacing, 300, s), mask.sum() * 2.0) for s in range(8)]
    assert np.mean(apart) == pytest.approx(1.0, abs=0.1)


def test_attributes_of_nodes_and_edges():
    volumes = pd.DataFrame({"volume": [64.0, 64.0]}, index=[1, 2])
    graph = tissue_graph(blocks((2, 2, 2), (2, 2, 6)), spacing=(2.0, 1.0, 1.0), features=volumes)
    assert graph.nodes[1]["volume"] == 64
    assert graph.nodes[1]["z_um"] == pytest.approx(7.0)
    assert graph.edges[1, 2]["distance_um"] == pytest.approx(4.0)
    assert graph.edges[1, 2]["area_um2"] == pytest.approx(32)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (np.zeros((4, 4), int), {}, "Z, Y, X"),
        (np.zeros((4, 4, 4), int), {"kind": "touch"}, "choose one of contact"),
        (np.zeros((4, 4, 4), int), {"mask": np.ones((4, 4, 5), bool)}, "one shape"),
    ],
)
def test_wrong_input_says_what_to_do(labels, options, message):
    with pytest.raises(InputError, match=message):
        find_edges(labels, spacing=(1, 1, 1), **options)
