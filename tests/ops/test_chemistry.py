import numpy as np
import pytest
from tests.ops.planted import four_colours, library_of, loglik_of

from poolvox.ops.chemistry import resolve_chemistry
from poolvox.ops.orient import explain_no_match, find_channel_order
from poolvox.shared.errors import ConfigError


@pytest.mark.parametrize(
    ("spec", "channels", "rows", "dark"),
    [
        ("four-colour", "GTAC", ["0010", "0001", "1000", "0100"], ""),
        ("four_color", "wxyz", ["1000", "0100", "0010", "0001"], ""),
        ("four-colour", ["A 594", "Cy3", "Cy5", "Cy7"], ["1000", "0100", "0010", "0001"], ""),
        ("four-colour", ["Cy3-G", "T_594", "a", "cy7 c"], ["1000", "0100", "0010", "0001"], ""),
        ("four-colour", ["Cy3-G", "T_594", "5/A", "c 7"], ["0010", "0001", "1000", "0100"], ""),
        ("three-colour(dark: G)", "TAC", ["010", "001", "000", "100"], "G"),
        ("three-colour (dark: A)", "CGT", ["000", "100", "010", "001"], "A"),
        ("two-colour", "gr", ["11", "10", "00", "01"], "G"),
        ({"A": "rg", "C": "r", "G": "", "T": "g"}, "gr", ["11", "01", "00", "10"], "G"),
    ],
)
def test_tables(spec, channels, rows, dark):
    chemistry = resolve_chemistry(spec, list(channels))
    expected = [[float(v) for v in row] for row in rows]
    assert np.array_equal(chemistry.code, expected)
    assert chemistry.dark == dark


@pytest.mark.parametrize(
    ("spec", "channels", "message"),
    [
        ("five-colour", "ACGT", "not known"),
        ("four-colour", "ACG", "needs 4 base channels, got 3"),
        ("two-colour", "ACG", "needs 2 base channels, got 3"),
        ("four-colour", "AACG", "twice"),
        ({"A": "r", "C": "g"}, "rg", "must name A, C, G and T"),
        ({"A": "r", "C": "r", "G": "", "T": "g"}, "rg", "A and C light up the same"),
        ({"A": "r", "C": "x", "G": "", "T": "g"}, "rg", "names channel x"),
        ({"A": "r", "C": "g", "G": "", "T": "rg"}, "rgb", "no base lights up channel b"),
    ],
)
def test_wrong_tables_are_named(spec, channels, message):
    with pytest.raises(ConfigError, match=message):
        resolve_chemistry(spec, list(channels))


@pytest.mark.parametrize("true", ["GTAC", "ACGT", "TGCA", "CATG"])
def test_order_of_channels_is_found(true):
    rng = np.random.default_rng(3)
    library = library_of(500, 9, rng)
    codes = library.codes[rng.integers(0, 500, 600)]
    # What is called A under the given order is the base of the channel that was called A.
    given = four_colours("ACGT")
    wrong = np.array([true.index(base) for base in "ACGT"])
    loglik = loglik_of(wrong[codes], rng)
    order = find_channel_order(loglik, given, library, rng=rng)
    assert order.chemistry.channels == tuple(true)
    assert order.confirmed
    assert order.mapped > 0.8
    assert np.array_equal(np.array(order.relabel)[wrong[codes]], codes)
    assert "confirmed" in str(order)


def test_order_of_two_colours_is_found():
    rng = np.random.default_rng(4)
    library = library_of(300, 9, rng)
    codes = library.codes[rng.integers(0, 300, 400)]
    chemistry = resolve_chemistry("two-colour", ["red", "green"])
    swapped = np.array([0, 3, 2, 1])[codes]
    order = find_channel_order(loglik_of(swapped, rng), chemistry, library, rng=rng)
    assert order.chemistry.channels == ("green", "red")
    assert order.confirmed


def test_random_reads_confirm_no_order():
    rng = np.random.default_rng(5)
    library = library_of(500, 6, rng)
    loglik = loglik_of(rng.integers(0, 4, (600, 6)), rng)
    order = find_channel_order(loglik, four_colours("ACGT"), library, rng=rng)
    assert not order.confirmed
    assert "not confirmed" in str(order)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c, r: c, "nothing is wrong"),
        (lambda c, r: c[:, ::-1], "reverse the barcodes"),
        (lambda c, r: 3 - c, "complement the barcodes"),
        (lambda c, r: 3 - c[:, ::-1], "reverse-complement the barcodes"),
        (lambda c, r: np.array([1, 0, 2, 3])[c], "order of `channels`"),
        (lambda c, r: np.hstack([r[:, :1], c[:, :-1]]), "begins later"),
        (lambda c, r: np.hstack([c[:, 2:], r[:, :2]]), "first cycles are missing"),
        (lambda c, r: r, "library of this experiment"),
    ],
)
def test_the_reason_of_no_match_is_named(change, reason):
    rng = np.random.default_rng(6)
    library = library_of(800, 10, rng)
    codes = library.codes[rng.integers(0, 800, 500)]
    shown = change(codes, rng.integers(0, 4, codes.shape))
    text, trials = explain_no_match(loglik_of(shown, rng), library, rng=rng)
    assert reason in text
    assert trials["mapped"].between(0, 1).all()


def test_a_word_that_two_libraries_share_by_chance_explains_nothing():
    rng = np.random.default_rng(3)
    library, foreign = library_of(28, 7, rng), library_of(28, 7, rng)
    codes = foreign.codes.copy()
    # Read one base late, one of the foreign words is one of ours.
    codes[0, :6] = library.codes[5, 1:]
    shown = codes[rng.integers(0, 28, 1000)]
    text, trials = explain_no_match(loglik_of(shown, rng), library, rng=rng)
    assert trials["mapped"].max() > 0.02
    assert not trials["stands_out"].any()
    assert "is it the library of this experiment" in text
