"""From a folder of tables to hits: planted genes are found, and the rest goes on without them."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from poolvox.shared.errors import InputError
from poolvox.shared.profiles import (
    ProfilesConfig,
    TableParams,
    make_profiles,
    simulate_plate,
    simulate_screen_tables,
)
from poolvox.shared.profiles.config import column_of
from poolvox.shared.store import read_table, write_table

PARAMS = TableParams(genes=12, guides=3, controls=8, cells=40, features=25, active=0.34, effect=2)


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("screen")
    made = simulate_screen_tables(PARAMS, np.random.default_rng(1))
    write_table(made.objects, folder / "objects.parquet")
    (folder / "sets.gmt").write_text("pathway\tx\tgene001\tgene002\tgene003\n")
    config = ProfilesConfig(
        map={"method": "pca", "neighbours": 4},
        gene_sets=str(folder / "sets.gmt"),
        aggregate={"bootstrap": 20},
        export={"formats": ["csv"], "tables": ["genes"]},
    )
    seen = []
    profiles = make_profiles(
        folder / "objects.parquet", config, folder / "out", progress=lambda *at: seen.append(at)
    )
    return made, profiles, seen


def test_planted_genes_are_hits(screen):
    made, profiles, _ = screen
    hits = read_table(profiles.paths["hits"])
    truth = made.active
    called = set(hits.loc[hits.Hit_QValue < 0.05, "Metadata_Gene"])
    assert len(truth) == 4
    assert len(called & truth) >= 3
    assert len(called - truth) <= 1
    assert profiles.facts["active"] == len(called)
    assert hits.Hit_QValue.is_monotonic_increasing
    assert "nontargeting" not in set(hits.Metadata_Gene)


def test_every_step_leaves_its_table(screen):
    _, profiles, seen = screen
    assert set(profiles.paths) >= {
        *("objects", "guides", "genes", "wells", "intervals", "counts", "features", "record"),
        *("hits", "guide_hits", "similarity", "map", "enrichment"),
    }
    assert all(path.exists() for path in profiles.paths.values())
    assert (profiles.paths["genes"].parent / "genes.csv").exists()
    shares = [share for _, share in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert profiles.facts["skipped"] == []


def test_every_column_that_is_no_measurement_is_explained(screen):
    _, profiles, _ = screen
    told = pd.read_csv(profiles.paths["genes"].parent / "columns.csv", keep_default_na=False)
    assert set(told["table"]) == {name for name in profiles.paths if not name.endswith(".csv")}
    assert (told["meaning"] != "").all()
    columns = told[told["column"] != ""].set_index("table")
    for name in ("hits", "map", "counts", "mixing", "record"):
        if name in profiles.paths:
            assert list(columns.loc[name, "column"]) == list(read_table(profiles.paths[name]))
    # Nothing that we add is unknown; a key of the user's own would be.
    assert not told["meaning"].str.startswith("key, as").any()


def test_genes_without_controls_have_no_hits_but_all_else(screen, tmp_path):
    _, profiles, _ = screen
    source = profiles.paths["objects"].parent.parent / "objects.parquet"
    config = ProfilesConfig(controls="nobody", map={"method": "pca"})
    write_table(read_table(source).head(1), tmp_path / "hits.parquet")
    made = make_profiles(source, config, tmp_path)
    assert not (tmp_path / "hits.parquet").exists()
    assert "hits" not in made.paths
    assert "genes" in made.paths
    assert len(made.facts["skipped"]) == 1
    assert made.facts["skipped"][0].startswith("hits: ")


def test_the_treated_wells_of_a_plate_separate(tmp_path):
    params = TableParams(genes=6, guides=4, cells=25, features=25, active=0.5, effect=2.5)
    made = simulate_plate(params, np.random.default_rng(3))
    write_table(made.objects, tmp_path / "objects.parquet")
    config = ProfilesConfig(
        gene="treatment", guide="none", controls="vehicle", map={"method": "pca"}
    )
    profiles = make_profiles(tmp_path / "objects.parquet", config, tmp_path / "out")
    assert {"organoids", "wells", "genes", "hits"} <= set(profiles.paths)
    hits = read_table(profiles.paths["hits"])
    assert len(hits) == 6
    best = set(hits.Metadata_Treatment.head(len(made.active)))
    assert len(best & made.active) >= len(made.active) - 1


# How a table may call its genes, and the configuration the controls among them.
NAMES = {
    "a column of the user's own": ({"Metadata_Gene": "Metadata_Compound"}, str, "nontargeting"),
    "a column with blanks": ({"Metadata_Gene": "Metadata_gene symbol-x"}, str, "nontargeting"),
    "numbers": ({}, lambda name: sum(map(ord, name)), str(sum(map(ord, "nontargeting")))),
    "what looks like a query": (
        {},
        lambda name: f"{name} (0.1%) = 'x'",
        "nontargeting (0.1%) = 'x'",
    ),
    "what no query could hold": ({}, lambda name: f"#1 `{name} \"'", "#1 `nontargeting \"'"),
}


@pytest.mark.parametrize("case", NAMES)
def test_genes_and_controls_may_be_called_anything(case, tmp_path):
    columns, rename, controls = NAMES[case]
    params = replace(PARAMS, genes=3, guides=2, controls=5, cells=40, uncalled=0, effect=3)
    made = simulate_screen_tables(params, np.random.default_rng(1))
    named = made.objects.assign(Metadata_Gene=made.objects["Metadata_Gene"].map(rename))
    gene = columns.get("Metadata_Gene", "Metadata_Gene")
    config = ProfilesConfig(gene=gene, controls=controls, map={"method": "pca"})
    found = make_profiles(named.rename(columns=columns), config, tmp_path / "found")
    assert found.facts["skipped"] == []
    hits = read_table(found.paths["hits"])
    (active,) = made.active
    assert hits[gene].iloc[0] == rename(active)
    assert set(hits[gene]) == {rename(f"gene00{k}") for k in (1, 2, 3)}
    told = pd.read_csv(tmp_path / "found" / "columns.csv", keep_default_na=False)
    assert ((told["table"] == "hits") & (told["column"] == gene)).any()


def test_controls_that_are_not_there_are_told_with_what_there_is(tmp_path):
    params = replace(PARAMS, genes=3, guides=1, controls=2, cells=10)
    objects = simulate_screen_tables(params, np.random.default_rng(1)).objects
    config = ProfilesConfig(controls="Non-Targeting", map={"method": "pca"})
    (told,) = make_profiles(objects, config, tmp_path / "none").facts["skipped"]
    assert told.endswith("match no object by Metadata_Gene; did you mean nontargeting?")
    config = ProfilesConfig(controls=["nontargeting", "safe"], map={"method": "pca"})
    record = make_profiles(objects, config, tmp_path / "one").record
    assert record.set_index("name").loc["safe", "reason"] == "no object has it in Metadata_Gene"


def test_plates_without_controls_are_told(tmp_path):
    params = replace(PARAMS, genes=3, guides=2, controls=5)
    objects = simulate_screen_tables(params, np.random.default_rng(1)).objects
    control = objects["Metadata_Gene"] == "nontargeting"
    lone = objects[~control | (objects["Metadata_Plate"] == "P1")]
    config = ProfilesConfig(map={"method": "pca"})
    (told,) = make_profiles(lone, config, tmp_path / "out").facts["skipped"]
    assert re.fullmatch(r"hits: P2 has no controls to compare its \d+ objects with", told)


def test_tables_that_are_there_twice_are_told(screen, tmp_path):
    made, profiles, _ = screen
    twice = pd.concat([made.objects, made.objects])
    config = ProfilesConfig(hits={"enabled": False}, map={"method": "pca"})
    (told,) = make_profiles(twice, config, tmp_path / "out").facts["skipped"]
    assert told == (
        f"{len(made.objects):,} objects are called like others (Plate, Well, Tile, Label): "
        "is a table there twice?"
    )
    assert profiles.facts["skipped"] == []


def test_doses_that_nobody_asked_for_are_told(tmp_path):
    params = replace(PARAMS, genes=3, controls=6, guides=2, plates=1)
    objects = simulate_plate(params, np.random.default_rng(1), doses=(1.0, 10.0)).objects
    config = ProfilesConfig(gene="treatment", guide="none", controls="vehicle")
    (told,) = make_profiles(objects, config, tmp_path / "one").facts["skipped"]
    assert told == (
        "doses: Metadata_Dose differs within Metadata_Treatment; "
        "`hits: {dose: Metadata_Dose}` tests each"
    )
    asked = ProfilesConfig(**config.model_dump() | {"hits": {"dose": "dose"}})
    assert make_profiles(objects, asked, tmp_path / "each").facts["skipped"] == []


def test_measurements_alone_are_normalised(tmp_path):
    made = simulate_screen_tables(replace(PARAMS, genes=3), np.random.default_rng(1))
    found = make_profiles(made.objects[made.features], out=tmp_path)
    assert len(read_table(found.paths["objects"])) == len(made.objects)
    assert "genes" not in found.paths


def test_flags_with_gaps_flag_and_numbers_do_not(tmp_path):
    params = replace(PARAMS, genes=3, guides=1, controls=2, cells=30)
    objects = simulate_screen_tables(params, np.random.default_rng(1)).objects
    flags = np.full(len(objects), False, object)
    flags[:5], flags[5:9] = True, None
    table = objects.assign(QC_Mine=flags, QC_Number=1)
    found = make_profiles(table, ProfilesConfig(map={"method": "pca"}), tmp_path)
    assert found.facts["flagged"] == 5
    told = found.record.set_index("name").loc["QC_Number", "reason"]
    assert told.endswith("so it flags nothing")


def test_objects_are_not_replaced_by_their_own_profiles(screen):
    _, profiles, _ = screen
    path = profiles.paths["objects"]
    with pytest.raises(InputError, match="would replace their own objects"):
        make_profiles(path, out=path.parent)


@pytest.mark.parametrize("name", ["wells.parquet", "organoids.parquet"])
def test_objects_called_like_profiles_are_not_replaced(name, tmp_path):
    made = simulate_screen_tables(replace(PARAMS, genes=3, cells=10), np.random.default_rng(1))
    path = write_table(made.objects, tmp_path / name)
    with pytest.raises(InputError, match=f"is called {name} too"):
        make_profiles(path, out=tmp_path)
    assert len(read_table(path)) == len(made.objects)


def test_short_names_of_columns():
    config = ProfilesConfig(by="plate", gene="treatment", guide="none")
    assert config.by == ("Metadata_Plate",)
    assert config.gene == "Metadata_Treatment"
    assert config.guide == "none"
    assert ProfilesConfig(by="none").by == ()
    assert column_of("Image_Metadata_Plate") == "Image_Metadata_Plate"


WRONG = {
    "a gene column that is not there": ({"gene": "Metadata_Symbol"}, "no column 'Metadata_Symbol'"),
    "a weight that is not there": ({"aggregate": {"weights": "Call_P"}}, "no column 'Call_P'"),
    "gene sets that are not there": ({"gene_sets": "none.gmt"}, "none.gmt"),
    "a query that is none": ({"controls": "Metadata_Gene =="}, "invalid syntax"),
    "groups that are not there": ({"by": "Metadata_Batch"}, "by: there is no column"),
    "a name nearly right": ({"by": "plates"}, "did you mean Metadata_Plate?"),
    "batches that are not there": (
        {"correct": {"method": "combat", "by": "batch"}},
        "correct: by: there is no column 'Metadata_Batch'",
    ),
    "a dose that is not there": ({"hits": {"dose": "dose"}}, "hits: dose: there is no column"),
    "weights that are no numbers": (
        {"aggregate": {"weights": "Metadata_Well"}},
        "weights are numbers",
    ),
    "genes as their own guides": ({"guide": "gene"}, "guide and gene are both Metadata_Gene"),
    "features that are not there": ({"features": "Golgi_*"}, "there: Nuclei"),
    "a step that needs places": (
        {"local": {}, "quality": {"rules": "none"}},
        "neighbours in space",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_was_asked_for_and_is_not_there_is_told(case, tmp_path):
    params = replace(PARAMS, genes=3, guides=1, controls=2, cells=10)
    objects = simulate_screen_tables(params, np.random.default_rng(1)).objects
    objects = objects.drop(columns=["Metadata_Y_um", "Metadata_X_um"])
    wrong, message = WRONG[case]
    with pytest.raises(InputError, match=re.escape(message)):
        make_profiles(objects, ProfilesConfig.model_validate(wrong), tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, names: t.head(0), "no objects"),
        (lambda t, names: t.head(1), "none of 25 features is left: 25 missing"),
        (lambda t, names: t.assign(**dict.fromkeys(names, np.float32(1))), "25 without spread"),
        (lambda t, names: t.assign(**dict.fromkeys(names, np.float32(np.nan))), "25 missing"),
        (lambda t, names: t.drop(columns=names), "no columns to measure by"),
        (lambda t, names: t.assign(QC_Mine=True), r"flags all \d+ objects \(QC_Mine \d+\)"),
    ],
)
def test_tables_that_hold_nothing_say_so(change, message, tmp_path):
    params = replace(PARAMS, genes=3, guides=1, controls=2, cells=10)
    made = simulate_screen_tables(params, np.random.default_rng(1))
    with pytest.raises(InputError, match=message):
        make_profiles(change(made.objects, made.features), out=tmp_path / "out")


def test_odd_columns_change_nothing_and_nothing_is_lost(tmp_path):
    params = replace(PARAMS, genes=3, guides=2, controls=4, cells=15)
    made = simulate_screen_tables(params, np.random.default_rng(1))
    objects = made.objects
    first = made.features[0]
    odd = objects.assign(
        Cells_Flag=objects[first] > 0,
        Cells_Word="7.5",
        Cells_Empty=np.float32(np.nan),
        Cells_Same=np.float32(1),
        Metadata_Plate=objects["Metadata_Plate"].astype("category"),
        Metadata_Gene=objects["Metadata_Gene"].astype("category"),
    )
    config = ProfilesConfig(map={"method": "pca"})
    plain, found = (make_profiles(t, config, tmp_path / n) for n, t in (("a", objects), ("b", odd)))
    for name in ("hits", "genes", "map"):
        one, other = read_table(plain.paths[name]), read_table(found.paths[name])
        assert list(one) == list(other)
        np.testing.assert_array_equal(one.select_dtypes("number"), other.select_dtypes("number"))
    kept = read_table(found.paths["objects"])
    assert {"Cells_Flag", "Cells_Word"} <= set(kept)
    assert len(kept) == len(objects)
    told = found.record.set_index("name")["reason"]
    assert told["Cells_Flag"] == "holds true and false, so it is no measurement"
    assert told["Cells_Word"] == "holds text, so it is no measurement"
    assert told["Cells_Empty"] == "no values in the reference"
    assert told["Cells_Same"] == "zero spread in every group"
