"""The chapters on what was learned: classes of phenotypes, features of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import pandas as pd

from poolvox.shared.profiles.report.pictures import show_calibration, show_shares
from poolvox.shared.report.section import Figure, Section, Table

__all__ = ["learning_sections"]

QUALITY_COLUMNS: Final = {
    "Metadata_Class": "class",
    "Class_Cells": "labelled cells",
    "Class_Precision": "precision",
    "Class_Recall": "recall",
    "Class_F1": "F1",
}
BLOCK_COLUMNS: Final = {
    "Metadata_Block": "features",
    "Block_Features": "number",
    "Block_MAP": "mAP",
    "Block_Found": "found at 5 % FDR",
    "Block_NeighbourAccuracy": "named rightly by neighbours",
}
# Groups of features in the picture of importances.
SHOWN: Final = 15

Reader = Callable[[str], "pd.DataFrame | None"]


def learning_sections(read: Reader, whole: Callable[[str], str]) -> Iterator[Section]:
    """Tell how good classes are, what they rest on, and what learned features add.

    Parameters
    ----------
    read : gives a table of the folder by name, or None
    whole : where the whole table is, in words
    """
    quality, blocks = read("classifier_quality"), read("ablation")
    if quality is not None and len(quality):
        yield _classes(quality, read, whole)
    if blocks is not None and len(blocks):
        yield _blocks(blocks, whole)


def _classes(quality: pd.DataFrame, read: Reader, whole: Callable[[str], str]) -> Section:
    tables = [
        Table(_renamed(quality, QUALITY_COLUMNS), "Held-out cells", whole("classifier_quality"))
    ]
    figures: list[Figure] = []
    calibration, importances = read("calibration"), read("importances")
    report, classes = read("label_report"), read("classes")
    if calibration is not None and len(calibration):
        figures.append(
            show_calibration(
                calibration,
                "How often calls are right, by how sure they are; on the line they are as often "
                "right as they say.",
            )
        )
    if importances is not None and len(importances):
        best = importances.sort_values("Importance_LogLoss", ascending=False).head(SHOWN)
        figures.append(
            show_shares(
                best["Metadata_FeatureGroup"],
                best["Importance_LogLoss"],
                "What the classes rest on: loss of held-out cells when the features of a group are "
                "shuffled together, less the loss as it is.",
                label="additional log loss",
                errors=best["Importance_LogLossError"],
            )
        )
    if report is not None and "Label_Status" in report:
        counts = report["Label_Status"].replace("", "used").value_counts()
        told = pd.DataFrame({"labels": counts.index.astype(str), "number": counts.to_numpy()})
        tables.append(Table(told, "Labels that were read", whole("label_report")))
    if classes is not None and "Class_Name" in classes:
        counts = classes["Class_Name"].value_counts().sort_index()
        told = pd.DataFrame({"class": counts.index.astype(str), "cells": counts.to_numpy()})
        tables.append(Table(told, "What all cells were taken for", whole("classes")))
    return Section(
        "Phenotype classes",
        "Learned from labelled cells and judged on groups (wells or guides) that were held out. "
        "Cells worth a label next are in to_label.csv.",
        facts=(("labelled cells", f"{int(quality['Class_Cells'].iloc[-1]):,}"),),
        tables=tuple(tables),
        figures=tuple(figures),
    )


def _blocks(blocks: pd.DataFrame, whole: Callable[[str], str]) -> Section:
    figure = show_shares(
        blocks["Metadata_Block"],
        blocks["Block_MAP"],
        "How well profiles of one perturbation find each other by measured features, by learned "
        "ones, and by both.",
        label="mean average precision",
    )
    return Section(
        "Measured and learned features",
        "The same profiles compared by each kind of features alone and by both together.",
        tables=(Table(_renamed(blocks, BLOCK_COLUMNS), "Kinds of features", whole("ablation")),),
        figures=(figure,),
    )


def _renamed(table: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    there = {name: words for name, words in columns.items() if name in table}
    return table[list(there)].rename(columns=there)
