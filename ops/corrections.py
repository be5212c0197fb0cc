"""The corrections of one well, as they are stored with a run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.ops.words import BASES

__all__ = ["Corrections"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Corrections:
    """Everything that stands between the light of a read and its bases.

    Parameters
    ----------
    channels : names of the base channels
    gain : (cycle, channel) light of a read of brightness 1 in the channel's own base
    states : (cycle, base, channel) light of a base in units of `gain`; holds the crosstalk
    noise : (cycle, channel) sd of the noise in units of `gain`, for a read whose own noise is 1
    relative : noise in proportion to the light
    spread : log-sd of the amplitude within a read, from cycle to cycle
    brightness : mean log-brightness of reads
    leak : (cycle, cycle) light of the base of cycle j in cycle t, over that of the base of t
    phasing, prephasing : fraction of strands that fall behind, or run ahead, in a cycle
    composition : (cycle, base) share of reads
    reads : how many reads they rest on
    source : where they come from, such as `well A1` or `plate`
    """

    channels: tuple[str, ...]
    gain: Floats
    states: Floats
    noise: Floats
    relative: float
    spread: float
    brightness: float
    leak: Floats
    phasing: float
    prephasing: float
    composition: Floats
    reads: int
    source: str = ""

    @property
    def cycles(self) -> int:
        """Number of cycles."""
        return len(self.gain)

    @property
    def decay(self) -> Floats:
        """Brightness of each cycle over the first, mean of all channels, exposure and all."""
        logs = np.log(np.maximum(self.states.max(axis=1) * self.gain, 1e-9)).mean(axis=1)
        ratio: Floats = np.exp(logs - logs[0])
        return ratio

    def to_json(self) -> str:
        """As text; the opposite of `from_json`."""
        values = {
            k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in asdict(self).items()
        }
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Corrections:
        """Read what `to_json` wrote."""
        values = json.loads(text)
        values["channels"] = tuple(values["channels"])
        arrays = ("gain", "states", "noise", "leak", "composition")
        return cls(**values | {name: np.asarray(values[name], float) for name in arrays})

    def frame(self) -> pd.DataFrame:
        """One row per cycle, base and channel, for tables and figures.

        Columns Correction_Source, Correction_Cycle, Correction_Base, Correction_Channel,
        Correction_Crosstalk (light over that in the brightest channel of the base),
        Correction_Gain, Correction_Noise, Correction_Composition, Correction_Lag and
        Correction_Lead (light of the base before and after).
        """
        t, b, c = (axis.ravel() for axis in np.indices(self.states.shape))
        own = np.maximum(self.states.max(axis=2), 1e-9)
        lag = np.append(0.0, np.diagonal(self.leak, -1))
        lead = np.append(np.diagonal(self.leak, 1), 0.0)
        return pd.DataFrame(
            {
                "Correction_Source": self.source,
                "Correction_Cycle": t + 1,
                "Correction_Base": np.array(list(BASES))[b],
                "Correction_Channel": np.array(self.channels)[c],
                "Correction_Crosstalk": self.states[t, b, c] / own[t, b],
                "Correction_Gain": self.gain[t, c],
                "Correction_Noise": self.noise[t, c],
                "Correction_Composition": self.composition[t, b],
                "Correction_Lag": lag[t],
                "Correction_Lead": lead[t],
            }
        )
