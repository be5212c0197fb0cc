"""How good a classifier is: on wells or guides it has not seen, and whether its probabilities hold.

Everything is measured on cells that were held out, and strength and temperature are chosen anew
without them, so the numbers hold for new wells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.profiles.learn.classifier import (
    Floats,
    Ints,
    LearnSettings,
    class_columns,
    fit_scaled,
    fit_scaler,
    labelled,
    log_loss,
    softmax,
)
from poolvox.shared.profiles.learn.folds import grouped_folds

__all__ = ["CrossValidation", "calibration", "cross_validate", "feature_group"]

# Bins of equal counts that probabilities are compared with outcomes in.
BINS: Final = 10
# Cells per bin below which a share says little.
BIN_CELLS: Final = 10
# Simulated outcomes that tell how large the error is where probabilities are right.
DRAWS: Final = 500


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """What held-out cells say.

    Attributes
    ----------
    predictions : one row per labelled cell: `Class_True`, `Class_Fold` and the predicted columns
    quality : one row per class: cells, precision, recall, F1; and one row `all`
    calibration : `Bin_*` rows of stated against observed share of right calls
    importances : loss and balanced accuracy lost when a group of features is permuted
    facts : accuracy, balanced accuracy, log loss, ECE and the ECE that right probabilities have
    """

    predictions: pd.DataFrame
    quality: pd.DataFrame
    calibration: pd.DataFrame
    importances: pd.DataFrame
    facts: dict[str, float]


def cross_validate(
    frame: pd.DataFrame,
    classes: pd.Series[Any],
    groups: pd.Series[Any] | None = None,
    *,
    features: Sequence[str] | None = None,
    settings: LearnSettings | None = None,
) -> CrossValidation:
    """Fit on all groups but some, predict those, in turn; see `fit_classifier`."""
    settings = settings or LearnSettings()
    scaler = fit_scaler(frame, features)
    rows, names, members = labelled(frame, classes, groups)
    text = classes.iloc[rows].astype(str).str.strip()
    x, y = scaler(frame.iloc[rows]), np.searchsorted(names, text).astype(np.int64)
    folds = grouped_folds(members, y, settings.folds, seed=settings.seed)
    found = np.zeros((len(y), len(names)))
    columns = _columns_of_groups(scaler.features)
    losses: list[pd.DataFrame] = []
    for fold in np.unique(folds):
        inside, outside = folds != fold, folds == fold
        present, compact = np.unique(y[inside], return_inverse=True)
        if len(present) < 2 or len(np.unique(members[inside])) < 2:
            found[outside] = np.bincount(y[inside], minlength=len(names)) / inside.sum()
            continue
        w, b, temperature, _ = fit_scaled(
            x[inside], compact, members[inside], len(present), settings
        )
        logits = (x[outside] @ w.T + b) / temperature
        found[np.ix_(outside, present)] = softmax(logits)
        rng = np.random.default_rng([settings.seed, int(fold)])
        held = _Held(x[outside], y[outside], w / temperature, logits, present, len(names))
        losses.append(held.permute(columns, settings.repeats, rng))
    predictions = class_columns(found, names, frame.index[rows])
    predictions.insert(0, "Class_Fold", folds)
    predictions.insert(0, "Class_True", np.array(names, dtype=object)[y])
    table, facts = calibration(found, y, seed=settings.seed)
    quality = _quality(found.argmax(axis=1), y, names)
    facts |= {
        "accuracy": float((found.argmax(axis=1) == y).mean()),
        "balanced_accuracy": float(quality["Class_Recall"].iloc[:-1].mean()),
        "log_loss": log_loss(found, y),
        "log_loss_of_shares": log_loss(np.tile(np.bincount(y) / len(y), (len(y), 1)), y),
        "cells": float(len(y)),
        "groups": float(len(np.unique(members))),
        "folds": float(folds.max() + 1),
    }
    return CrossValidation(predictions, quality, table, _importances(losses), facts)


def calibration(
    probabilities: Floats, y: Ints, *, bins: int = BINS, seed: int = 0
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Compare the probability of the called class with how often the call is right.

    The expected calibration error (ECE) is the mean of the differences in bins of equal counts. It
    is above 0 even where every probability is right, the more so the fewer cells there are: what
    it would be then comes from outcomes drawn from the probabilities themselves.

    Returns
    -------
    One row per bin (`Bin_Stated`, `Bin_Observed`, `Bin_Cells`), and `ece`, `ece_if_right` (mean)
    and `ece_pvalue` (share of draws at least as far off)
    """
    called, stated = probabilities.argmax(axis=1), probabilities.max(axis=1)
    right = (called == y).astype(float)
    order = np.argsort(stated, kind="stable")
    parts = np.array_split(order, max(1, min(bins, len(y) // BIN_CELLS)))
    means = np.array([stated[part].mean() for part in parts])
    sizes = np.array([len(part) for part in parts])

    def error(outcome: Floats) -> float:
        seen = np.array([outcome[part].mean() for part in parts])
        return float((sizes * np.abs(seen - means)).sum() / len(y))

    rng = np.random.default_rng([seed, 7])
    drawn = [error((rng.random(len(y)) < stated).astype(float)) for _ in range(DRAWS)]
    ece = error(right)
    table = pd.DataFrame(
        {
            "Bin_Stated": means,
            "Bin_Observed": [right[part].mean() for part in parts],
            "Bin_Cells": sizes,
        }
    )
    beyond = (1 + sum(value >= ece for value in drawn)) / (1 + DRAWS)
    return table, {"ece": ece, "ece_if_right": float(np.mean(drawn)), "ece_pvalue": beyond}


def feature_group(name: str) -> str:
    """The group of a feature: the second part of its name, or `other`.

    Examples
    --------
    >>> feature_group("Cells_Intensity_Mean_marker"), feature_group("area")
    ('Intensity', 'other')
    """
    parts = name.split("_")
    return parts[1] if len(parts) > 1 else "other"


@dataclass(frozen=True, slots=True)
class _Held:
    """Cells of one fold, and the model that has not seen them."""

    x: Floats
    y: Ints
    weights: Floats
    logits: Floats
    present: NDArray[np.int64]
    count: int

    def permute(
        self, columns: dict[str, NDArray[np.int64]], repeats: int, rng: np.random.Generator
    ) -> pd.DataFrame:
        """What is lost when one group's values go to other cells, all columns together.

        Logits are sums over features, so a group's share is taken out and put in elsewhere.
        """
        loss, recall = self._scores(self.logits)
        rows = []
        for _ in range(repeats):
            order = rng.permutation(len(self.y))
            for name, chosen in columns.items():
                share = self.x[:, chosen] @ self.weights[:, chosen].T
                worse, fewer = self._scores(self.logits - share + share[order])
                rows.append((name, len(chosen), worse - loss, recall - fewer))
        return pd.DataFrame(rows, columns=["group", "features", "loss", "recall"])

    def _scores(self, logits: Floats) -> tuple[float, float]:
        given = np.zeros((len(self.y), self.count))
        given[:, self.present] = softmax(logits)
        right = given.argmax(axis=1) == self.y
        return log_loss(given, self.y), float(
            np.mean([right[self.y == k].mean() for k in np.unique(self.y)])
        )


def _columns_of_groups(features: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    groups = [feature_group(name) for name in features]
    return {name: np.flatnonzero(np.array(groups) == name) for name in dict.fromkeys(groups)}


def _importances(losses: list[pd.DataFrame]) -> pd.DataFrame:
    """Mean over folds and permutations, and the standard error over the folds."""
    names = {"features": "Importance_Features", "loss": "Importance_LogLoss"}
    names |= {"recall": "Importance_BalancedAccuracy", "error": "Importance_LogLossError"}
    if not losses:
        return pd.DataFrame(columns=["Metadata_FeatureGroup", *names.values()])
    folds = pd.concat([one.groupby("group", sort=False).mean() for one in losses])
    grouped = folds.groupby(level=0)
    table = grouped.mean()
    table["error"] = grouped["loss"].sem()
    table = table.sort_values("loss", ascending=False, kind="stable").reset_index(names="group")
    return table.rename(columns=names | {"group": "Metadata_FeatureGroup"}).astype(
        {"Importance_Features": int}
    )


def _quality(called: Ints, y: Ints, names: Sequence[str]) -> pd.DataFrame:
    """Precision, recall and F1 of every class; 0 where a class is never called, never NaN."""
    hits = np.array([((called == k) & (y == k)).sum() for k in range(len(names))], float)
    precision = hits / np.maximum([(called == k).sum() for k in range(len(names))], 1)
    cells = np.array([(y == k).sum() for k in range(len(names))])
    recall = hits / np.maximum(cells, 1)
    f1 = 2 * precision * recall / np.where(hits > 0, precision + recall, 1.0)
    table = pd.DataFrame(
        {
            "Metadata_Class": list(names),
            "Class_Cells": cells,
            "Class_Precision": precision,
            "Class_Recall": recall,
            "Class_F1": f1,
        }
    )
    whole = {"Metadata_Class": "all", "Class_Cells": len(y)} | {
        name: float(table[name].mean()) for name in table.columns[2:]
    }
    return pd.concat([table, pd.DataFrame([whole])], ignore_index=True)
