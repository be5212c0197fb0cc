"""A run is a plan of units; a unit is one call that owns the files it writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Result", "Unit"]

# What a unit hands back: small, JSON-able facts for the journal, `status` and the report.
Result = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of work: a tile, a block of a stack, a reduction over a plate.

    Parameters
    ----------
    key : unique name in the plan, `step/place`, e.g. `decode/P1-A1-3`
    step : the step it belongs to, what `--steps` selects
    call : picklable function without arguments (`functools.partial` of a module's function)
    params : everything the result depends on besides the inputs, JSON-able
    inputs : raw files it reads; a changed file makes the unit run again
    needs : keys of units that must be done before; their tokens enter this one's
    outputs : files or folders that it alone writes; removed before it begins
    memory : bytes it needs at its peak
    where : what `--only` and `--exclude` select by, e.g. `{"well": "A1", "tile": "3"}`
    tolerant : run even if some of `needs` failed: a reduction over the tiles that are there
    holds_gil : it holds the interpreter's lock for so much of its time that many of its kind, side
        by side as threads, would wait for each other
    vital : those of `needs` without which a tolerant unit cannot be either
    """

    key: str
    step: str
    call: Callable[[], Result | None]
    params: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Path, ...] = ()
    needs: tuple[str, ...] = ()
    outputs: tuple[Path, ...] = ()
    memory: int = 256 * 2**20
    where: Mapping[str, str] = field(default_factory=dict)
    tolerant: bool = False
    holds_gil: bool = False
    vital: tuple[str, ...] = ()
