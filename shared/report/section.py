"""What a pipeline hands to the report: titled sections of facts, tables and pictures."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

__all__ = ["Figure", "Section", "Table"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture with the sentence that says what it shows; see `poolvox.shared.report.figures`."""

    png: bytes
    caption: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its caption; long ones are shortened by the report.

    Parameters
    ----------
    whole : where the whole table lies, as seen from the run's folder, e.g. `tables/cells.parquet`
    """

    frame: pd.DataFrame
    caption: str
    whole: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """One chapter of the report. Text is plain and escaped; nothing here is HTML.

    Parameters
    ----------
    text : paragraphs, with an empty line between them
    facts : names and values, such as `("cells", "12 345")`
    headline : the few of them that tell at a glance how it went; they head the page
    """

    title: str
    text: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    headline: tuple[tuple[str, str], ...] = ()
