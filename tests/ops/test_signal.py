from dataclasses import replace

import numpy as np
import pytest
from tests.ops.planted import four_colours, light_of

from poolvox.ops.chemistry import resolve_chemistry
from poolvox.ops.phasing import share_matrix
from poolvox.ops.signal import Corrections, apply_corrections, estimate_corrections
from poolvox.ops.simulate.params import CROSSTALK, Chemistry
from poolvox.ops.simulate.reads import decay_profile, phasing_matrix
from poolvox.shared.errors import InputError

CYCLES = 9
HARD = Chemistry(gains=(1.0, 0.4, 5.0, 40.0), phasing=0.02, prephasing=0.005, exposure_jump=1.6)


def planted(light=HARD, *, reads=2500, snr=30.0, seed=0, odds=None):
    rng = np.random.default_rng(seed)
    codes = rng.choice(4, (reads, CYCLES + 2), p=odds)
    return codes[:, :CYCLES], light_of(codes, light, rng, snr=snr)


@pytest.fixture(scope="module")
def hard():
    codes, bases = planted()
    found = estimate_corrections(
        bases, four_colours(), rng=np.random.default_rng(1), source="well A1"
    )
    return codes, bases, found


def accuracy(bases, codes, corrections):
    return (apply_corrections(bases, corrections).loglik.argmax(axis=2) == codes).mean()


def test_planted_crosstalk_comes_back(hard):
    _, _, found = hard
    light = found.states * found.gain[:, None, :] / np.array(HARD.gains)
    own = light.max(axis=2, keepdims=True)
    order = ["ACGT".index(channel) for channel in HARD.channels]
    expected = np.array(CROSSTALK)[:, order]
    assert np.abs(light / own - expected).max() < 0.08


def test_planted_phasing_comes_back(hard):
    _, _, found = hard
    assert found.phasing == pytest.approx(HARD.phasing, abs=0.004)
    assert found.prephasing == pytest.approx(HARD.prephasing, abs=0.004)


def test_decay_and_the_jump_of_the_exposure_come_back(hard):
    _, _, found = hard
    profile = decay_profile(CYCLES, HARD)
    # Strands out of phase no longer add to the light of a cycle's own base.
    profile *= np.diagonal(phasing_matrix(CYCLES, HARD.phasing, HARD.prephasing))
    assert found.decay == pytest.approx(profile / profile[0], rel=0.12)


def test_bases_are_better_than_the_brightest_channel(hard):
    codes, bases, found = hard
    naive = (bases / np.quantile(bases, 0.95, axis=0)).argmax(axis=2)
    named = np.array(["ACGT".index(c) for c in HARD.channels])[naive]
    assert accuracy(bases, codes, found) > 0.995
    assert 1 - accuracy(bases, codes, found) < 0.8 * (1 - (named == codes).mean())


def test_threads_change_no_result(hard):
    _, bases, _ = hard
    noise = np.random.default_rng(3).gamma(20, 0.05, len(bases)).astype(np.float32)
    for its in (None, noise):
        given = {"noise": its}
        one, three = (
            estimate_corrections(
                bases, four_colours(), rng=np.random.default_rng(1), threads=threads, **given
            )
            for threads in (1, 3)
        )
        assert one.to_json() == three.to_json()
        alone = apply_corrections(bases, one, **given)
        shared = apply_corrections(bases, one, threads=3, **given)
        assert np.array_equal(alone.loglik, shared.loglik)
        assert np.array_equal(alone.clean, shared.clean)
    few = apply_corrections(bases[:2], one, noise=noise[:2], threads=3)
    assert np.array_equal(few.loglik, alone.loglik[:2])


def test_undoing_phasing_helps():
    light = replace(HARD, phasing=0.05)
    codes, bases = planted(light)
    found = estimate_corrections(bases, four_colours(), rng=np.random.default_rng(0))
    without = replace(found, leak=np.eye(CYCLES))
    wrong = [
        (apply_corrections(bases, each).loglik.argmax(axis=2) != codes)[:, 5:].mean()
        for each in (found, without)
    ]
    assert wrong[0] < 0.7 * wrong[1]


def test_probabilities_mean_what_they_say():
    codes, bases = planted(replace(HARD, phasing=0.0, prephasing=0.0), snr=6.0, reads=3000)
    found = estimate_corrections(bases, four_colours(), rng=np.random.default_rng(0))
    loglik = apply_corrections(bases, found).loglik
    share = np.exp(loglik - loglik.max(axis=2, keepdims=True))
    top = (share / share.sum(axis=2, keepdims=True)).max(axis=2)
    right = loglik.argmax(axis=2) == codes
    for low, high in ((0.5, 0.8), (0.8, 0.95), (0.95, 0.999)):
        band = (top > low) & (top <= high)
        assert band.sum() > 100
        wrong, stated = 1 - right[band].mean(), 1 - top[band].mean()
        assert stated / 2.5 < wrong < 2.5 * stated


@pytest.mark.parametrize("rare", [0.0, 0.004, 0.03])
def test_a_nearly_empty_channel_does_no_harm(rare):
    odds = np.array([rare, *[(1 - rare) / 3] * 3])
    codes, bases = planted(odds=odds)
    found = estimate_corrections(bases, four_colours(), rng=np.random.default_rng(0))
    assert np.isfinite(found.states).all()
    assert accuracy(bases, codes, found) > 0.97


def test_a_base_that_misses_in_one_cycle_does_no_harm():
    codes, _ = planted()
    codes = np.hstack([codes, codes[:, :2]])
    codes[codes[:, 3] == 2, 3] = 0
    bases = light_of(codes, HARD, np.random.default_rng(0))
    found = estimate_corrections(bases, four_colours(), rng=np.random.default_rng(0))
    assert accuracy(bases, codes[:, :CYCLES], found) > 0.98


@pytest.mark.parametrize(
    ("spec", "channels", "code", "bound"),
    [
        ("three-colour(dark: G)", "TAC", ((0, 1, 0), (0, 0, 1), (0, 0, 0), (1, 0, 0)), 0.93),
        ("two-colour", "rg", ((1, 1), (1, 0), (0, 0), (0, 1)), 0.9),
    ],
)
def test_dark_bases(spec, channels, code, bound):
    n = len(channels)
    mixing = tuple(tuple(1.0 if i == j else 0.15 for j in range(n)) for i in range(n))
    light = Chemistry(
        channels=tuple(channels), code=code, mixing=mixing, gains=(1.0,) * n,
        phasing=0.0, prephasing=0.0, cycle_spread=0.3,
    )  # fmt: skip
    codes, bases = planted(light)
    chemistry = resolve_chemistry(spec, list(channels))
    found = estimate_corrections(bases, chemistry, rng=np.random.default_rng(0))
    assert accuracy(bases, codes, found) > bound


def test_missing_light_tells_nothing(hard):
    _, bases, found = hard
    holed = bases[:50].copy()
    holed[:, 4, 1] = np.nan
    loglik = apply_corrections(holed, found).loglik
    assert np.isfinite(loglik).all()
    assert np.ptp(loglik[:, 4], axis=1).max() == 0


def test_reads_do_not_depend_on_their_company(hard):
    _, bases, found = hard
    whole = apply_corrections(bases, found).loglik
    parts = np.concatenate(
        [apply_corrections(part, found).loglik for part in np.array_split(bases, 7)]
    )
    assert np.array_equal(whole, parts)


def test_corrections_survive_storage_and_make_a_table(hard):
    _, bases, found = hard
    again = Corrections.from_json(found.to_json())
    assert np.array_equal(
        apply_corrections(bases, again).loglik, apply_corrections(bases, found).loglik
    )
    table = found.frame()
    assert len(table) == CYCLES * 4 * 4
    assert table["Correction_Crosstalk"].max() == pytest.approx(1)
    assert set(table["Correction_Source"]) == {"well A1"}


def test_few_reads_fall_back_on_the_plate(hard):
    _, bases, found = hard
    rng = np.random.default_rng(0)
    few = estimate_corrections(bases[:100], four_colours(), rng=rng, fallback=found)
    assert few is found
    with pytest.raises(InputError, match="too few"):
        estimate_corrections(bases[:5], four_colours(), rng=rng)


def test_wrong_shapes_say_what_to_do(hard):
    _, bases, found = hard
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="correct `channels`"):
        estimate_corrections(bases[:, :, :3], four_colours(), rng=rng)
    with pytest.raises(InputError, match="8 cycles"):
        apply_corrections(bases[:, :8], found)


def test_known_noise_of_each_read_is_used():
    codes, bases = planted(replace(HARD, gains=(1.0,) * 4), snr=12.0)
    rng = np.random.default_rng(0)
    noise = np.where(np.arange(len(bases)) % 2, 1.0, 4.0).astype(np.float32)
    bases = bases + (
        np.sqrt(noise**2 - 1)[:, None, None] * rng.standard_normal(bases.shape)
    ).astype(np.float32)
    blind = estimate_corrections(bases, four_colours(), rng=rng)
    told = estimate_corrections(bases, four_colours(), rng=rng, noise=noise)
    loglik = [
        apply_corrections(bases, blind).loglik,
        apply_corrections(bases, told, noise=noise).loglik,
    ]
    truth = [np.take_along_axis(_normal(each), codes[..., None], axis=2).mean() for each in loglik]
    assert truth[1] > truth[0] + 0.01


def _normal(loglik):
    top = loglik - loglik.max(axis=2, keepdims=True)
    return top - np.log(np.exp(top).sum(axis=2, keepdims=True))


@pytest.mark.parametrize(("p", "q"), [(0.0, 0.0), (0.02, 0.0), (0.0, 0.01), (0.03, 0.02)])
def test_shares_of_strands(p, q):
    shares = share_matrix(12, p, q)
    assert (shares >= 0).all()
    assert (shares.sum(axis=1) <= 1 + 1e-12).all()
    assert shares == pytest.approx(phasing_matrix(12, p, q)[:, :12])
