"""The step that learns phenotypes: labels in, classes of all cells and what to label next out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import pandas as pd
from pydantic import Field

from poolvox.shared.config import ConfigPath, Model
from poolvox.shared.profiles.learn.classifier import (
    SCALE_ROWS,
    Classifier,
    LearnSettings,
    class_columns,
    fit_classifier,
    fit_scaler,
)
from poolvox.shared.profiles.learn.crossval import CrossValidation, cross_validate
from poolvox.shared.profiles.learn.labelling import (
    CLASS,
    FIELD,
    LABEL,
    Matched,
    match_labels,
    number_objects,
    read_labels,
    write_labels,
)
from poolvox.shared.profiles.learn.suggestions import choose_cells
from poolvox.shared.profiles.tables.columns import flagged_rows
from poolvox.shared.profiles.tables.datasets import ObjectTables
from poolvox.shared.store import write_table

__all__ = ["LearnConfig", "Learned", "learn_classes", "learn_step", "suggest_cells"]

# Groups that are taken where the asked ones do not part the labelled cells.
FALLBACKS: Final = ("Metadata_Well", "Metadata_Tile", "Metadata_Site", "Metadata_Organoid")
# Right probabilities are this far off in one of a hundred experiments.
DOUBTFUL: Final = 0.01


class LearnConfig(Model):
    """How phenotype classes are learned from labelled cells.

    Attributes
    ----------
    labels : CSV of labelled cells: keys, position and class
    column : the column of the file with the class
    groups : held out as a whole when the classifier is judged: a well, or a guide
    distance : how far, in micrometres, a cell may lie from its label
    suggest : how many cells to ask for next; 0 for none
    """

    labels: ConfigPath
    column: str = CLASS
    groups: str = "Metadata_Well"
    distance: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3.0
    folds: Annotated[int, Field(ge=2)] = 5
    suggest: Annotated[int, Field(ge=0)] = 50
    seed: int = 0

    def settings(self) -> LearnSettings:
        """Settings of the fit."""
        return LearnSettings(folds=self.folds, seed=self.seed)


@dataclass(frozen=True, slots=True)
class Learned:
    """What was learned.

    Attributes
    ----------
    classes : the `Class_` columns of every cell, with the index of the table
    tables : `classifier_quality`, `calibration`, `importances`, `label_report` and `to_label`
    facts : numbers for the report: accuracy, ECE, ...
    notes : sentences that the reader should know
    """

    classes: pd.DataFrame
    classifier: Classifier
    tables: dict[str, pd.DataFrame]
    facts: dict[str, float]
    notes: list[str] = field(default_factory=list)


def learn_classes(frame: pd.DataFrame, config: LearnConfig) -> Learned:
    """Learn from the labels of a file, judge on held-out groups, and predict every cell.

    Cells that a `QC_` column flags are predicted as well, but neither learned from nor asked for.

    Parameters
    ----------
    frame : keys, positions and features, one row per cell; best normalised
    """
    labels = read_labels(config.labels, column=config.column)
    frame = number_objects(frame)
    matched = match_labels(labels, frame, distance_um=config.distance)
    learned = _learn(frame, matched, config)
    return replace(learned, classes=learned.classifier.predict(frame))


def learn_step(
    objects: ObjectTables, config: LearnConfig, out: Path, *, memory: int = 2**28
) -> tuple[Learned, dict[str, Path]]:
    """Learn from tables that may be larger than memory, and write what comes of it.

    `classes.parquet` holds the keys and classes of all cells in their order, `classifier.json` the
    classifier, `to_label.csv` the cells to label next, and the other tables lie beside them.
    Features are scaled by, and cells to label next chosen from, cells spread evenly over all.

    Parameters
    ----------
    memory : bytes that measurements may take while labelled cells are looked up
    """
    keys = number_objects(objects.frame(objects.keys))
    labels = read_labels(config.labels, column=config.column)
    matched = match_labels(labels, keys, distance_um=config.distance)
    named = np.flatnonzero((matched.classes != "").to_numpy())
    spread = np.linspace(0, len(keys) - 1, min(SCALE_ROWS, len(keys))).astype(int)
    rows = np.union1d(named, spread)
    values = objects.rows_of(rows, objects.features, memory)
    features = pd.DataFrame(values, columns=list(objects.features), index=rows)
    frame = pd.concat([keys.iloc[rows].set_axis(rows), features], axis=1)
    some = Matched(matched.classes.iloc[rows].set_axis(rows), matched.report)
    learned = _learn(frame, some, config)
    scaler, classifier = learned.classifier.scaler, learned.classifier
    found = np.empty((len(keys), len(classifier.classes)), np.float32)
    for start, block in objects.row_blocks(scaler.features):
        found[start : start + len(block)] = classifier.probabilities(scaler.scaled(block))
    learned = replace(learned, classes=class_columns(found, classifier.classes, keys.index))
    return learned, _write(learned, keys, out)


def _write(learned: Learned, keys: pd.DataFrame, out: Path) -> dict[str, Path]:
    own = [name for name in keys if str(name).startswith("Metadata_")]
    tables = {"classes": keys[own].join(learned.classes), **learned.tables}
    paths = {name: write_table(table, out / f"{name}.parquet") for name, table in tables.items()}
    paths["classifier"] = out / "classifier.json"
    paths["classifier"].write_text(learned.classifier.to_json(), encoding="utf-8")
    if "to_label" in learned.tables:
        asked = ("Class_Name", "Class_Probability")
        write_labels(learned.tables["to_label"], out / "to_label.csv", extra=asked)
    return paths


def _learn(frame: pd.DataFrame, matched: Matched, config: LearnConfig) -> Learned:
    """Judge and fit on the labelled rows; the classes of all rows are still to come."""
    classes = matched.classes.mask(flagged_rows(frame), "")
    groups, notes = _groups(frame, classes, config.groups)
    notes += _label_notes(matched.counts)
    settings = config.settings()
    judged = cross_validate(frame, classes, groups, settings=settings)
    model = fit_classifier(frame, classes, groups, settings=settings)
    tables = {
        "classifier_quality": judged.quality,
        "calibration": judged.calibration,
        "importances": judged.importances,
        "label_report": matched.report,
    }
    if config.suggest:
        free = (classes == "").to_numpy() & ~flagged_rows(frame)
        tables["to_label"] = suggest_cells(
            frame, config.suggest, model=model, free=free, seed=config.seed
        )
    notes += _quality_notes(judged)
    return Learned(pd.DataFrame(index=frame.index), model, tables, judged.facts, notes)


def suggest_cells(
    frame: pd.DataFrame,
    count: int,
    *,
    model: Classifier | None = None,
    free: Any = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Keys of the cells that are worth a label next, with what the classifier takes them for.

    Without a classifier, before the first labels, cells that stand for all are chosen.
    """
    scaler = fit_scaler(frame) if model is None else model.scaler
    scaled = scaler(frame)
    shares = None if model is None else model.probabilities(scaled)
    rng = np.random.default_rng([seed, 11])
    chosen = choose_cells(scaled, shares, count, free=free, rng=rng)
    keys = [*FIELD, LABEL, *(f"Metadata_{axis}{unit}" for unit in ("", "_um") for axis in "ZYX")]
    table = frame.iloc[chosen][[name for name in keys if name in frame]].reset_index(drop=True)
    if model is not None:
        told = model.predict(frame.iloc[chosen]).reset_index(drop=True)
        table = table.join(told[["Class_Name", "Class_Probability", "Class_Margin"]])
    return table.assign(**{CLASS: ""})


def _groups(
    frame: pd.DataFrame, classes: pd.Series[Any], wanted: str
) -> tuple[pd.Series[Any] | None, list[str]]:
    """Groups of the cells, by the first column that parts the labelled ones."""
    rows = (classes != "").to_numpy()
    for name in dict.fromkeys((wanted, *FALLBACKS)):
        if name not in frame:
            continue
        # A tile is called the same in every well: names count within the levels above theirs.
        above = FIELD[: FIELD.index(name)] if name in FIELD else ()
        joined = frame[name].astype(str)
        for level in (key for key in reversed(above) if key in frame):
            joined = frame[level].astype(str) + "/" + joined
        if joined[rows].nunique() > 1:
            told = f"the labelled cells are of one {wanted}; the classifier was judged by {name}"
            return joined, [] if name == wanted else [told]
    return None, [
        "the labelled cells are of one well: the classifier was judged on single cells, and new "
        "wells may come out worse; label cells of other wells as well"
    ]


def _label_notes(counts: dict[str, int]) -> list[str]:
    words = {
        "conflict": "name a cell that another label calls something else, and do not count",
        "lost": "have no cell near their position any more",
        "no field": "are of fields that are not in the table",
        "duplicate": "say again what another one says",
    }
    return [
        f"{n} labels {words[kind]}: see label_report" for kind, n in counts.items() if kind in words
    ]


def _quality_notes(judged: CrossValidation) -> list[str]:
    facts, notes = judged.facts, []
    if facts["log_loss"] > facts["log_loss_of_shares"]:
        notes.append(
            "on held-out cells the classifier is no better than the shares of the classes: do not "
            "rely on it; label more cells, or look whether the classes differ in these features"
        )
    if facts["ece_pvalue"] < DOUBTFUL:
        notes.append(
            f"the classifier's probabilities are off by {facts['ece']:.3f} on average (right ones "
            f"would be by {facts['ece_if_right']:.3f}): take them as an order, not as shares"
        )
    return notes
