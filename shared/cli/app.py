"""The program: its commands, its exit codes, and what becomes of errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from poolvox.shared.cli import experiments, folders, images, objects, profiles, runs, training
from poolvox.shared.cli.console import complain, say
from poolvox.shared.errors import PoolvoxError

__all__ = ["main", "run_command"]

DONE, SOME_FAILED, WRONG_INPUT, BUG, INTERRUPTED = 0, 1, 2, 3, 130

# typer brings its own copy of click since 0.26; this is the class in either.
_ClickException: type[Exception] = typer.BadParameter.__mro__[2]

_HELP = """Optical pooled screens and organoid z-stacks, from raw microscope files to profiles.

Begin with `poolvox demo`, or `poolvox init` on a folder of raw files.

Exit codes: 0 done; 1 finished, but some units failed; 2 the input is wrong; 3 a bug.
"""

# What the system says about a path, a disk or a device, and never because of a mistake of ours.
_REFUSALS = (
    *("EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EMFILE", "ENFILE", "EIO", "ESTALE"),
    *("ENOTDIR", "EISDIR", "ENAMETOOLONG", "ELOOP", "EFBIG", "ENXIO", "EBUSY", "ETXTBSY"),
)

_BUG = """\
This is a bug in poolvox, not a mistake of yours. Please report it as CONTRIBUTING says, with the
lines above, the command, and what `poolvox --version` prints."""

app = typer.Typer(
    name="poolvox",
    help=_HELP,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
# One line per command, in the order of the help; a new group of commands is a module beside these.
for _command in (
    experiments.demo,
    experiments.init,
    runs.check,
    runs.run,
    folders.status,
    folders.report,
    folders.verify,
    images.convert,
    images.validate,
    objects.features,
    objects.evaluate,
    training.train,
    profiles.profile,
):
    app.command()(_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(describe_version())
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show versions.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Take the options that come before a command."""


def describe_version() -> str:
    """Name the versions that a report of a bug needs."""
    import platform
    from importlib import metadata

    from poolvox import __version__

    names = ("numpy", "pandas", "zarr", "dask", "pydantic", "typer")
    found = [f"Python {platform.python_version()}", f"{platform.system()} {platform.machine()}"]
    for name in names:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"{name} is missing")
    return f"poolvox {__version__}\n{', '.join(found)}"


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Parameters
    ----------
    arguments : as typed, without the name of the program; those of the process if None
    """
    given = None if arguments is None else list(arguments)
    try:
        code = app(given, prog_name="poolvox", standalone_mode=False)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except typer.Abort:
        code = INTERRUPTED
    except typer.Exit as error:
        code = error.exit_code
    except PoolvoxError as error:
        complain(str(error))
        return WRONG_INPUT
    except _ClickException as error:
        return _refuse(error)
    except OSError as error:
        return _blame_system(error)
    except Exception:
        return _admit_bug()
    if code == INTERRUPTED:
        complain("stopped. What is done is kept: the same command goes on from there.")
    return code if isinstance(code, int) else DONE


def main() -> NoReturn:
    """Be the program `poolvox`."""
    try:
        code = run_command()
        sys.stdout.flush()
    except BrokenPipeError:
        code = SOME_FAILED
    except SystemExit as ending:  # typer ends by itself when a pipe breaks
        code = ending.code if isinstance(ending.code, int) else SOME_FAILED
    try:
        sys.stdout.flush()
    except (BrokenPipeError, ValueError):
        # The reader is gone; Python would complain when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _refuse(error: Exception) -> int:
    """Say what is wrong with a command line, as click does, but with our exit code."""
    usage = getattr(error, "ctx", None)
    message = getattr(error, "format_message", lambda: str(error))()
    # `poolvox` alone shows its help that way, which is no complaint.
    if message:
        if usage is not None:
            sys.stderr.write(usage.get_usage().strip() + "\n")
        more = f"{message.rstrip('.')}. See `{usage.command_path} --help`." if usage else message
        complain(more)
    return WRONG_INPUT


def _blame_system(error: OSError) -> int:
    """Tell what the system refuses from what we did wrong."""
    import errno

    if isinstance(error, BrokenPipeError):
        raise error
    if error.errno not in {getattr(errno, name) for name in _REFUSALS if hasattr(errno, name)}:
        return _admit_bug()
    where = f" {error.filename}" if error.filename else ""
    complain(f"the system refuses to use{where}: {error.strerror}")
    return WRONG_INPUT


def _admit_bug() -> int:
    import traceback

    sys.stderr.write(traceback.format_exc())
    complain(_BUG)
    return BUG
