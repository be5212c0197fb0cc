"""Words that cells show without carrying them, since what glows by itself is taken for reads.

Autofluorescence lights up the same channels wherever it is, so it spells a few words of the library
in many cells, and all reads of a cell spell the same one: their number proves nothing. The
composition of the backgrounds (see `mistakes`) tells which words may be spelled like that, and in
how many cells each is, the cells themselves. Words of decoys are treated as all others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from poolvox.ops.codebook import Codebook
from poolvox.ops.decode import codes_of
from poolvox.ops.mistakes import ErrorModel

__all__ = ["Glow"]

# Words that a background spells this many times more often than chance does may be glow.
STANDING_OUT = 3.0
# Cells that hold the chance of a word where its composition has it.
PRIOR_CELLS = 0.03

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Glow:
    """Chance that a cell shows a word by glow.

    Parameters
    ----------
    place : (cell, BARCODES) of each barcode among the words, -1 for none
    likely : (word,) chance by the composition of the backgrounds
    chance : (word,) chance as the cells tell it
    """

    place: NDArray[np.int64]
    likely: Floats
    chance: Floats

    @classmethod
    def of(cls, barcode: NDArray[np.int32], codebook: Codebook, model: ErrorModel) -> Glow:
        """Start with the composition of the backgrounds alone."""
        words, place = np.unique(barcode, return_inverse=True)
        likely = np.zeros(len(words))
        codes = codes_of(codebook, words)
        cycles = np.arange(codebook.cycles)
        for share, *bases in model.background:
            shares = np.asarray(bases).reshape(-1, 4)
            likely += share * shares[cycles, codes].prod(axis=1)
        likely[(words < 0) | (likely < STANDING_OUT / 4.0**codebook.cycles)] = 0.0
        return cls(place.reshape(barcode.shape), likely, likely)

    @property
    def of_barcodes(self) -> Floats:
        """(cell, BARCODES) chance of the barcodes that are weighed for each cell."""
        return np.asarray(self.chance[self.place])

    def update(self, shown: Floats) -> Glow:
        """Learn from the posterior (cell, BARCODES) that a cell shows a barcode by glow."""
        count = np.bincount(self.place.ravel(), shown.ravel(), minlength=len(self.likely))
        held = self.likely * len(shown) + PRIOR_CELLS
        return replace(self, chance=self.likely * (count + PRIOR_CELLS) / held)
