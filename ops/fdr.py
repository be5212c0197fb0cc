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
    what decoys say of it. Decoys tell only how reads are decoded, so they are counted among cells
    whose barcode is at least as surely there (`Call_Shown`), be it theirs or not, and the mean
    chance that it is another cell's is added. Cells that cannot be called have none.
    """
    posterior = frame["Call_Posterior"].to_numpy(float)
    decoy = frame["Call_Decoy"].to_numpy(bool)
    usable = (posterior > 0) & ~frame["Call_Tied"].to_numpy(bool)
    if "Call_Recombined" in frame:
        # What such a cell carries is in no library; a read of the cell next door is no call.
        usable &= ~frame["Call_Recombined"].to_numpy(bool)
    q = np.full(len(frame), np.nan)
    shown = frame.get("Call_Shown", frame["Call_Posterior"]).to_numpy(float)
    q[usable] = cell_q_values(posterior[usable], decoy[usable], shown[usable], ratio=ratio)
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


def cell_q_values(
    posterior: Floats,
    decoy: NDArray[np.bool_],
    shown: Floats | None = None,
    *,
    ratio: float = 1.0,
) -> Floats:
    """Rate of wrong ones among all cells at least as sure.

    Parameters
    ----------
    posterior : (cell,) chance that the call is right
    decoy : (cell,) whether the call is a decoy
    shown : (cell,) chance that the barcode is there at all; the posterior if not given
    ratio : decoys per library word; without decoys the posterior alone is believed
    """
    expected = _expected_errors(posterior, decoy)
    if not ratio:
        return expected
    if shown is None:
        return np.maximum(expected, q_values(posterior, decoy, ratio=ratio))
    elsewhere = _mean_above(posterior, shown - posterior, ~decoy)
    return np.maximum(expected, q_values(shown, decoy, ratio=ratio) + elsewhere)


def _expected_errors(posterior: Floats, decoy: NDArray[np.bool_]) -> Floats:
    """Mean of one minus the posterior over all targets at least as sure."""
    return _mean_above(posterior, 1 - posterior, ~decoy)


def _mean_above(posterior: Floats, values: Floats, kept: NDArray[np.bool_]) -> Floats:
    """Mean of the values that are kept over all cells at least as sure; it rises with the doubt."""
    levels, place = np.unique(-posterior, return_inverse=True)
    total = np.cumsum(np.bincount(place, weights=values * kept, minlength=len(levels)))
    number = np.cumsum(np.bincount(place, weights=kept, minlength=len(levels)))
    rate = total / np.maximum(number, 1)
    return np.asarray(np.minimum.accumulate(rate[::-1])[::-1][place])
