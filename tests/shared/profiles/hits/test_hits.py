"""Hits of simulated screens and plates: what was planted is found, at the stated rate."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.compare.rates import benjamini_hochberg, hierarchical_fdr
from poolvox.shared.profiles.hits.baseline import fingerprints, fit_baseline
from poolvox.shared.profiles.hits.combining import rank_aggregation, stouffer
from poolvox.shared.profiles.hits.hits import Comparison, find_hits
from poolvox.shared.profiles.hits.kinds import Kinds
from poolvox.shared.profiles.hits.noise import Noise, fit_noise
from poolvox.shared.profiles.hits.shifts import measure_groups, measure_shifts
from poolvox.shared.profiles.hits.sums import UnitSums, sum_units
from poolvox.shared.profiles.hits.superiority import compare_by_direction, dose_trend, mann_whitney
from poolvox.shared.profiles.simulate import TableParams, simulate_plate, simulate_screen_tables

CONTROLS = "Metadata_Gene == 'nontargeting'"
GENES = Comparison("Metadata_Gene", CONTROLS, "Metadata_Guide", "Metadata_Plate")
SMALL = TableParams(genes=12, guides=3, controls=10, cells=40, features=24, factors=8, effect=1.5)


@pytest.fixture(scope="module")
def screen():
    return simulate_screen_tables(SMALL, np.random.default_rng(1))


@pytest.fixture(scope="module")
def hits(screen):
    return find_hits(screen.objects, GENES)


def test_active_genes_come_first(screen, hits):
    count = len(screen.active)
    assert set(hits["Metadata_Gene"][:count]) == screen.active
    assert hits["Hit_Active"][:count].all()
    assert not hits["Hit_Active"][count:].any()
    assert "nontargeting" not in set(hits["Metadata_Gene"])
    assert "" not in set(hits["Metadata_Gene"])
    assert len(hits) == SMALL.genes
    assert hits["Hit_PValue"].is_monotonic_increasing
    called = screen.objects["Metadata_Gene"].value_counts()
    assert (hits["Hit_Cells"] == hits["Metadata_Gene"].map(called)).all()
    assert (hits["Hit_Units"] == 3).all()


def test_every_kind_of_evidence_tells_them_apart(screen, hits):
    active = hits["Metadata_Gene"].isin(screen.active)
    for name in ("Hit_PValue", "Hit_MannWhitneyPValue", "Hit_EnergyPValue", "Hit_MapPValue"):
        assert hits[name][active].max() <= hits[name][~active].min()
    for name in ("Hit_Effect", "Hit_Superiority", "Hit_Energy", "Hit_MeanAP"):
        assert hits[name][active].min() > hits[name][~active].max()


def test_batches_of_one_guide_are_no_replicates(screen):
    """They share what the guide differs by for nothing: p-values were ten times too often small."""
    single = Comparison("Metadata_Guide", CONTROLS, batch="Metadata_Plate")
    table = find_hits(screen.objects, single)
    active = table["Metadata_Guide"].str[:7].isin(screen.active)
    assert table["Hit_MeanAP"][active].mean() > 2 * table["Hit_MeanAP"][~active].mean()
    assert table[["Hit_MapPValue", "Hit_MapQValue"]].isna().all(axis=None)


def test_effects_are_as_long_as_planted(screen, hits):
    planted = screen.guides.groupby("gene")["effect"].mean()
    found = hits.set_index("Metadata_Gene")["Hit_Effect"]
    active = sorted(screen.active)
    # Noise of the features' own, and cells with a wrong call, take a part of the effect.
    ratio = (found[active] / planted[active]).mean()
    assert 0.7 < ratio < 1.1


def test_the_order_of_cells_does_not_matter(screen, hits):
    mixed = screen.objects.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(hits, find_hits(mixed, GENES))
    controls = (mixed["Metadata_Gene"] == "nontargeting").to_numpy()
    pd.testing.assert_frame_equal(hits, find_hits(mixed, replace(GENES, controls=controls)))


def test_realised_rate_and_power_over_many_screens():
    """Of 8 screens with 24 genes each; a rate of 5 % allows a false gene or two among the found."""
    params = replace(SMALL, genes=24, effect=1.2)
    found, false, planted, p = 0, 0, 0, []
    columns = ["Hit_PValue", "Hit_MannWhitneyPValue", "Hit_MapPValue"]
    for seed in range(8):
        screen = simulate_screen_tables(params, np.random.default_rng(100 + seed))
        table = find_hits(screen.objects, GENES, fdr=0.05)
        active = table["Metadata_Gene"].isin(screen.active)
        found += int((table["Hit_Active"] & active).sum())
        false += int((table["Hit_Active"] & ~active).sum())
        planted += len(screen.active)
        p.append(table.loc[~active, columns].to_numpy())
    assert false <= stats.binom.ppf(0.999, found, 0.05)
    assert found / planted > 0.85
    # Never more small p-values than chance has.
    by_chance = np.concatenate(p)
    for level in (0.01, 0.05, 0.2):
        small = (by_chance <= level).sum(axis=0)
        assert (small <= stats.binom.ppf(0.999, len(by_chance), level)).all()


def test_debris_makes_no_hit():
    """A cell that is far out in all features would move the mean of its guide by itself."""
    params = replace(SMALL, genes=24, active=0.0, outliers=0.02)
    screen = simulate_screen_tables(params, np.random.default_rng(5))
    table = find_hits(screen.objects, GENES)
    assert not table["Hit_Active"].any()
    assert (table["Hit_PValue"] < 0.05).sum() <= stats.binom.ppf(0.999, 24, 0.05)


def test_wells_that_differ_make_no_hit():
    """With cells as replicates every treated well would be a hit: they share their well."""
    params = replace(SMALL, effect=0.0, well_shift=0.6, guides=4, controls=12, plates=1)
    plate = simulate_plate(params, np.random.default_rng(0))
    table = find_hits(
        plate.objects, Comparison("Metadata_Treatment", "Metadata_Treatment == 'vehicle'")
    )
    assert (table["Hit_Units"] == 4).all()
    assert table["Hit_PValue"].min() > 0.001
    assert table["Hit_MannWhitneyPValue"].min() < 1e-4  # which knows cells only


def test_doses_have_a_trend():
    params = replace(SMALL, effect=2.0, guides=3, controls=10, plates=1, genes=6, active=0.34)
    doses = (0.1, 1.0, 10.0)
    plate = simulate_plate(params, np.random.default_rng(2), doses=doses)
    comparison = Comparison(
        "Metadata_Treatment", "Metadata_Treatment == 'vehicle'", dose="Metadata_Dose"
    )
    table = find_hits(plate.objects, comparison)
    assert len(table) == 18
    # First treatments, then their doses.
    staged = hierarchical_fdr(table["Hit_PValue"], table["Metadata_Treatment"], level=0.05)
    np.testing.assert_allclose(table["Hit_QValue"], staged["q"])
    assert not np.allclose(staged["q"], benjamini_hochberg(table["Hit_PValue"]))
    active = table["Metadata_Treatment"].isin({"compound001", "compound002"})
    assert (table["Hit_Trend"][active] > 0.5).all()
    assert (table["Hit_TrendPValue"][active] < 0.01).all()
    assert table["Hit_TrendPValue"][~active].min() > 0.01
    assert table["Hit_Active"][active & (table["Metadata_Dose"] == 10)].all()
    assert not table["Hit_Active"][~active].any()


def test_rare_guides_and_lost_controls_have_reasons(screen):
    objects = screen.objects
    one = objects[objects["Metadata_Gene"] == "gene010"].head(1)
    two = objects[objects["Metadata_Gene"] == "gene011"].head(40).assign(Metadata_Plate="P9")
    rest = objects[~objects["Metadata_Gene"].isin({"gene010", "gene011"})]
    table = find_hits(pd.concat([rest, one, two]), GENES).set_index("Metadata_Gene")
    assert table.loc["gene010", "Hit_Reason"] == "fewer than 5 cells"
    assert table.loc["gene011", "Hit_Reason"] == "no controls in its batches"
    assert table.loc[["gene010", "gene011"], ["Hit_PValue", "Hit_QValue"]].isna().all(axis=None)
    assert not table.loc[["gene010", "gene011"], "Hit_Active"].any()
    assert list(table.index[-2:]) == ["gene010", "gene011"]
    assert table.loc["gene010", "Hit_Cells"] == 1


@pytest.mark.parametrize(("controls", "tested"), [(2, False), (3, False), (4, True)])
def test_a_few_wells_of_controls_make_no_p_value(controls, tested):
    params = replace(SMALL, guides=2, controls=controls, plates=1)
    plate = simulate_plate(params, np.random.default_rng(3))
    # Wells are the units: keys of the plate and the well.
    objects = plate.objects.assign(
        Metadata_Unit=plate.objects["Metadata_Plate"] + plate.objects["Metadata_Well"]
    )
    rules = Comparison("Metadata_Treatment", "Metadata_Treatment == 'vehicle'", "Metadata_Unit")
    hits = find_hits(objects, rules)
    assert hits["Hit_PValue"].notna().all() == tested
    assert hits["Hit_PValue"].notna().any() == tested
    assert hits["Hit_Active"].any() == tested
    assert hits["Hit_Score"].notna().all()
    assert hits["Hit_Reason"].str.startswith("fewer than 4 units of controls").all() != tested
    assert hits["Metadata_Treatment"][0] in plate.active


def test_few_wells_of_controls_find_what_is_there_and_little_else():
    """What four wells say about how wells differ is wrong for all treatments of a plate alike."""
    params = TableParams(
        **{"genes": 16, "guides": 4, "controls": 4, "cells": 25, "features": 24, "factors": 8},
        **{"plates": 1, "well_shift": 0.2, "active": 0.25, "effect": 1.5},
    )
    rules = Comparison("Metadata_Treatment", "Metadata_Treatment == 'vehicle'")
    found, false = 0, 0
    for seed in range(10):
        plate = simulate_plate(params, np.random.default_rng(4_000 + seed))
        table = find_hits(plate.objects, rules)
        active = table["Metadata_Treatment"].isin(plate.active)
        found += int((table["Hit_Active"] & active).sum())
        false += int((table["Hit_Active"] & ~active).sum())
    # Over 1,000 plates 70 % are found, and 2 % of those found are false.
    assert found >= 20
    assert false <= 3


def _units(rng, units, cells, apart):
    """Cells of units that differ by `apart`, standard deviations per direction."""
    unit = np.repeat(np.arange(units), cells)
    means = rng.standard_normal((units, len(apart))) * apart
    points = rng.standard_normal((len(unit), len(apart))) + means[unit]
    return sum_units(points.astype(np.float32), unit, unit * 0, (units, 1))


@pytest.mark.parametrize("controls", [4, 60])
def test_how_units_differ_is_told_by_controls_or_by_others_treated_alike(controls):
    rng = np.random.default_rng(1)
    apart = np.array([1.0, 1.0, 0.2, 0.2, 0.2, 0.2])
    total, between, scale = [], [], []
    for _ in range(40):
        sums = _units(rng, controls + 60, 40, apart)
        group = np.concatenate([np.zeros(controls, int), 1 + np.arange(60) // 3])
        noise = fit_noise(sums, np.arange(controls + 60) < controls, group, np.eye(6))
        assert noise.degrees == max(controls - 1, 30)
        assert noise.scale[:2].max() < noise.scale[2:].min()
        mean = noise.chance(np.full(1, len(apart) / 40), np.ones(1)).mean.item()
        total.append(mean / ((apart**2 + 1 / 40) * noise.scale**2).sum())
        between.append(noise.between.sum() / (apart**2 * noise.scale**2).sum())
        scale.append(noise.scale[0] / noise.scale[5])
    assert np.mean(total) == pytest.approx(1, abs=0.12)
    assert np.mean(between) == pytest.approx(1, abs=0.15)
    # Variances are shrunk towards their mean, by as much as so many units cannot tell them.
    told, planted = max(controls - 1, 30), apart**2 + 1 / 40
    shrunk = (told * planted + 10 * planted.mean()) / (told + 10)
    expected = float(np.sqrt(shrunk[5] / shrunk[0]))
    assert 0.9 * expected < np.mean(scale) < 1.3 * expected


def _uneven(rng, units, apart, directions, *, size=10, spread=1.0):
    """Units of 3 to 2,000 cells each that differ in a few directions."""
    cells = np.exp(np.log(40) + 1.2 * rng.standard_normal(units)).clip(3, 2_000).astype(int)
    unit = np.repeat(np.arange(units), cells)
    means = apart * rng.standard_normal((units, directions))
    means = means @ np.linalg.qr(rng.standard_normal((size, size)))[0][:directions]
    points = spread * rng.standard_normal((len(unit), size)) + means[unit]
    return sum_units(points.astype(np.float32), unit, unit * 0, (units, 1))


@pytest.mark.parametrize("along", [1, 2])
def test_guides_of_few_and_many_cells_make_no_false_hits(along):
    """The many cells of a guide tell well where it lies, and guides lie apart for nothing."""
    rng = np.random.default_rng(0)
    control, group = np.arange(140) < 30, np.maximum(np.arange(140) - 28, 0) // 2
    genes, guides, directions = [], [], []
    for _ in range(30):
        sums = _uneven(rng, 140, 0.3, along)
        noise = fit_noise(sums, control, group, np.eye(10))
        genes.append(measure_groups(sums, control, noise, group, 56).p[1:])
        guides.append(measure_shifts(sums, control, noise).p[~control])
        directions.append(noise.between.sum() ** 2 / noise.concentration)
    assert np.median(directions) == pytest.approx(along, rel=0.4)
    for p in map(np.concatenate, (genes, guides)):
        p = p[np.isfinite(p)]
        assert (p <= 0.001).mean() < 0.004
        assert (p <= 0.01).mean() < 0.015
        assert 0.1 < (p <= 0.2).mean() < 0.23


def test_guides_of_three_cells_do_not_tell_how_much_cells_scatter():
    rng, p = np.random.default_rng(1), []
    unit = np.concatenate([np.repeat(np.arange(30), 40), np.repeat(np.arange(30, 270), 3)])
    control, group = np.arange(270) < 30, np.maximum(np.arange(270) - 26, 0) // 4
    for _ in range(20):
        points = rng.standard_normal((len(unit), 30)).astype(np.float32)
        sums = sum_units(points, unit, rng.integers(0, 2, len(unit)), (270, 2))
        noise = fit_noise(sums, control, group, np.eye(30))
        p.append(measure_groups(sums, control, noise, group, 61).p[1:])
    assert (np.concatenate(p) <= 0.001).mean() < 0.003
    assert (np.concatenate(p) <= 0.05).mean() < 0.055


def test_cells_that_scatter_more_in_some_directions_make_no_p_value_too_large():
    rng = np.random.default_rng(0)
    spread, p = np.linspace(0.4, 1.4, 10), []
    control, group = np.arange(140) < 30, np.maximum(np.arange(140) - 28, 0) // 2
    for _ in range(30):
        sums = _uneven(rng, 140, 0.0, 1, spread=spread)
        noise = fit_noise(sums, control, group, np.diag(spread**2))
        p.append(measure_groups(sums, control, noise, group, 56).p[1:])
    assert 0.12 < (np.concatenate(p) <= 0.2).mean() < 0.22
    assert 0.025 < (np.concatenate(p) <= 0.05).mean() < 0.06


def test_units_are_compared_with_others_of_their_kind_by_their_cells():
    count = np.array([10.0, 20.0, 30.0, 40.0, 40.0, 50.0])
    sums = UnitSums(np.zeros((6, 1, 3)), count[:, None], count[:, None])
    found = Kinds.of(sums, np.array([0, 0, 0, 1, 1, 2]), np.full(6, 3.0), 3.0)
    # The last has no other of its kind.
    assert found.kind.tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_allclose(found.cells[[0, 3]], [1 / 10 + 1 / 50, 1 / 40 + 1 / 40])
    np.testing.assert_allclose(found.units[[0, 3]], [1 + (20**2 + 30**2) / 50**2, 2])


@pytest.mark.parametrize(("between", "many"), [(0.0, 0.9), (10.0, 0.5)])
def test_units_of_a_group_count_by_how_well_they_are_known(between, many):
    """One has nine times as many cells, which helps only if units do not differ by themselves."""
    total = np.array([[[0.0]], [[0.0]], [[9.0 * 90]], [[1.0 * 10]]])
    count = np.array([[50.0], [50.0], [90.0], [10.0]])
    sums = UnitSums(total, total[:, :, 0] ** 2 / count + count, count)
    noise = Noise(np.ones(1), np.eye(1), np.full(1, between), between**2, 0.0, 30.0, 30, 1.0)
    control = np.array([True, True, False, False])
    found = measure_groups(sums, control, noise, np.array([0, 0, 1, 1]), 2)
    assert found.shift[1, 0] == pytest.approx(9 * many + (1 - many), rel=0.02)


def test_a_unit_without_controls_in_its_batch_takes_no_part_in_its_group():
    rng = np.random.default_rng(0)
    unit = np.repeat(np.arange(24), 20)
    points = rng.standard_normal((len(unit), 4)).astype(np.float32)
    control, group = np.arange(24) < 12, np.maximum(np.arange(24) // 3 - 3, 0)
    batch = (unit == 13).astype(int)
    whole = sum_units(points, unit, batch, (24, 2))
    noise = fit_noise(whole, control, group, np.eye(4))
    assert np.isnan(measure_shifts(whole, control, noise).p[13])
    found = measure_groups(whole, control, noise, group, 5)
    rest = sum_units(points, np.where(unit == 13, -1, unit), batch, (24, 2))
    expected = measure_groups(rest, control, noise, group, 5)
    assert np.isfinite(found.p[1:]).all()
    np.testing.assert_allclose(found.shift[2:], expected.shift[2:])
    np.testing.assert_allclose(found.shift[1], expected.shift[1], atol=1e-3)


def test_units_without_others_of_their_kind_tell_nothing():
    sums = _units(np.random.default_rng(0), 9, 30, np.full(4, 0.5))
    control = np.arange(9) < 5
    noise = fit_noise(sums, control, np.arange(9), np.eye(4))
    assert noise.degrees == 4
    assert noise.chance(np.full(1, 4 / 30), np.ones(1)).told_by < 4
    assert measure_shifts(sums, control, noise).p[~control].min() > 1e-4


def test_groups_in_several_batches_are_compared_within_them():
    """Plates lie far apart, and each holds one unit of every group."""
    rng, p = np.random.default_rng(2), []
    for _ in range(40):
        unit = np.repeat(np.arange(48), 20)
        batch = unit % 3
        points = rng.standard_normal((len(unit), 5)) + 0.5 * rng.standard_normal((48, 5))[unit]
        points += 10 * rng.standard_normal((3, 5))[batch]
        sums = sum_units(points.astype(np.float32), unit, batch, (48, 3))
        control, group = np.arange(48) < 12, np.arange(48) // 3
        group[control] = 0
        group[~control] -= 3
        noise = fit_noise(sums, control, group, np.eye(5))
        p.append(measure_groups(sums, control, noise, group, 13).p[1:])
    assert stats.kstest(np.concatenate(p), "uniform").pvalue > 0.001
    assert (np.concatenate(p) <= 0.01).mean() < 0.025


def test_missing_values_and_constant_features_do_no_harm(screen):
    objects = screen.objects.copy()
    names = screen.features
    gone = np.random.default_rng(0).random((len(objects), len(names))) < 0.02
    objects[names] = objects[names].mask(gone)
    objects = objects.assign(Cells_Constant=np.float32(3), Cells_Empty=np.float32(np.nan))
    table = find_hits(objects, GENES)
    assert set(table["Metadata_Gene"][: len(screen.active)]) == screen.active


def test_batches_may_have_several_columns(screen):
    objects = screen.objects.assign(Metadata_Day=screen.objects["Metadata_Well"].str[1])
    joined = objects.assign(Metadata_Both=objects["Metadata_Plate"] + objects["Metadata_Day"])
    both = find_hits(objects, replace(GENES, batch=["Metadata_Plate", "Metadata_Day"]))
    one = find_hits(joined, replace(GENES, batch="Metadata_Both"))
    pd.testing.assert_frame_equal(both, one)
    assert not both["Hit_PValue"].equals(find_hits(objects, GENES)["Hit_PValue"])


def test_controls_may_have_any_dose_and_treatments_numbers_only():
    params = replace(SMALL, guides=2, controls=6, plates=1, genes=2)
    plate = simulate_plate(params, np.random.default_rng(2), doses=(1.0, 10.0)).objects
    comparison = Comparison(
        "Metadata_Treatment", "Metadata_Treatment == 'vehicle'", dose="Metadata_Dose"
    )
    plain = find_hits(plate, comparison)
    text = plate["Metadata_Dose"].map("{:g}".format)
    control = plate["Metadata_Treatment"] == "vehicle"
    found = find_hits(plate.assign(Metadata_Dose=text.where(~control, "no dose")), comparison)
    pd.testing.assert_frame_equal(found, plain)
    with pytest.raises(InputError, match=r"Metadata_Dose holds '10? uM': leave the unit out"):
        find_hits(plate.assign(Metadata_Dose=text + " uM"), comparison)


def test_units_of_controls_with_few_cells_are_said_to_be_few(screen):
    rare = screen.objects.groupby("Metadata_Guide").head(4)
    table = find_hits(rare, GENES)
    assert set(table["Hit_Reason"]) == {
        "fewer than 4 units of controls with 5 cells each: how much they differ is not known"
    }


def test_wrong_input_is_told(screen):
    objects = screen.objects
    with pytest.raises(InputError, match="none of the cells is a control"):
        find_hits(objects, replace(GENES, controls="Metadata_Gene == 'no'"))
    with pytest.raises(InputError, match="Metadata_sgRNA"):
        find_hits(objects, replace(GENES, guide="Metadata_sgRNA"))
    with pytest.raises(InputError, match="nothing to test"):
        find_hits(objects[objects["Metadata_Gene"] == "nontargeting"], GENES)
    few = objects.groupby("Metadata_Gene").head(5)
    with pytest.raises(InputError, match="at least 20 controls"):
        find_hits(few, GENES)


def test_sums_of_parts_are_the_sums_of_all():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((500, 4)).astype(np.float32)
    unit, batch = rng.integers(-1, 6, 500), rng.integers(0, 2, 500)
    whole = sum_units(points, unit, batch, (6, 2))
    parts = sum_units(points[:200], unit[:200], batch[:200], (6, 2))
    parts += sum_units(points[200:], unit[200:], batch[200:], (6, 2))
    np.testing.assert_allclose(whole.total, parts.total)
    np.testing.assert_array_equal(whole.count, parts.count)
    inside = (unit == 3) & (batch == 1)
    np.testing.assert_allclose(whole.total[3, 1], points[inside].sum(axis=0, dtype=float))


def test_a_planted_shift_comes_back_without_bias():
    rng = np.random.default_rng(0)
    planted, found, p = np.array([0.6, 0, 0, 0, 0, 0]), [], []
    for _ in range(40):
        points = rng.standard_normal((1200, 6)).astype(np.float32)
        unit = np.repeat(np.arange(12), 100)
        points[unit == 11] += planted
        sums, control = sum_units(points, unit, unit * 0, (12, 1)), np.arange(12) < 11
        noise = fit_noise(sums, control, np.arange(12) // 11, np.eye(6))
        test = measure_shifts(sums, control, noise)
        found.append(test.effect[11] ** 2)
        p.append(test.p[11])
    assert np.median(p) < 1e-4
    assert np.mean(found) == pytest.approx(0.36, abs=0.06)


def test_mann_whitney_is_that_of_scipy():
    rng = np.random.default_rng(0)
    for digits in (8, 0):
        x, y = rng.normal(1, 1, 40).round(digits), rng.normal(0, 1, 60).round(digits)
        part, score = mann_whitney(x, y)
        expected = stats.mannwhitneyu(
            x, y, alternative="greater", method="asymptotic", use_continuity=False
        )
        assert part == pytest.approx(expected.statistic / 2400)
        assert stats.norm.sf(score) == pytest.approx(expected.pvalue)
    assert mann_whitney([1, 1], [1, 1]) == (0.5, 0.0)


def test_a_direction_is_never_tested_on_its_own_cells():
    """Testing along the direction of the same cells would make hits of noise in many dimensions."""
    rng = np.random.default_rng(0)
    p = []
    for _ in range(150):
        points = rng.standard_normal((160, 100)).astype(np.float32)
        half = rng.integers(0, 2, 160)
        p.append(compare_by_direction(points, half, np.arange(60), np.arange(60, 160)).p_value)
    assert stats.kstest(p, "uniform").pvalue > 0.001
    assert np.isnan(compare_by_direction(points, half * 0, np.arange(9), np.arange(9, 99)).p_value)


def test_trends_need_doses():
    shifts = np.array([[1.0, 0], [2, 0], [3, 0], [4, 0], [5, 0]])
    assert dose_trend(shifts, np.array([1.0, 2, 3, 4, 5]))[0] == pytest.approx(1)
    assert np.isnan(dose_trend(shifts, np.array([1.0, 1, 1, 2, 2]))[0])
    assert np.isnan(dose_trend(shifts[:4], np.array([1.0, 2, 3, 4]))[0])


def test_stouffer_weighs():
    assert stouffer([1.0, 3.0], [1.0, 0.0]) == 1.0
    assert stouffer([3.0, np.nan]) == 3.0
    assert np.isnan(stouffer([np.nan]))
    assert stouffer([1.0, 2.0]) == pytest.approx(
        stats.combine_pvalues(stats.norm.sf([1.0, 2.0]), "stouffer").statistic
    )


@pytest.mark.parametrize("members", [1, 2, 5, 20])
def test_rank_aggregation_is_exact(members):
    rng = np.random.default_rng(members)
    p = [rank_aggregation(rng.random(members)) for _ in range(600)]
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_rank_aggregation_sees_the_few_that_work():
    assert rank_aggregation([0.001, 0.002, 0.6, 0.9]) < 1e-4
    assert np.isnan(rank_aggregation([]))
    with pytest.raises(ValueError, match="parts of their number"):
        rank_aggregation([0.0])


def test_fingerprints_follow_the_content():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((200, 5)).astype(np.float32)
    keys = pd.DataFrame({"Metadata_Well": ["A1"] * 200})
    one = fingerprints(values, keys, 0)
    order = rng.permutation(200)
    np.testing.assert_array_equal(one[order], fingerprints(values[order], keys, 0))
    assert len(set(one)) == 200
    assert (one != fingerprints(values, keys, 1)).all()
    assert 70 < (one & np.uint64(1)).sum() < 130


def test_the_space_of_the_controls_is_round():
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((6, 6))
    controls = rng.standard_normal((4000, 6)) @ mix * 50 + 7
    keys = pd.DataFrame({"k": np.zeros(4000)})
    baseline = fit_baseline(controls, np.arange(4000) // 40, fingerprints(controls, keys, 0))
    fresh = baseline.transform(rng.standard_normal((4000, 6)) @ mix * 50 + 7)
    np.testing.assert_allclose(np.cov(fresh.T), np.eye(6), atol=0.15)
    np.testing.assert_allclose(fresh.mean(axis=0), 0, atol=0.1)
