"""Chapters of the report, from the tables that a run leaves."""

import numpy as np
import pandas as pd
import pytest

from poolvox.shared.profiles.sections import profile_sections
from poolvox.shared.report.page import write_report
from poolvox.shared.store import read_table, write_table


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    genes = [f"gene{k:02}" for k in range(30)]
    p = np.concatenate([[0.0, 1e-9, 1e-5], np.sort(rng.uniform(0.1, 1, 26)), [np.nan]])
    hits = pd.DataFrame(
        {
            "Metadata_Gene": genes,
            "Hit_Effect": np.linspace(2, 0, 30),
            "Hit_Score": [*np.linspace(9, -2, 29), np.nan],
            "Hit_PValue": p,
            "Hit_QValue": np.minimum(p * 3, 1),
            "Hit_Cells": 100,
            "Hit_Reason": [""] * 29 + ["fewer than 5 cells"],
        }
    )
    places = pd.DataFrame(rng.standard_normal((30, 2)), columns=["Embed_1", "Embed_2"])
    places = places.assign(Metadata_Gene=genes, Metadata_Cluster=[0, 1, -1] * 10)
    near = pd.DataFrame({"Metadata_Gene": genes[:3], "Metadata_Neighbour": genes[1:4]})
    mixing = pd.DataFrame(
        {
            "Metadata_Table": ["before", "after"],
            "Mixing_Neighbours": [0.2, 0.9],
            "Mixing_Variance": [0.5, 0.03],
            "Mixing_Expected": [0.02, 0.02],
            "Mixing_Precision": [0.4, np.nan],
        }
    )
    record = pd.DataFrame(
        {
            "step": ["select"] * 5,
            "what": ["dropped"] * 5,
            "name": list("abcde"),
            "reason": [f"correlated beyond 0.9 with f{k}" for k in range(4)] + ["variance"],
            "value": [0.9] * 5,
        }
    )
    tables = {
        "hits": hits,
        "guide_hits": hits.rename(columns={"Metadata_Gene": "Metadata_Guide"}),
        "map": places,
        "similarity": near.assign(Similarity_Rank=1, Similarity_Value=0.91),
        "mixing": mixing,
        "record": record,
    }
    for name, table in tables.items():
        write_table(table, tmp_path / "profiles" / f"{name}.parquet")
    return tmp_path / "profiles"


def test_all_chapters_are_there(folder):
    sections = profile_sections(folder)
    assert [section.title for section in sections] == ["Hits", "Map", "Batches", "What was dropped"]
    hits, places, batches, record = sections
    facts = dict(hits.facts)
    assert facts["tested"] == "29 of 30"
    assert facts["hits at a false discovery rate of 5%"] == "3"
    assert facts["not tested: fewer than 5 cells"] == "1"
    assert len(hits.figures) == 4
    assert hits.tables[0].whole == "profiles/hits.parquet"
    assert dict(places.facts)["clusters"] == "2"
    assert "gene01 (0.91)" in places.tables[1].frame["most like"].iloc[0]
    assert len(batches.figures) == 1
    assert record.tables[0].frame["number"].tolist() == [4, 1]
    assert record.tables[0].frame["such as"].iloc[0] == "a, b, c, …"


def test_names_in_any_letters_are_drawn(folder):
    hits = read_table(folder / "hits.parquet")
    hits["Metadata_Gene"] = [f"遺伝子{k}" for k in range(len(hits))]
    write_table(hits, folder / "hits.parquet")
    section = profile_sections(folder)[0]
    assert section.tables[0].frame["gene"].iloc[0].startswith("遺伝子")


def test_what_was_learned_is_told(folder):
    quality = pd.DataFrame(
        {"Metadata_Class": ["round", "long", "all"], "Class_Cells": [30, 20, 50]}
    )
    bins = {"Bin_Stated": [0.6, 0.95], "Bin_Observed": [0.5, 1.0], "Bin_Cells": [20, 30]}
    shuffled = {"Metadata_FeatureGroup": ["Shape", "Texture"], "Importance_LogLoss": [0.1, 0.4]}
    blocks = {"Metadata_Block": ["measured", "learned", "both"], "Block_MAP": [0.5, 0.4, 0.6]}
    tables = {
        "classifier_quality": quality.assign(Class_F1=[0.9, np.nan, 0.8]),
        "calibration": pd.DataFrame(bins),
        "importances": pd.DataFrame(shuffled).assign(Importance_LogLossError=0.02),
        "label_report": pd.DataFrame({"Label_Status": ["same", "same", "lost"]}),
        "classes": pd.DataFrame({"Class_Name": ["round", "long", "round"]}),
        "ablation": pd.DataFrame(blocks),
    }
    for name, table in tables.items():
        write_table(table, folder / f"{name}.parquet")
    found = {section.title: section for section in profile_sections(folder)}
    classes, kinds = found["Phenotype classes"], found["Measured and learned features"]
    assert dict(classes.facts)["labelled cells"] == "50"
    assert len(classes.figures) == 2
    assert classes.tables[1].frame["number"].tolist() == [2, 1]
    assert classes.tables[2].frame["cells"].tolist() == [1, 2]
    assert kinds.tables[0].frame["mAP"].tolist() == [0.5, 0.4, 0.6]


def test_they_make_a_report(folder, tmp_path):
    path = write_report(tmp_path / "report.html", title="Screen", sections=profile_sections(folder))
    text = path.read_text(encoding="utf-8")
    assert "gene00" in text
    assert text.count("data:image/png") == 6
    again = [figure.png for section in profile_sections(folder) for figure in section.figures]
    once = [figure.png for section in profile_sections(folder) for figure in section.figures]
    assert again == once


def test_what_is_not_there_is_left_out(folder, tmp_path):
    assert profile_sections(tmp_path / "none") == []
    (folder / "hits.parquet").unlink()
    (folder / "mixing.parquet").unlink()
    assert [section.title for section in profile_sections(folder)] == ["Map", "What was dropped"]


def test_the_best_hits_come_first_among_look_alikes(folder):
    hits = pd.read_parquet(folder / "hits.parquet").iloc[::-1]
    write_table(hits.assign(Hit_QValue=1.0), folder / "hits.parquet")
    places = next(part for part in profile_sections(folder) if part.title == "Map")
    assert places.tables[1].frame["profile"].tolist() == ["gene02", "gene01", "gene00"]
    assert places.tables[1].caption == "What profiles look like"


def test_the_line_of_a_volcano_is_told_where_it_is_drawn(folder):
    assert "dashed line" in profile_sections(folder)[0].figures[0].caption
    hits = pd.read_parquet(folder / "hits.parquet").assign(Hit_QValue=1.0)
    write_table(hits, folder / "hits.parquet")
    caption = profile_sections(folder)[0].figures[0].caption
    assert "dashed" not in caption
    assert "No hits at 5%" in caption


def test_nothing_found_is_a_report_too(folder):
    hits = pd.read_parquet(folder / "hits.parquet").assign(Hit_PValue=0.5, Hit_QValue=1.0)
    write_table(hits, folder / "hits.parquet")
    assert dict(profile_sections(folder)[0].facts)["hits at a false discovery rate of 5%"] == "0"
    write_table(hits.assign(Hit_PValue=np.nan, Hit_Score=np.nan), folder / "hits.parquet")
    assert dict(profile_sections(folder)[0].facts)["tested"] == "0 of 30"
