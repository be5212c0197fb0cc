"""Plan, journal, runners and provenance of a run.

A pipeline lays out units, `run_plan` does those that are not done yet:

>>> from poolvox.shared.engine import Options, Unit, run_plan
>>> units = [Unit("measure/A1", "measure", call=lambda: {"cells": 3}, where={"well": "A1"})]
>>> import tempfile, pathlib
>>> summary = run_plan(units, pathlib.Path(tempfile.mkdtemp()), options=Options(workers=1))
>>> summary.done, summary.exit_code
(('measure/A1',), 0)

Units that leave the plan (a tile that is gone) are reported as orphans; their files stay until
another unit writes in their place, and the reductions that no longer need them are made again.
"""

from poolvox.shared.engine.journal import Record, read_records
from poolvox.shared.engine.options import Event, Options, RunSummary
from poolvox.shared.engine.plan import Result, Unit
from poolvox.shared.engine.progress import show_progress
from poolvox.shared.engine.resources import available_memory, cores, parse_memory
from poolvox.shared.engine.run import run_plan
from poolvox.shared.engine.status import Status, StepStatus, read_status
from poolvox.shared.engine.verify import verify_run

__all__ = [
    "Event",
    "Options",
    "Record",
    "Result",
    "RunSummary",
    "Status",
    "StepStatus",
    "Unit",
    "available_memory",
    "cores",
    "parse_memory",
    "read_records",
    "read_status",
    "run_plan",
    "show_progress",
    "verify_run",
]
