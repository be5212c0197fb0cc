"""The published chain inside a run: its own spots on the aligned images, its own calls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.ops.align import aligned
from poolvox.ops.chemistry import Chemistry
from poolvox.ops.classic import (
    classic_cells,
    classic_peaks,
    classic_reads,
    classic_spots,
    estimate_classic,
)
from poolvox.ops.codebook import Codebook
from poolvox.ops.library import Library
from poolvox.ops.parts import TileReads
from poolvox.ops.spots import Bases
from poolvox.shared.imaging.warp import Transform

__all__ = ["call_published", "spots_published"]

# A peak counts when it stands out from the median peak, which is noise, by this many robust
# standard deviations of all peaks; the published threshold is one of counts, chosen by eye.
STAND_OUT = 5.0
# Standard deviations in a median absolute deviation.
NORMAL_MAD = 1.4826
# What the columns of cells hold where the chain has no cell.
EMPTY: dict[str, int] = {
    "Call_Reads": 0,
    "Call_ReadsTotal": 0,
    "Call_SecondReads": 0,
    "Call_Tied": False,
}


def spots_published(
    images: NDArray[np.uint16], transforms: Sequence[Sequence[Transform]], bases: Sequence[int]
) -> tuple[pd.DataFrame, Bases]:
    """Spots of the published chain, and their light: filtered, the maximum of 3 x 3 pixels.

    Returns
    -------
    spots : columns y, x, peak (sd over cycles), snr (over the noise of all peaks)
    bases : light (read, cycle, channel); the chain knows no noise, so that it is 1
    """
    light, spread = classic_spots(aligned(images, transforms)[:, list(bases)])
    places = classic_peaks(spread, 0.0)
    peak = spread[places[:, 0], places[:, 1]]
    middle = float(np.median(peak)) if len(peak) else 0.0
    noise = NORMAL_MAD * float(np.median(np.abs(peak - middle))) if len(peak) else 1.0
    snr = (peak - middle) / max(noise, 1e-9)
    places, peak, snr = places[snr > STAND_OUT], peak[snr > STAND_OUT], snr[snr > STAND_OUT]
    values = light[:, :, places[:, 0], places[:, 1]].transpose(2, 0, 1).astype(np.float32)
    columns = {"y": places[:, 0], "x": places[:, 1], "peak": peak, "snr": snr}
    return pd.DataFrame(columns).astype(float), Bases(values, np.ones_like(values))


def call_published(
    reads: TileReads, chemistry: Chemistry, library: Library, codebook: Codebook
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reads and cells as the published chain calls them, in the columns of a run.

    There is no posterior and no q-value. `Read_Decoy` marks reads that show a decoy.
    """
    inside = reads.labels > 0
    used = reads.intensity[inside] if inside.any() else reads.intensity
    table = classic_reads(reads.intensity, chemistry, estimate_classic(used, chemistry), library)
    decoys = codebook.words[codebook.targets : len(codebook)]
    found = classic_cells(table, reads.labels, library).set_index("Metadata_Label")
    every = pd.Index(reads.cells, name="Metadata_Label")
    cells = pd.DataFrame(
        {name: found[name].reindex(every, fill_value=EMPTY.get(str(name), "")) for name in found}
    )
    called = cells["Metadata_Barcode"] != ""
    cells = cells.assign(
        Call_Guide=cells["Metadata_Guide"].where(called, ""),
        Call_Gene=cells["Metadata_Gene"].where(called, ""),
        Call_Posterior=np.nan,
        Call_QValue=np.nan,
        Call_Doublet=np.nan,
        Call_Decoy=False,
    )
    decoy = table["Read_Sequence"].isin(decoys)
    table = table.assign(Read_Posterior=np.float32(np.nan), Read_QValue=np.nan, Read_Decoy=decoy)
    return table, cells.reset_index()
