from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from tests.ops.planted import four_colours, library_of, loglik_of, tile_of

from poolvox.ops.cells import call_cells, near_cells, set_calls
from poolvox.ops.codebook import Codebook
from poolvox.ops.decode import decode_reads
from poolvox.ops.decoys import make_decoys
from poolvox.ops.mistakes import ErrorModel
from poolvox.ops.near import CHAINS
from poolvox.ops.rates import fit_error_model
from poolvox.ops.signal import apply_corrections, estimate_corrections
from poolvox.shared.errors import InputError

SEED = 5
# F1 of the benchmark; a quarter of a tile has a standard error of about 0.004.
FLOORS = {"easy": 0.99, "medium": 0.985, "hard": 0.97}


def called_tile(name, seed):
    tile = tile_of(name, seed)
    rng = np.random.default_rng(seed)
    corrections = estimate_corrections(tile.bases, four_colours(), rng=rng)
    loglik = apply_corrections(tile.bases, corrections).loglik
    codebook = Codebook.make(tile.library, make_decoys(tile.library, rng))
    model = fit_error_model(loglik, codebook, rng=rng)
    near = near_cells(tile.nuclei, tile.y, tile.x)
    calls = decode_reads(loglik, codebook, model)
    frame, found = call_cells(calls, near, codebook, tile.library, model)
    return tile, frame, found


@pytest.fixture(scope="module")
def tiles():
    return {name: [called_tile(name, SEED + i) for i in range(2)] for name in FLOORS}


def right(tile, frame):
    words = np.append(tile.library.words, "none")
    label = frame["Metadata_Label"].to_numpy()
    best = frame["Call_Barcode"].to_numpy()
    return (best == words[tile.first[label]]) | (best == words[tile.second[label]])


@pytest.mark.parametrize("name", list(FLOORS))
def test_cells_are_called_right(tiles, name):
    hits = called = carrying = 0
    for tile, frame, _ in tiles[name]:
        chosen = frame["Metadata_Barcode"] != ""
        hits += (chosen & right(tile, frame)).sum()
        called += chosen.sum()
        carrying += (tile.first[1:] >= 0).sum()
    assert 2 * hits / (called + carrying) > FLOORS[name]


@pytest.mark.parametrize("level", [0.01, 0.05])
def test_stated_error_rate_is_the_true_one(tiles, level):
    wrong = called = 0
    for tile, frame, _ in (each for group in tiles.values() for each in group):
        bare = frame.drop(columns=["Metadata_Barcode", "Metadata_Guide", "Metadata_Gene"])
        chosen = set_calls(bare, tile.library, fdr=level)["Metadata_Barcode"] != ""
        wrong += (chosen & ~right(tile, frame)).sum()
        called += chosen.sum()
    assert level / 2 < wrong / called < 2 * level


def test_doublets_stand_out(tiles):
    for name in FLOORS:
        flags, truth = [], []
        for tile, frame, _ in tiles[name]:
            label = frame["Metadata_Label"].to_numpy()
            flags.append(frame["Call_Doublet"])
            truth.append(tile.second[label] >= 0)
        assert roc_auc_score(np.concatenate(truth), np.concatenate(flags)) > 0.9


def test_rates_come_back(tiles):
    for name in FLOORS:
        for tile, _, found in tiles[name]:
            empty = (tile.first[1:] < 0).mean()
            assert found.untransduced == pytest.approx(empty, abs=0.06)
            assert found.doublets == pytest.approx(0.05, abs=0.035)
            for chain in CHAINS:
                assert (np.diff(found.density[list(chain)]) <= 0).all()


def test_every_cell_has_one_row(tiles):
    tile, frame, _ = tiles["hard"][0]
    assert np.array_equal(frame["Metadata_Label"], np.unique(tile.nuclei)[1:])
    assert (frame["Call_Reads"] <= frame["Call_ReadsTotal"] + 1).all()
    called = frame["Metadata_Barcode"] != ""
    assert (frame["Metadata_Guide"] != "")[called].all()
    assert frame["Call_QValue"][called].max() <= 0.01
    assert frame["Call_Posterior"].between(0, 1 + 1e-9).all()


# Two square cells side by side, 4 pixels apart, and others far away that carry nothing odd.
def scene():
    labels = np.zeros((120, 120), np.int32)
    for i in range(6):
        for j in range(6):
            labels[4 + 20 * i : 20 + 20 * i, 4 + 20 * j : 20 + 20 * j] = 1 + 6 * i + j
    return labels


def weigh(points, guides, *, seed=0, background=None):
    """Call cells of the scene from reads at points (y, x) that show words of the library."""
    rng = np.random.default_rng(seed)
    library = library_of(200, 9, np.random.default_rng(1))
    codebook = Codebook.make(library)
    model = ErrorModel(np.full(9, 0.01), mapped=0.9)
    if background is not None:
        shares = np.where(np.arange(4) == library.codes[background][:, None], 0.7, 0.1)
        model = replace(model, background=((0.5, *shares.ravel().tolist()),))
    # The rest of the tile: reads in and round each of the cells 13 to 36.
    extra, carried = [], []
    for cell in range(12, 36):
        y, x = 20 * (cell // 6) + 4, 20 * (cell % 6) + 4
        for _ in range(rng.integers(3, 7)):
            extra.append((y - 4 + rng.random() * 23, x - 4 + rng.random() * 23))
            carried.append(100 + cell)
    y, x = np.array(list(points) + extra, float).T
    loglik = loglik_of(library.codes[list(guides) + carried], rng, sure=8.0)
    near = near_cells(scene(), y, x)
    frame, _ = call_cells(decode_reads(loglik, codebook, model), near, codebook, library, model)
    return frame.set_index("Metadata_Label"), library


def test_a_lone_read_of_the_neighbours_barcode_is_the_neighbours():
    inside = [(6, 6), (9, 9), (12, 6), (7, 11), (11, 11)]
    frame, library = weigh([*inside, (8, 22.2)], [7] * 6)
    assert frame.loc[1, "Call_Barcode"] == library.words[7]
    assert frame.loc[1, "Call_Reads"] >= 5
    alone, _ = weigh([(9, 24.2)], [7])
    spilled, _ = weigh([*inside, (9, 24.2)], [7] * 6)
    assert alone.loc[2, "Call_Posterior"] > 0.5
    assert spilled.loc[2, "Call_Posterior"] < 0.7 * alone.loc[2, "Call_Posterior"]


def test_a_word_that_glow_spells_in_many_cells_is_believed_in_none():
    points = [(4 + 20 * r + k, 20 * c + 10) for r in range(2) for c in range(5) for k in range(4)]
    without, library = weigh(points, [7] * len(points))
    glowing, _ = weigh(points, [7] * len(points), background=7)
    cells = [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    assert (without.loc[cells, "Call_Barcode"] == library.words[7]).all()
    assert without.loc[cells, "Call_Posterior"].min() > 0.95
    assert glowing.loc[cells, "Call_Posterior"].max() < 0.5
    assert glowing.loc[13:, "Call_Posterior"].min() > 0.95
    assert (glowing.loc[13:, "Call_Barcode"] == without.loc[13:, "Call_Barcode"]).all()


def test_a_tie_is_not_called_whatever_the_order():
    points = [(8, 8), (9, 9), (10, 10), (7, 9)]
    for guides in ([3, 3, 5, 5], [5, 5, 3, 3], [5, 3, 5, 3]):
        frame, _ = weigh(points, guides)
        assert frame.loc[1, "Call_Doublet"] > 0.5
    frame, library = weigh(points[:2], [3, 5])
    again, _ = weigh(points[:2], [5, 3])
    assert {frame.loc[1, "Call_Barcode"], frame.loc[1, "Call_SecondBarcode"]} == {
        library.words[3],
        library.words[5],
    }
    for each in (frame, again):
        assert each.loc[1, "Call_Doublet"] > 0.5 or each.loc[1, "Metadata_Barcode"] == ""


def test_distance_earns_weight():
    frames = [weigh([(9, 4 - d)], [7])[0] for d in (0.0, 2.0, 4.0)]
    posterior = [frame.loc[1, "Call_Posterior"] for frame in frames]
    assert posterior[0] > posterior[1] > posterior[2] >= 0


def test_near_cells_measures_distances():
    labels = np.zeros((30, 40), np.int32)
    labels[5:10, 5:10], labels[5:10, 13:20] = 3, 9
    near = near_cells(labels, np.array([7.0, 7.0, 29.0, 7.4]), np.array([7.0, 11.0, 39.0, 4.2]))
    assert near.cells[0].tolist() == [3, 9, 0, 0]
    assert near.distance[0].tolist() == [0, 6, np.inf, np.inf]
    # Equal distances: the lower label first.
    assert near.cells[1].tolist() == [3, 9, 0, 0]
    assert near.distance[1, :2].tolist() == [2, 2]
    assert near.cells[2].tolist() == [0, 0, 0, 0]
    assert near.distance[3, 0] == pytest.approx(np.hypot(0.4, 0.8))
    assert near.labels.tolist() == [3, 9]


def test_no_cells_and_no_reads():
    library = library_of(50, 8, np.random.default_rng(0))
    codebook, model = Codebook.make(library), ErrorModel.start(8)
    empty = decode_reads(np.zeros((0, 8, 4), np.float32), codebook, model)
    nothing = np.zeros(0)
    frame, _ = call_cells(empty, near_cells(scene(), nothing, nothing), codebook, library, model)
    assert len(frame) == 36
    assert (frame["Metadata_Barcode"] == "").all()
    assert (frame["Call_ReadsTotal"] == 0).all()
    blank = near_cells(np.zeros((20, 20), np.int32), nothing, nothing)
    frame, _ = call_cells(empty, blank, codebook, library, model)
    assert isinstance(frame, pd.DataFrame)
    assert len(frame) == 0
    with pytest.raises(InputError, match="same reads"):
        call_cells(empty, near_cells(scene(), np.ones(2), np.ones(2)), codebook, library, model)


def test_what_cannot_be_called_is_no_error_of_what_can():
    library = library_of(4, 6, np.random.default_rng(0))
    sure, tied = 100, 40
    frame = pd.DataFrame(
        {
            "Metadata_Label": np.arange(1, sure + tied + 1),
            "Call_Barcode": library.words[0],
            "Call_Posterior": [0.999] * sure + [0.4] * tied,
            "Call_Decoy": False,
            "Call_Tied": [False] * sure + [True] * tied,
        }
    )
    called = set_calls(frame, library, fdr=0.01)
    assert (called["Metadata_Barcode"] != "").sum() == sure
    assert called["Call_QValue"][:sure].max() <= 0.01
    assert called["Call_QValue"][sure:].isna().all()
