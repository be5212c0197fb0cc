"""One self-contained page about a run, and the figures in it."""

from poolvox.shared.report.overview import Overview, read_overview
from poolvox.shared.report.page import write_report
from poolvox.shared.report.section import Figure, Section, Table

__all__ = ["Figure", "Overview", "Section", "Table", "read_overview", "write_report"]
