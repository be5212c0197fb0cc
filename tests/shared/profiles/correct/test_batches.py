"""Planted batches go, planted signal stays; whitening is pycytominer's."""

import numpy as np
import pandas as pd
import pytest

from poolvox.shared.errors import InputError
from poolvox.shared.profiles import (
    Record,
    TableParams,
    aggregate,
    batch_mixing,
    combat,
    harmony,
    mean_average_precision,
    normalize,
    simulate_screen_tables,
    sphere,
    tvn,
)

COUNT = 30
FEATURES = [f"Cells_F{i}" for i in range(COUNT)]


def planted(seed=0, shift=2.0, genes=12, batches=3, repeats=4, missing=0.0):
    """Profiles of genes in batches that shift and stretch every feature."""
    rng = np.random.default_rng(seed)
    effects = rng.standard_normal((genes, COUNT)) * 1.5
    mixing = rng.standard_normal((COUNT, COUNT)) / np.sqrt(COUNT) + np.eye(COUNT)
    rows, keys = [], []
    for b in range(batches):
        move, stretch = shift * rng.standard_normal(COUNT), np.exp(0.3 * rng.standard_normal(COUNT))
        for g in range(-5, genes):
            for _ in range(repeats):
                effect = effects[g] if g >= 0 else 0
                noise = rng.standard_normal(COUNT) @ mixing
                rows.append((effect + noise) * stretch + move)
                keys.append((f"B{b}", f"gene{g}" if g >= 0 else "nontargeting"))
    frame = pd.DataFrame(rows, columns=FEATURES)
    frame = frame.mask(rng.random(frame.shape) < missing)
    frame.insert(0, "Metadata_Plate", [k[0] for k in keys])
    frame.insert(1, "Metadata_Gene", [k[1] for k in keys])
    return frame


CONTROLS = "Metadata_Gene == 'nontargeting'"
METHODS = {
    "combat": lambda f: combat(f, batch="Metadata_Plate", samples=CONTROLS),
    "tvn": lambda f: tvn(f, batch="Metadata_Plate", samples=CONTROLS),
    "harmony": lambda f: harmony(f, batch="Metadata_Plate"),
}


@pytest.mark.parametrize("missing", [0.0, 0.01])
@pytest.mark.parametrize("method", METHODS)
def test_the_batch_goes_and_the_signal_stays(method, missing):
    # Harmony moves what overlaps, the others whatever there is.
    frame = planted(missing=missing, **({"shift": 1, "repeats": 12} if method == "harmony" else {}))
    corrected = METHODS[method](frame)
    names = {"before": frame, "after": corrected}
    found = batch_mixing(names, batch="Metadata_Plate", by="Metadata_Gene", neighbours=10)
    before, after = found.to_dict("records")
    assert before["Mixing_Variance"] > 0.1
    assert before["Mixing_Neighbours"] < 0.3
    assert after["Mixing_Variance"] < 0.05
    assert after["Mixing_Neighbours"] > 0.8
    assert after["Mixing_Signal"] > before["Mixing_Signal"] + 0.1
    gaps = corrected.filter(regex="^(Cells|Components)").isna().to_numpy().any()
    assert gaps == (method == "combat" and missing > 0)


def test_without_batches_hardly_anything_is_lost():
    frame = planted(shift=0.0)
    corrected = METHODS["combat"](frame)
    found = batch_mixing({"a": frame, "b": corrected}, batch="Metadata_Plate", by="Metadata_Gene")
    assert found.Mixing_Signal[1] > found.Mixing_Signal[0] - 0.02


def test_a_batch_with_its_own_genes_keeps_them_when_controls_decide():
    frame = planted()
    own = frame[
        (frame.Metadata_Gene == "nontargeting")
        | (frame.Metadata_Plate.eq("B0") == frame.Metadata_Gene.isin(["gene0", "gene1"]))
    ]
    kept = combat(own, batch="Metadata_Plate", samples=CONTROLS)
    controls = kept.Metadata_Gene == "nontargeting"
    for plate in ("B0", "B1"):
        mean = kept[controls & kept.Metadata_Plate.eq(plate)][FEATURES].mean()
        assert np.abs(mean - kept[controls][FEATURES].mean()).mean() < 0.25


def test_tvn_does_not_drown_the_signal_in_directions_of_noise():
    """Components of noise would count as much as any, and there are many more of them."""
    params = TableParams(genes=30, guides=3, controls=12, cells=25, features=60, effect=1.2)
    screen = simulate_screen_tables(params, np.random.default_rng(0))
    cells = normalize(screen.objects, by="Metadata_Plate")

    def signal(table):
        guides = aggregate(
            table[table.Metadata_Guide != ""], by=["Metadata_Gene", "Metadata_Guide"]
        )
        guides = guides[guides.Metadata_Gene != "nontargeting"]
        scores = mean_average_precision(guides, by="Metadata_Gene")
        return scores[scores.Metadata_Gene.isin(screen.active)].Map_Score.mean()

    some = signal(tvn(cells, batch="Metadata_Plate", samples=CONTROLS))
    whole = signal(tvn(cells, batch="Metadata_Plate", samples=CONTROLS, ridge=0.0))
    assert some > 0.75 * signal(cells)
    assert some > 1.3 * whole


@pytest.mark.parametrize("rows", [200, 25])
def test_sphering_is_theirs_without_shrinkage(rows):
    transform = pytest.importorskip("pycytominer.operations.transform")
    rng = np.random.default_rng(1)
    count = 10
    values = rng.standard_normal((rows, count)) @ rng.standard_normal((count, count)) + 3
    frame = pd.DataFrame(values, columns=FEATURES[:count])
    ours = sphere(frame, shrinkage=0.0)
    spherize = transform.Spherize(method="ZCA-cor", epsilon=0)
    theirs = spherize.fit(frame).transform(frame)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(np.cov(ours.T), np.eye(count), atol=1e-8)


def test_shrinkage_is_estimated_where_controls_are_few():
    frame = planted(batches=1).head(20)
    with pytest.raises(InputError, match="20 controls cannot whiten 30 features"):
        sphere(frame, shrinkage=0.0)
    record = Record()
    white = sphere(frame, record=record)
    assert np.isfinite(white[FEATURES]).all().all()
    assert 0.1 < record.frame.loc[0, "value"] < 1


def test_what_cannot_be_learnt_from_is_told():
    frame = planted()
    with pytest.raises(InputError, match=r"\['B1', 'B2'\] have fewer than two controls"):
        tvn(frame, batch="Metadata_Plate", samples="Metadata_Plate == 'B0'")
    with pytest.raises(InputError, match="fewer than two rows"):
        combat(frame, batch="Metadata_Plate", samples="Metadata_Plate == 'B0'")
    with pytest.raises(InputError, match="'Cells_F3'"):
        sphere(frame.assign(Cells_F3=1.0))
    with pytest.raises(InputError, match="controls, got 0"):
        sphere(frame, samples="Metadata_Gene == 'nobody'")


def test_order_of_rows_changes_nothing():
    frame = planted()
    order = np.random.default_rng(0).permutation(len(frame))
    for method in ("combat", "tvn"):
        one, other = METHODS[method](frame), METHODS[method](frame.iloc[order])
        names = [n for n in one if not n.startswith("Metadata_")]
        np.testing.assert_allclose(one[names].iloc[order], other[names], rtol=1e-6, atol=1e-8)
