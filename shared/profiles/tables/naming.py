"""Names that pycytominer's functions recognise by themselves, and the way back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import pandas as pd

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.tables.columns import feature_columns

__all__ = ["from_pycytominer", "pycytominer_names", "to_pycytominer"]

# pycytominer takes a column for a measurement when its name begins so.
COMPARTMENTS: Final = ("Cells", "Nuclei", "Cytoplasm")
# What we call something else goes under cells, its own name coming second.
HOME: Final = "Cells"
KEY: Final = "Metadata_"
MARK: Final = "Poolvox"


def pycytominer_names(frame: pd.DataFrame) -> dict[str, str]:
    """Name of every column as pycytominer expects it.

    Measurements of compartments that pycytominer does not know become `Cells_Poolvox{Name}_…`, and
    what is no measurement, such as `QC_Blurred`, becomes `Metadata_PoolvoxQC_Blurred`.

    Examples
    --------
    >>> frame = pd.DataFrame({"QC_Blurred": [False], "Organoids_Shape_Volume_um3": [1.0]})
    >>> list(pycytominer_names(frame).values())
    ['Metadata_PoolvoxQC_Blurred', 'Cells_PoolvoxOrganoids_Shape_Volume_um3']
    """
    measured = set(feature_columns(frame))
    names = {str(name): _renamed(str(name), str(name) in measured) for name in frame}
    doubled = [new for new in names.values() if list(names.values()).count(new) > 1]
    if doubled:
        raise InputError(f"two columns would both be called {doubled[0]!r}: rename one of them")
    return names


def to_pycytominer(frame: pd.DataFrame) -> pd.DataFrame:
    """Rename columns so that pycytominer's functions run with `features="infer"`."""
    names = pycytominer_names(frame)
    ordered = sorted(names, key=lambda name: not names[name].startswith(KEY))
    return frame[ordered].rename(columns=names)


def from_pycytominer(frame: pd.DataFrame) -> pd.DataFrame:
    """Give columns that `to_pycytominer` renamed their own names again; others keep theirs."""
    return frame.rename(columns=_own_names(map(str, frame)))


def _renamed(name: str, measured: bool) -> str:
    if measured:
        # It looks at the beginning alone: `Cellsize` would be one of its own.
        return (
            name
            if name.startswith(tuple(f"{c}_" for c in COMPARTMENTS))
            else (f"{HOME}_{MARK}{name}")
        )
    return name if name.startswith(KEY) else f"{KEY}{MARK}{name}"


def _own_names(names: Iterable[str]) -> Mapping[str, str]:
    starts = (f"{HOME}_{MARK}", f"{KEY}{MARK}")
    return {
        name: name.removeprefix(start)
        for name in names
        for start in starts
        if name.startswith(start)
    }
