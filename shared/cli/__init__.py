"""The `poolvox` command.

`app` holds the program and what becomes of errors, `registry` finds the pipelines, and each other
module is a group of commands. Nothing heavy is imported before a command needs it: modules of this
package import numpy, pandas, pydantic and the rest of poolvox inside functions only.
"""

from poolvox.shared.cli.app import main, run_command

__all__ = ["main", "run_command"]
