"""The chapters of a report on a pooled screen."""

from poolvox.shared.report.section import Section


def make_sections(config):
    return []
