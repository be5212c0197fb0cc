"""Which cells are called at a rate of errors: q-values from posteriors and decoys."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.ops.decode import q_values
from poolvox.ops.library import Library

__all__ = ["cell_q_values", "set_calls"]

Floats = NDArray[np.float64]


def set_calls(
    frame: pd.DataFrame, library: Library, *, fdr: float, ratio: float = 1.0
) -> pd.DataFrame:
    """Give cells their q-values and names; for one tile, or for all tiles of a plate together.

    The q-value is the larger of two: the mean chance of error among cells at least as sure, and
    what the decoys that were called instead say of it. Cells that cannot be called have none.
    """
    posterior = frame["Call_Posterior"].to_numpy(float)
    decoy = frame["Call_Decoy"].to_numpy(bool)
    usable = (posterior > 0) & ~frame["Call_Tied"].to_numpy(bool)
    if "Call_Recombined" in frame:
        # What such a cell carries is in no library; a read of the cell next door is no call.
        usable &= ~frame["Call_Recombined"].to_numpy(bool)
    q = np.full(len(frame), np.nan)
    q[usable] = cell_q_values(posterior[usable], decoy[usable], ratio=ratio)
    place = pd.Series(np.arange(len(library)), index=library.words)
    word = frame["Call_Barcode"].map(place).fillna(-1).astype(int).to_numpy()
    guides, genes = (np.append(names, "") for names in (library.guides, library.genes))
    called = (q <= fdr) & ~decoy & (word >= 0)
    out = frame.assign(
        Metadata_Barcode=np.where(called, frame["Call_Barcode"], ""),
        Metadata_Guide=np.where(called, guides[word], ""),
        Metadata_Gene=np.where(called, genes[word], ""),
        Call_Guide=guides[word],
        Call_Gene=genes[word],
        Call_QValue=q,
    )
    keys = [name for name in out.columns if name.startswith("Metadata_")]
    return out[keys + [name for name in out.columns if name not in keys]]


def cell_q_values(posterior: Floats, decoy: NDArray[np.bool_], *, ratio: float = 1.0) -> Floats:
    """Rate of wrong ones among all cells at least as sure.

    Parameters
    ----------
    posterior : (cell,) chance that the call is right
    decoy : (cell,) whether the call is a decoy
    ratio : decoys per library word; without decoys the posterior alone is believed
    """
    expected = _expected_errors(posterior, decoy)
    return np.maximum(expected, q_values(posterior, decoy, ratio=ratio)) if ratio else expected


def _expected_errors(posterior: Floats, decoy: NDArray[np.bool_]) -> Floats:
    """Mean of one minus the posterior over all targets at least as sure."""
    levels, place = np.unique(-posterior, return_inverse=True)
    error = np.cumsum(np.bincount(place, weights=(1 - posterior) * ~decoy, minlength=len(levels)))
    number = np.cumsum(np.bincount(place, weights=~decoy, minlength=len(levels)))
    rate = error / np.maximum(number, 1)
    return np.asarray(np.minimum.accumulate(rate[::-1])[::-1][place])
