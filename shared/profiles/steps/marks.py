"""Which groups are controls, where the table of objects says it and the configuration does not."""

from __future__ import annotations

from typing import Final

import pandas as pd
import pyarrow as pa

from poolvox.shared.profiles.config import ProfilesConfig
from poolvox.shared.profiles.tables.datasets import ObjectTables

__all__ = ["MARK", "marked_controls"]

# A column of screens: whether the guide or gene of an object is a control of the library.
MARK: Final = "Metadata_Control"
GENE: Final = "Metadata_Gene"


def marked_controls(config: ProfilesConfig, objects: ObjectTables) -> ProfilesConfig:
    """Options with the controls that the objects are marked as, if none are configured.

    They are genes where all objects of a gene are marked, else whatever is.
    """
    if "controls" in config.model_fields_set or not _is_marked(objects):
        return config
    genes = control_genes(objects.frame([GENE, MARK])) if GENE in objects.schema else []
    return config.model_copy(update={"controls": tuple(genes) or (f"{MARK} == True",)})


def _is_marked(objects: ObjectTables) -> bool:
    return MARK in objects.schema and pa.types.is_boolean(objects.schema[MARK])


def control_genes(keys: pd.DataFrame) -> list[str]:
    """Genes all of whose objects are controls, sorted.

    Examples
    --------
    >>> keys = {"Metadata_Gene": ["a", "safe", "a", ""], "Metadata_Control": [False, True] * 2}
    >>> control_genes(pd.DataFrame(keys))
    ['safe']
    """
    genes = keys[GENE].astype(str)
    control = keys[MARK].to_numpy(bool)
    return sorted(set(genes[control]) - set(genes[~control]) - {""})
