"""Plan, journal, runners and provenance of a run."""
