"""A run in a process of its own, for tests that kill it: RAW OUT SCHEDULER PAUSE."""

import sys
from pathlib import Path

from tests.shared.engine.small import plan

from poolvox.shared.engine import Options, run_plan

if __name__ == "__main__":
    raw, out, scheduler, pause = sys.argv[1:]
    units = plan(Path(raw), Path(out), pause=float(pause))
    summary = run_plan(units, Path(out), options=Options(workers=2, scheduler=scheduler))
    sys.stdout.write(summary.stopped)
    sys.exit(summary.exit_code)
