"""`poolvox profile` on simulated tables."""

import json

import numpy as np
import pandas as pd
import pytest

from poolvox.shared.cli import run_command
from poolvox.shared.cli.profiles import _tell_hits
from poolvox.shared.profiles import Profiles, TableParams, simulate_screen_tables
from poolvox.shared.store import read_table, write_table

CONFIG = "hits: {enabled: false}\nmap: {method: pca}\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = TableParams(genes=6, guides=2, controls=4, cells=20, features=15)
    objects = simulate_screen_tables(params, np.random.default_rng(0)).objects
    (tmp_path / "objects").mkdir()
    half = len(objects) // 2
    write_table(objects.iloc[:half], tmp_path / "objects/1.parquet")
    write_table(objects.iloc[half:], tmp_path / "objects/2.parquet")
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path


def test_tables_become_profiles(folder, capsys):
    code = run_command(["profile", "objects", "-c", "config.yaml", "-o", "out", "--quiet"])
    said = capsys.readouterr()
    assert code == 0
    assert "15 of 15 features kept" in said.out
    assert "profiles of 12 wells, 16 guides, 7 genes" in said.out
    assert said.err == ""
    assert {path.stem for path in (folder / "out").glob("*.parquet")} >= {
        *("objects", "wells", "guides", "genes", "record", "counts", "map", "similarity"),
    }
    assert (folder / "out/record.csv").exists()
    assert "report: " in said.out
    page = (folder / "out/report.html").read_text(encoding="utf-8")
    assert "15 of 15 kept" in page


def test_doses_are_told_with_their_hits(folder, capsys):
    table = {"Metadata_Treatment": ["taxol"], "Metadata_Dose": [2.5], "Hit_Effect": [1.0]}
    path = write_table(pd.DataFrame(table), folder / "hits.parquet")
    _tell_hits(Profiles({"hits": path}, {}, pd.DataFrame()))
    assert "2.5" in capsys.readouterr().out


def test_the_report_is_at_the_rate_that_was_asked_for(folder, capsys):
    options = ["--set", "map.method=pca", "--set", "hits.fdr=0.3", "-o", "out", "--json"]
    assert run_command(["profile", "objects", *options]) == 0
    report = json.loads(capsys.readouterr().out)["paths"]["report"]
    with open(report, encoding="utf-8") as page:
        assert "hits at a false discovery rate of 30%" in page.read()


def test_files_may_be_given_and_json_asked_for(folder, capsys):
    files = ["objects/2.parquet", "objects/1.parquet"]
    arguments = ["profile", *files, "--set", "hits.enabled=false", "--set", "by=none", "--json"]
    assert run_command([*arguments, "--set", "map.method=pca"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["facts"]["genes"] == 7
    objects = read_table(said["paths"]["objects"])
    first = read_table(folder / "objects/2.parquet")
    assert objects.Metadata_Label.head(9).tolist() == first.Metadata_Label.head(9).tolist()
    assert said["facts"]["skipped"] == []


def test_the_block_of_a_larger_configuration_is_taken(folder, capsys):
    (folder / "screen.yaml").write_text(
        "pipeline: ops\noutput: x\nprofiles:\n  normalize: standardize\n  by: plate\n"
        "  hits: {enabled: false}\n  map: {method: pca}\n"
    )
    assert run_command(["profile", "objects", "-c", "screen.yaml", "-o", "out", "--quiet"]) == 0
    features = read_table(folder / "out/features.parquet")
    assert set(features.Feature_Group) == {"P1", "P2"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("normalise: standardize", "config.yaml:1: normalise: there is no such key; did you mean"),
        ("profiles:\n  by: plate\n  selct: {}", "config.yaml:3: selct"),
        ("profiles: 3", "config.yaml:1: profiles: expected a block"),
        ("normalize: zscore", "config.yaml:1: normalize"),
        ("by: batch", "by: there is no column 'Metadata_Batch'; there are Metadata_Plate"),
        ("samples: Metadata_Gene == 'nobody'", "no rows of P1, P2 match"),
        ("select: {missing: 2}", "config.yaml:1: select.missing"),
        ("features: ['Organoids_*']", "no columns to measure by"),
        ("quality: {rules: [nope]}", "no quality rules 'nope'"),
        ("correct: {method: tvn}\ncontrols: nobody", "controls"),
        ("annotate: [{table: map.csv, on: Metadata_Well}]", "map.csv does not exist"),
        ("embeddings: {}", "give the plate by --plate"),
    ],
)
def test_mistakes_end_in_one_message(folder, capsys, config, message):
    (folder / "config.yaml").write_text(config)
    assert run_command(["profile", "objects", "-c", "config.yaml", "-o", "out", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_a_plate_map_makes_treatments(folder):
    wells = [f"A{k + 1}" for k in range(6)]
    plate = {"well": wells, "Treatment": ["vehicle", "x"] * 3}
    pd.DataFrame(plate).to_csv(folder / "map.csv", index=False)
    (folder / "config.yaml").write_text(
        CONFIG + "annotate: [{table: map.csv, on: well}]\n"
        "gene: treatment\nguide: none\ncontrols: vehicle\n"
    )
    assert run_command(["profile", "objects", "-c", "config.yaml", "-o", "out", "--quiet"]) == 0
    genes = read_table(folder / "out/genes.parquet")
    assert genes.Metadata_Treatment.tolist() == ["vehicle", "x"]
    assert genes.Metadata_Profiles.tolist() == [6, 6]
    assert "Metadata_Treatment" in read_table(folder / "out/wells.parquet")
    # Two treatments make no map; their wells do.
    assert len(read_table(folder / "out/map.parquet")) == 12


def test_no_objects_are_told(folder, capsys):
    empty = read_table(folder / "objects/1.parquet").head(0)
    write_table(empty, folder / "empty.parquet")
    assert run_command(["profile", "empty.parquet", "--quiet"]) == 2
    assert "there are no objects in empty.parquet" in capsys.readouterr().err
