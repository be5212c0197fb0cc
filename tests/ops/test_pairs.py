import numpy as np
import pandas as pd
import pytest
from tests.ops.planted import library_of, loglik_of

from poolvox.ops.codebook import Codebook
from poolvox.ops.decode import decode_reads
from poolvox.ops.library import LibrarySpec, make_library
from poolvox.ops.mistakes import ErrorModel
from poolvox.ops.pairs import find_recombined
from poolvox.ops.words import decode_words
from poolvox.shared.errors import InputError

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
