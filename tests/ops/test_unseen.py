"""Cells that were found wrongly: two as one, a border in the wrong place, sizes that tell."""

import numpy as np
import pytest
from tests.ops.planted import library_of, loglik_of

from poolvox.ops.cells import call_cells, near_cells
from poolvox.ops.codebook import Codebook
from poolvox.ops.decode import decode_reads
from poolvox.ops.fdr import cell_q_values
from poolvox.ops.mistakes import ErrorModel
from poolvox.ops.near import BINS, CHAINS, INSIDE, place_bins
from poolvox.ops.unseen import how_large

SIDE, ROW = 20, 10
FIRST, SECOND = 201, 202


def grid():
    """A hundred square cells that touch, numbered from 1 row by row."""
    y, x = np.mgrid[: SIDE * ROW, : SIDE * ROW] // SIDE
    return (1 + ROW * y + x).astype(np.int32)


def planted(rng, *, spill=1.0, without=()):
    """Places and guides of reads of the grid: three to seven in each square, and what spills."""
    cells = np.setdiff1d(np.arange(ROW * ROW), without)
    owner = np.repeat(cells, rng.integers(3, 8, len(cells)))
    corner = np.column_stack(np.divmod(owner, ROW)) * SIDE - 0.5
    places = (
        corner + SIDE * rng.random((len(owner), 2)) + spill * rng.standard_normal((len(owner), 2))
    )
    return np.clip(places, 0, SIDE * ROW - 1), owner


def called(labels, places, guides, *, nuclei=None):
    rng = np.random.default_rng(3)
    library = library_of(300, 9, np.random.default_rng(1))
    codebook, model = Codebook.make(library), ErrorModel(np.full(9, 0.01), mapped=0.9)
    calls = decode_reads(loglik_of(library.codes[guides], rng, sure=8.0), codebook, model)
    near = near_cells(labels, *np.transpose(places), nuclei=nuclei)
    frame, found = call_cells(calls, near, codebook, library, model)
    return frame.set_index("Metadata_Label"), found, library


def two_in_one(first, second):
    """Call a grid whose cells 45 and 46 were found as one: their reads, FIRST and SECOND."""
    labels = grid()
    labels[labels == 46] = 45
    places, guides = planted(np.random.default_rng(0), without=(44, 45))
    both = [*first, *second]
    guides = [*guides, *[FIRST] * len(first), *[SECOND] * len(second)]
    return called(labels, np.vstack([places, both]), guides)


# Reads in the left and in the right half of the cell of two squares.
LEFT = [(84, 84), (88, 90), (93, 87), (90, 95)]
RIGHT = [(85, 106), (90, 103), (94, 112), (88, 114)]


def test_of_two_cells_found_as_one_neither_barcode_is_sure():
    frame, found, library = two_in_one(LEFT, RIGHT)
    cell = frame.loc[45]
    assert {cell["Call_Barcode"], cell["Call_SecondBarcode"]} == set(library.words[[FIRST, SECOND]])
    assert cell["Call_Posterior"] < 0.6
    # It holds two barcodes all the same.
    assert cell["Call_Doublet"] > 0.9
    assert found.unseen.merged > 0


def test_two_barcodes_among_each_other_are_those_of_one_cell():
    apart, _, _ = two_in_one(LEFT, RIGHT)
    mixed, _, _ = two_in_one([*LEFT[:2], *RIGHT[:2]], [*LEFT[2:], *RIGHT[2:]])
    assert mixed.loc[45, "Call_Posterior"] > apart.loc[45, "Call_Posterior"] + 0.1
    assert mixed.loc[45, "Call_Doublet"] > 0.9


def test_cells_of_one_size_with_one_barcode_stay_sure():
    places, guides = planted(np.random.default_rng(0))
    frame, found, library = called(grid(), places, guides)
    right = frame["Call_Barcode"].to_numpy() == library.words[: ROW * ROW]
    assert right.all()
    assert frame["Call_Posterior"].min() > 0.99
    assert found.unseen.merged < 0.01


def test_the_order_of_reads_and_labels_does_not_matter():
    places, guides = planted(np.random.default_rng(0))
    once, _, _ = called(grid(), places, guides)
    near = near_cells(grid(), *places.T)
    back = near_cells(grid(), *places[::-1].T)
    assert np.array_equal(near.cells, back.cells[::-1])
    again, _, _ = called((ROW * ROW + 1 - grid()).astype(np.int32), places, guides)
    assert once["Call_Barcode"].tolist() == again["Call_Barcode"].tolist()[::-1]
    assert np.allclose(once["Call_Posterior"], again["Call_Posterior"].to_numpy()[::-1], atol=1e-6)


@pytest.mark.parametrize("spill", [0.5, 3.0])
def test_what_a_border_is_worth_is_learnt_from_the_tile(spill):
    empty = 44
    places, guides = planted(np.random.default_rng(0), spill=spill, without=(empty,))
    corner = np.array(divmod(empty, ROW)) * SIDE
    chance = []
    for place in (corner + 10, (corner[0] + 10, corner[1])):
        points = np.vstack([places, place])
        frame, found, _ = called(grid(), points, [*guides, FIRST])
        chance.append(frame.loc[empty + 1, "Call_Posterior"])
    middle, border = found.density[[0, INSIDE - 1]]
    across = found.density[INSIDE + (BINS - INSIDE) // 2]
    assert middle >= border > across
    assert chance[0] >= chance[1]
    # The farther reads spill, the less a border tells.
    assert (across > 0.1 * middle) == (spill > 1)


def test_places_are_sorted_by_all_cells_near_them():
    inf = np.inf
    bins = place_bins(np.array([[0, inf], [0, 1.0], [0, 2.2], [0, 3.0], [1.0, 3.0], [0, 8.0]]))
    steps = (BINS - INSIDE) // 2
    assert bins[:, 0].tolist() == [0, INSIDE - 1, 2, 1, INSIDE, 0]
    assert bins[1:5, 1].tolist() == [
        INSIDE + steps,
        INSIDE + steps + 1,
        INSIDE + steps + 2,
        INSIDE + 2,
    ]
    assert bins[5, 1] == BINS - 1
    assert sorted({k for chain in CHAINS for k in chain}) == list(range(BINS))


def test_room_covers_the_cells_and_sizes_are_those_of_nuclei():
    labels = grid()
    nuclei = np.where(np.mgrid[: SIDE * ROW, : SIDE * ROW][0] % SIDE < 5, labels, 0)
    near = near_cells(labels, np.zeros(0), np.zeros(0), nuclei=nuclei)
    assert near.room[:, :INSIDE].sum() == pytest.approx(labels.size)
    assert (near.sizes == 5 * SIDE).all()
    assert (near_cells(labels, np.zeros(0), np.zeros(0)).sizes == SIDE**2).all()


def test_a_label_of_twice_the_size_is_rather_two():
    rng = np.random.default_rng(0)
    sizes = np.round(100 * np.exp(0.25 * rng.standard_normal(500))).astype(int)
    chance = how_large(np.append(sizes, [25, 100, 200, 300]))[-4:]
    assert (chance[:2] < 0.3).all()
    assert chance[2] > 5
    assert chance[3] > 5
    assert len(how_large(np.zeros(0, int))) == 0
    assert np.isfinite(how_large(np.array([0, 7, 7]))).all()


def test_what_decoys_tell_and_what_is_anothers_add_up():
    right, wrong = 990, 10
    posterior = np.append(np.full(right + wrong, 0.99), [0.999] * 5)
    shown = np.append(np.full(right + wrong, 1.0), [1.0] * 5)
    decoy = np.append(np.zeros(right + wrong, bool), [True] * 5)
    alone = cell_q_values(posterior, decoy)[0]
    both = cell_q_values(posterior, decoy, shown)[0]
    assert alone == pytest.approx(0.01, abs=1e-3)
    assert both == pytest.approx(0.01 + 5 / 1000, abs=1e-3)
    assert cell_q_values(posterior, decoy, shown, ratio=0.0)[0] == pytest.approx(0.01)
