"""What glows by itself looks alike in every cycle, which reads do not."""

import numpy as np
import pytest
from tests.ops.planted import library_of, light_of

from poolvox.ops.chemistry import resolve_chemistry
from poolvox.ops.codebook import Codebook
from poolvox.ops.decode import decode_reads
from poolvox.ops.decoys import make_decoys
from poolvox.ops.rates import fit_error_model
from poolvox.ops.signal import apply_corrections, estimate_corrections
from poolvox.ops.simulate.params import Chemistry, in_colours

LIGHT = Chemistry(phasing=0.01, cycle_spread=0.4)
NAMES = {4: "four-colour", 3: "three-colour(dark: G)", 2: "two-colour"}
READS, GLOW, SNR = 1500, 200, 30.0


def glow_of(cycles, light, rng):
    """Spots of a colour of their own, which does not decay."""
    colour = rng.dirichlet(np.full(len(light.gains), 2.0), GLOW)
    level = SNR * np.exp(0.5 * rng.standard_normal((GLOW, 1)))
    pulse = np.exp(0.1 * rng.standard_normal((GLOW, cycles, 1)))
    shown = (2 * level * colour)[:, None, :] * pulse
    noisy = shown + rng.standard_normal(shown.shape)
    return (noisy * np.asarray(light.gains)).astype(np.float32)


def mixed(codes, colours, rng):
    """Signals of reads with these codes, and of glow behind them."""
    light = in_colours(LIGHT, colours)
    ends = rng.integers(0, 4, (len(codes), 2))
    bases = light_of(np.hstack([codes, ends]), light, rng, snr=SNR)
    every = np.concatenate([bases, glow_of(codes.shape[1], light, rng)])
    chemistry = resolve_chemistry(NAMES[colours], light.channels)
    return apply_corrections(every, estimate_corrections(every, chemistry, rng=rng)), every


@pytest.mark.parametrize("colours", [4, 3, 2])
def test_glow_is_told_from_reads(colours):
    rng = np.random.default_rng(colours)
    signals, _ = mixed(rng.integers(0, 4, (READS, 9)), colours, rng)
    assert (signals.steady[READS:] > 0).mean() > 0.85
    assert (signals.steady[:READS] > 0).mean() < 0.01


def test_a_word_of_one_base_looks_like_glow_and_blank_cycles_do_not_count():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (READS, 9))
    codes[:20] = 2
    signals, every = mixed(codes, 4, rng)
    assert np.median(signals.steady[:20]) > 0
    chemistry = resolve_chemistry("four-colour", LIGHT.channels)
    corrections = estimate_corrections(every, chemistry, rng=rng)
    every[::7, 3] = np.nan
    every[:1] = np.nan
    found = apply_corrections(every, corrections).steady
    assert np.isfinite(found).all()
    assert found[0] < -100
    assert (found[READS:] > 0).mean() > 0.85


def test_glow_is_not_called_where_words_are_most_of_the_sequences():
    rng = np.random.default_rng(1)
    library = library_of(700, 6, rng)
    codebook = Codebook.make(library, make_decoys(library, rng))
    word = rng.integers(0, 700, READS)
    signals, _ = mixed(library.codes[word], 4, rng)

    def called(steady):
        model = fit_error_model(
            signals.loglik, codebook, rng=np.random.default_rng(0), steady=steady
        )
        calls = decode_reads(signals.loglik, codebook, model, steady=steady)
        right = calls.called[:READS] & (calls.candidates[:READS, 0] == word)
        return calls.called[READS:].mean(), right.mean(), model.steady

    (before, right_before, _), (after, right, share) = called(None), called(signals.steady)
    assert before > 0.05
    assert after < 0.3 * before
    assert right > right_before - 0.005
    assert share > 0.5
