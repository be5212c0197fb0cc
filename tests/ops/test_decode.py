from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ops.planted import library_of, loglik_of

from poolvox.ops.codebook import Codebook, find_strangers
from poolvox.ops.decode import decode_reads, q_values, reads_frame
from poolvox.ops.decoys import make_decoys
from poolvox.ops.library import LibrarySpec, make_library
from poolvox.ops.mistakes import ErrorModel, base_probabilities
from poolvox.ops.rates import fit_error_model
from poolvox.ops.search import NEGLIGIBLE
from poolvox.ops.words import decode_words, encode
from poolvox.shared.errors import InputError

SEED = 11


def words(*sequences):
    return make_library(pd.DataFrame({"barcode": sequences}), LibrarySpec(file="l.csv"), 8)


def model(cycles, **changes):
    return ErrorModel(np.full(cycles, 0.01), **({"insertion": 1e-3, "deletion": 1e-3} | changes))


def reads_of(library, count, rng, *, wrong=0.03, junk=0.25, **sure):
    """Reads of random words with wrong bases, some random sequences; -1 is their word."""
    guide = rng.integers(0, len(library), count)
    codes = library.codes[guide].copy()
    errors = rng.random(codes.shape) < wrong
    codes[errors] = rng.integers(0, 4, errors.sum())
    random = rng.random(count) < junk
    codes[random] = rng.integers(0, 4, (random.sum(), codes.shape[1]))
    return np.where(random, -1, guide), loglik_of(codes, rng, **sure)


def exhaustive(loglik, codebook, model):
    """Odds of every word over "none of these", without any shortcut, substitutions only."""
    probability = base_probabilities(loglik, model).astype(float)
    codes = encode(codebook.words.tolist())
    logs = sum(np.log(probability[:, t][:, codes[:, t]]) for t in range(codebook.cycles))
    prior = model.mapped / (1 - model.mapped) / len(codebook)
    return prior * np.exp(logs + codebook.cycles * np.log(4))


def test_search_finds_all_that_counts():
    rng = np.random.default_rng(SEED)
    library = library_of(400, 6, rng)
    codebook = Codebook.make(library, make_decoys(library, rng))
    _, loglik = reads_of(library, 300, rng, sure=3.0)
    rates = model(6, insertion=1e-30, deletion=1e-30)
    calls = decode_reads(loglik, codebook, rates)
    odds = exhaustive(loglik, codebook, rates)
    kept = np.sort(odds, axis=1)[:, ::-1][:, :6]
    clear = kept > 1.01 * NEGLIGIBLE
    assert calls.odds[clear] == pytest.approx(kept[clear], rel=1e-3)
    assert np.array_equal(calls.candidates[clear[:, 0], 0], odds.argmax(axis=1)[clear[:, 0]])
    left_out = odds.sum(axis=1) - calls.odds.sum(axis=1) - calls.rest
    assert (
        left_out <= NEGLIGIBLE * (odds < 1.01 * NEGLIGIBLE).sum(axis=1) + 1e-3 * odds.sum(axis=1)
    ).all()


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("ACGTACGT", "ACGTACGT"),  # as it is
        ("ACGTACGA", "ACGTACGT"),  # a wrong base
        ("TTGCAATC", "TTGCAATC"),
        ("TGCAATCC", "TTGCAATC"),  # lost the first base
        ("TTGGCAAT", "TTGCAATC"),  # gained a base
    ],
)
def test_errors_the_model_knows(shown, expected):
    codebook = Codebook.make(words("ACGTACGT", "TTGCAATC", "GGGGCCCC"))
    calls = decode_reads(loglik_of(encode([shown]), np.random.default_rng(0)), codebook, model(8))
    assert codebook.words[calls.candidates[0, 0]] == expected
    assert calls.called.all()


def test_a_lost_base_shows_the_base_behind_the_barcode():
    frame = pd.DataFrame({"barcode": ["ACGTTGCAG", "TTGACCTAC"]})
    codebook = Codebook.make(make_library(frame, LibrarySpec(file="l.csv"), 8))
    rng = np.random.default_rng(0)
    right, other = (
        decode_reads(loglik_of(encode([s]), rng), codebook, model(8))
        for s in ("ACTTGCAG", "ACTTGCAC")
    )
    assert right.shift[0, 1] > 0.99
    assert right.odds[0, 0] > 10 * other.odds[0, 0]


def test_without_contiguous_cycles_no_base_is_lost_or_gained():
    spec = LibrarySpec(file="l.csv", cycles=(1, 2, 3, 4, 6, 7, 8, 9))
    library = make_library(pd.DataFrame({"barcode": ["TTGCAAATC"]}), spec, 8)
    codebook = Codebook.make(library)
    calls = decode_reads(
        loglik_of(encode(["TGCAATCC"]), np.random.default_rng(0)), codebook, model(8)
    )
    assert not calls.called.any()


def test_ambiguous_reads_are_not_called_whatever_the_order():
    rng = np.random.default_rng(0)
    loglik = loglik_of(encode(["ACGTACGA"]), rng)
    loglik[0, 7] = 0  # the last base tells nothing
    for order in (("ACGTACGT", "ACGTACGC"), ("ACGTACGC", "ACGTACGT")):
        calls = decode_reads(loglik, Codebook.make(words(*order)), model(8))
        assert calls.odds[0, 0] == pytest.approx(calls.odds[0, 1])
        assert not calls.called.any()
        assert calls.posterior[0] == pytest.approx(0.5, abs=0.01)


def test_posteriors_and_q_values_mean_what_they_say():
    rng = np.random.default_rng(SEED)
    library = library_of(4000, 9, rng)
    guide, loglik = reads_of(library, 8000, rng, sure=4.0, spread=2.5)
    codebook = Codebook.make(library, make_decoys(library, rng))
    fitted = fit_error_model(loglik, codebook, rng=rng)
    calls = decode_reads(loglik, codebook, fitted)
    best = calls.candidates[:, 0]
    wrong = best != guide
    target = (best >= 0) & ~calls.decoy
    for low, high in ((0.5, 0.8), (0.8, 0.95), (0.95, 0.995)):
        band = target & (calls.posterior > low) & (calls.posterior <= high)
        stated = 1 - calls.posterior[band].mean()
        assert stated / 2 < wrong[band].mean() < 2 * stated
    q = q_values(calls.score, calls.decoy, ratio=codebook.ratio)
    for level in (0.01, 0.02, 0.05, 0.1):
        chosen = target & (q <= level)
        assert level / 2 < wrong[chosen].mean() < 2 * level


def test_more_reads_are_called_than_match_exactly():
    rng = np.random.default_rng(SEED)
    library = library_of(2000, 11, rng)
    guide, loglik = reads_of(library, 3000, rng, wrong=0.06, junk=0.1)
    codebook = Codebook.make(library, make_decoys(library, rng))
    calls = decode_reads(loglik, codebook, fit_error_model(loglik, codebook, rng=rng))
    exact = np.isin(decode_words(loglik.argmax(axis=2)), library.words)
    right = calls.called & (calls.candidates[:, 0] == guide)
    assert right.mean() > exact.mean() + 0.15
    assert (calls.called & ~right).mean() < 0.04


def test_rates_are_found_blind_to_decoys():
    rng = np.random.default_rng(SEED)
    library = library_of(1000, 10, rng)
    _, loglik = reads_of(library, 4000, rng, wrong=0.08, junk=0.3, sure=9.0)
    codebook = Codebook.make(library, make_decoys(library, rng))
    fitted = fit_error_model(loglik, codebook, rng=rng)
    # Reads with three errors and more cannot be told from junk, so some errors are missed.
    assert fitted.substitution.mean() == pytest.approx(0.08, rel=0.4)
    assert fitted.mapped == pytest.approx(0.7, abs=0.08)


def test_frequent_sequences_outside_the_library_are_nobodys():
    rng = np.random.default_rng(SEED)
    library = library_of(3000, 8, rng)
    guide, loglik = reads_of(library, 900, rng, junk=0.0)
    vector = (library.codes[0] + np.array([1, 0, 0, 0, 0, 0, 0, 0])) % 4
    vector = vector if not (library.codes == vector).all(axis=1).any() else (vector + 1) % 4
    vectors = loglik_of(np.repeat(vector[None], 120, axis=0), rng, sure=4.0)
    everything = np.concatenate([loglik, vectors])
    strangers = find_strangers(everything, library)
    assert strangers["sequence"].tolist() == [decode_words(vector[None].astype(np.uint8))[0]]
    decoys = make_decoys(library, rng)
    for known, bound in ((strangers, 0.02), (None, 1.0)):
        codebook = Codebook.make(library, decoys, known)
        calls = decode_reads(everything, codebook, fit_error_model(everything, codebook, rng=rng))
        assert (calls.called | (calls.decoy & (calls.score > 0.5)))[900:].mean() <= bound
        assert (calls.candidates[:900, 0] == guide).mean() > 0.85


def test_reads_do_not_depend_on_their_company_or_order():
    rng = np.random.default_rng(SEED)
    library = library_of(1500, 9, rng)
    _, loglik = reads_of(library, 500, rng)
    codebook = Codebook.make(library, make_decoys(library, rng))
    whole = decode_reads(loglik, codebook, model(9))
    parts = [decode_reads(part, codebook, model(9)) for part in np.array_split(loglik[::-1], 7)]
    for name in ("candidates", "odds", "score", "posterior", "decoy"):
        together = np.concatenate([getattr(part, name) for part in parts])[::-1]
        assert np.array_equal(getattr(whole, name), together)


def test_table_of_reads():
    rng = np.random.default_rng(0)
    codebook = Codebook.make(words("ACGTACGT", "TTGCAATC"))
    loglik = loglik_of(encode(["ACGTACGA", "GGGGGGGG"]), rng)
    calls = decode_reads(loglik, codebook, model(8))
    table = reads_frame(calls, loglik, codebook, model(8))
    assert table["Read_Sequence"].tolist() == ["ACGTACGA", "GGGGGGGG"]
    assert table["Read_Barcode"].tolist() == ["ACGTACGT", ""]
    assert table["Read_Mismatches"].iloc[0] == 1
    assert np.isnan(table["Read_Posterior"].iloc[1])
    quality = table.filter(like="Read_Quality").to_numpy()
    assert quality.shape == (2, 8)
    assert ((quality >= 0) & (quality <= 60)).all()


def test_no_reads_and_wrong_cycles():
    codebook = Codebook.make(words("ACGTACGT", "TTGCAATC"))
    empty = np.zeros((0, 8, 4), np.float32)
    rates = fit_error_model(empty, codebook, rng=np.random.default_rng(0))
    assert len(reads_frame(decode_reads(empty, codebook, rates), empty, codebook, rates)) == 0
    with pytest.raises(InputError, match="7 cycles"):
        decode_reads(np.zeros((3, 7, 4), np.float32), codebook, model(8))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=40))
def test_q_values_fall_with_the_score_and_ignore_order(rows):
    score, decoy = (np.array(column) for column in zip(*rows, strict=True))
    q = q_values(score, decoy)
    assert ((q > 0) & (q <= 1)).all()
    assert (np.diff(q[np.argsort(score, kind="stable")]) <= 0).all()
    assert all(len(set(q[score == s])) == 1 for s in set(score.tolist()))
    shuffled = np.random.default_rng(0).permutation(len(score))
    assert np.array_equal(q_values(score[shuffled], decoy[shuffled]), q[shuffled])


def test_a_read_that_tells_nothing_ends():
    library = library_of(5, 10, np.random.default_rng(SEED))
    rates = model(10, mapped=0.99)
    calls = decode_reads(np.zeros((3, 10, 4), np.float32), Codebook.make(library), rates)
    assert not calls.called.any()


def test_heaps_of_noise_get_a_background_of_their_own():
    rng = np.random.default_rng(SEED)
    library = library_of(2500, 9, rng)
    codebook = Codebook.make(library, make_decoys(library, rng))
    word, loglik = reads_of(library, 1000, rng, junk=0.1)
    noise = loglik_of(rng.integers(2, 4, (300, 9)), rng)
    model = fit_error_model(np.concatenate([loglik, noise]), codebook, rng=rng)
    heaps = [row[0] for row in model.background if sum(row[3::4]) + sum(row[4::4]) > 0.85 * 9]
    assert 0.5 < sum(heaps) < 0.95
    calls = decode_reads(noise, codebook, model)
    flat = decode_reads(noise, codebook, replace(model, background=()))
    assert calls.called.mean() < 0.3 * flat.called.mean()
    real = decode_reads(loglik, codebook, model)
    right = real.called & (real.candidates[:, 0] == word)
    assert right[word >= 0].mean() > 0.85


def test_words_that_fill_all_sequences_have_frequencies():
    rng = np.random.default_rng(SEED)
    library = library_of(50, 4, rng)
    codebook = Codebook.make(library, make_decoys(library, rng))
    shown = np.where(rng.random(600) < 0.5, rng.integers(0, 3, 600), rng.integers(0, 50, 600))
    loglik = loglik_of(library.codes[shown], rng)
    model = fit_error_model(loglik, codebook, rng=rng)
    assert set(np.argsort(model.abundance)[-3:]) == {0, 1, 2}
    calls = decode_reads(loglik, codebook, model)
    exact = loglik.argmax(axis=2)
    valid = (exact[:, None] == library.codes).all(axis=2).any(axis=1)
    assert calls.called.mean() >= valid.mean() - 0.02


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(SEED)
    library = library_of(50, 8, rng)
    codebook, rates = Codebook.make(library, make_decoys(library, rng)), model(8)
    _, loglik = reads_of(library, 70, rng)
    whole = decode_reads(loglik, codebook, rates)
    monkeypatch.setattr("poolvox.ops.decode.BLOCK", 16)
    parts = decode_reads(loglik, codebook, rates)
    for field in fields(whole):
        np.testing.assert_array_equal(getattr(whole, field.name), getattr(parts, field.name))
    assert len(decode_reads(loglik[:0], codebook, rates)) == 0
