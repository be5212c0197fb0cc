from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree
from tests.ops.planted import library_of, loglik_of

from poolvox.ops.codebook import Codebook
from poolvox.ops.config import OpsConfig
from poolvox.ops.decode import decode_reads
from poolvox.ops.library import LibrarySpec, make_library
from poolvox.ops.mistakes import ErrorModel
from poolvox.ops.pairs import find_recombined, flag_recombined
from poolvox.ops.pipeline import pipeline
from poolvox.ops.sections import make_sections
from poolvox.ops.simulate import Guides, preset, simulate_screen
from poolvox.ops.words import decode_words
from poolvox.shared.config import load_config
from poolvox.shared.engine import Options, run_plan
from poolvox.shared.errors import InputError
from poolvox.shared.store import read_table

SEVEN = (1, 2, 3, 4, 5, 6, 7)


def test_recombined_reads_are_told_from_the_pair():
    rng = np.random.default_rng(0)
    first, second = (library_of(60, 7, rng).codes for _ in range(2))
    table = pd.DataFrame({"one": decode_words(first), "two": decode_words(second)})
    spec = LibrarySpec(file="l.csv", barcode=("one", "two"), cycles=(SEVEN, SEVEN))
    library = make_library(table, spec, 14)
    left = rng.integers(0, 60, 300)
    right = np.where(rng.random(300) < 0.2, (left + rng.integers(1, 60, 300)) % 60, left)
    codes = np.hstack([first[left], second[right]])
    codes[-20:] = rng.integers(0, 4, (20, 14))
    loglik, model = loglik_of(codes, rng), ErrorModel(np.full(14, 0.01))
    calls = decode_reads(loglik, Codebook.make(library), model)
    table = find_recombined(loglik, library, calls, model)
    joined = left != right
    joined[-20:] = False
    assert (table["Read_Recombined"].to_numpy() == joined).mean() > 0.97
    assert not (table["Read_Recombined"] & calls.called).any()
    assert (calls.called == ((left == right) & (np.arange(300) < 280))).mean() > 0.97


def test_single_barcodes_do_not_recombine():
    library = library_of(10, 7, np.random.default_rng(0))
    loglik, model = np.zeros((1, 7, 4), np.float32), ErrorModel(np.full(7, 0.01))
    calls = decode_reads(loglik, Codebook.make(library), model)
    with pytest.raises(InputError, match="name both columns"):
        find_recombined(loglik, library, calls, model)


def test_cells_are_flagged_by_most_of_their_reads():
    reads = pd.DataFrame(
        {
            "Read_Barcode": ["A", "A", "", "", "", "B", ""],
            "Read_Recombined": [False, False, True, True, True, False, False],
        }
    )
    cells = pd.DataFrame({"Metadata_Label": [1, 2, 3, 7]})
    table = flag_recombined(cells, reads, np.array([1, 1, 1, 2, 2, 2, 3]))
    assert table["Call_RecombinedReads"].tolist() == [1, 2, 0, 0]
    assert table["Call_Recombined"].tolist() == [False, True, False, False]


@pytest.fixture(scope="module")
def paired_screen(tmp_path_factory):
    """A small screen of guides with two barcodes of six bases, 15 % of them joined, as it ran."""
    params = preset("clean")
    out = tmp_path_factory.mktemp("pairs")
    config = simulate_screen(
        out,
        replace(
            params,
            seed=8,
            tiles=1,
            cycles=12,
            layout=replace(params.layout, shape=(384, 384), cells=200, doublets=0.05),
            guides=Guides(genes=12, guides_per_gene=2, controls=4, second=6, recombined=0.15),
        ),
    )
    settings = load_config(config, OpsConfig)
    assert not run_plan(pipeline.plan(settings), settings.output, options=Options()).failed
    return settings, pd.read_parquet(out / "truth" / "cells.parquet")


def test_a_run_tells_the_cells_that_joined_two_guides(paired_screen):
    settings, truth = paired_screen
    cells = read_table(settings.output / "tables" / "cells.parquet")
    assert 0.1 < truth["recombined"].mean() < 0.2
    tree = cKDTree(cells[["Metadata_Y", "Metadata_X"]])
    near = tree.query(truth[["y", "x"]], distance_upper_bound=5.0)[1]
    truth, found = truth[near < len(cells)], cells.iloc[near[near < len(cells)]]
    joined, flagged = truth["recombined"].to_numpy(), found["Call_Recombined"].to_numpy()
    assert flagged[joined].mean() > 0.9
    assert flagged[~joined].mean() < 0.03
    called = (found["Metadata_Barcode"] != "").to_numpy()
    assert not called[joined & flagged].any()
    right = found["Metadata_Barcode"].to_numpy() == truth["barcode"].to_numpy()
    either = right | (found["Metadata_Barcode"].to_numpy() == truth["barcode_2"].to_numpy())
    assert either[called].mean() > 0.97
    assert called[(truth["barcode"] != "").to_numpy()].mean() > 0.9


def test_the_report_of_a_run_of_pairs_says_what_joined(paired_screen):
    facts = dict(f for section in make_sections(paired_screen[0]) for f in section.facts)
    assert facts["cells that join two guides"].endswith("%")
    assert facts["reads that join two guides"].endswith("%")
