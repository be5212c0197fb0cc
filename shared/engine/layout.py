"""The plan, checked and put in order before any work."""

from __future__ import annotations

import heapq
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from poolvox.shared.engine.plan import Unit
from poolvox.shared.errors import EngineError

__all__ = ["Layout", "lay_out", "output_name"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Units in an order in which they can run, and who waits for whom."""

    units: dict[str, Unit]
    order: dict[str, int]
    dependents: dict[str, list[str]]

    @property
    def steps(self) -> list[str]:
        """Names of the steps, in the order in which they come."""
        return list(dict.fromkeys(unit.step for unit in self.units.values()))


def lay_out(units: Sequence[Unit], output: Path) -> Layout:
    """Check keys, needs and outputs; put every unit behind what it needs.

    Among units that could come next, the first in `units` does.

    Raises
    ------
    EngineError
        for a doubled key, an unknown need, a cycle, an output outside the run's folder or an
        output that two units would write
    """
    named: dict[str, Unit] = {}
    for unit in units:
        if named.setdefault(unit.key, unit) is not unit:
            raise EngineError(f"two units of the plan are called {unit.key!r}: keys must be unique")
    dependents: dict[str, list[str]] = {key: [] for key in named}
    for unit in units:
        for need in dict.fromkeys(unit.needs):
            if need not in named:
                raise EngineError(f"unit {unit.key!r} needs {need!r}, which the plan does not have")
            dependents[need].append(unit.key)
    ordered = _order(named, dependents)
    layout = Layout(
        {k: named[k] for k in ordered}, dict(zip(ordered, range(len(ordered)))), dependents
    )
    _check_outputs(layout, output)
    return layout


def output_name(path: Path | str, output: str) -> str:
    """Name an output as seen from the run's folder, with forward slashes."""
    text = os.fspath(path)
    # Plans name absolute paths below `output`: no need to normalise each of 100,000.
    if text.startswith(output + os.sep) and ".." not in text:
        name = text[len(output) + 1 :]
    else:
        name = os.path.relpath(text, output)
    name = name.replace(os.sep, "/").rstrip("/")
    if name in ("", ".") or name.startswith("..") or os.path.isabs(name):
        message = f"{text} is not inside the run's folder {output}: a unit may only own files there"
        raise EngineError(message)
    return name


def _order(named: dict[str, Unit], dependents: dict[str, list[str]]) -> list[str]:
    keys = list(named)
    place = dict(zip(keys, range(len(keys))))
    waits = [len(set(unit.needs)) for unit in named.values()]
    ready = [i for i, count in enumerate(waits) if not count]
    ordered = []
    while ready:
        key = keys[heapq.heappop(ready)]
        ordered.append(key)
        for dependent in dependents[key]:
            waits[place[dependent]] -= 1
            if not waits[place[dependent]]:
                heapq.heappush(ready, place[dependent])
    if len(ordered) < len(keys):
        cycle = _cycle(named, set(keys) - set(ordered))
        raise EngineError(f"units need each other in a circle: {' -> '.join(cycle)}")
    return ordered


def _cycle(named: dict[str, Unit], left: set[str]) -> list[str]:
    """Walk from need to need among the units that could not be ordered, until one repeats."""
    key = min(left)
    path: dict[str, None] = {}
    while key not in path:
        path[key] = None
        key = next(need for need in named[key].needs if need in left)
    walked = list(path)
    return [*walked[walked.index(key) :], key]


def _check_outputs(layout: Layout, output: Path) -> None:
    owners: dict[str, str] = {}
    folder = os.fspath(output)
    for unit in layout.units.values():
        for path in unit.outputs:
            name = output_name(path, folder)
            if owners.setdefault(name, unit.key) != unit.key:
                both = f"{owners[name]!r} and {unit.key!r}"
                raise EngineError(f"{both} would both write {name}: one unit must own it")
            if name.split("/")[0] in ("journal", "run.json"):
                raise EngineError(f"{unit.key!r} would write {name}, which belongs to the engine")
    for name, key in owners.items():
        _check_nested(layout, owners, name, key)
    for unit in layout.units.values():
        for path in unit.inputs:
            if (text := os.fspath(path)).startswith(folder + os.sep):
                _check_input(layout, owners, unit.key, output_name(text, folder))


def _check_nested(layout: Layout, owners: dict[str, str], name: str, key: str) -> None:
    """A folder is removed before its unit begins: what others keep in it must come later."""
    parts = name.split("/")
    for depth in range(1, len(parts)):
        outer = owners.get("/".join(parts[:depth]))
        if outer is not None and outer != key and not _comes_after(layout, key, outer):
            message = f"{key!r} writes {name} inside {'/'.join(parts[:depth])} of {outer!r}"
            raise EngineError(f"{message}: it must need {outer!r}, or write elsewhere")


def _check_input(layout: Layout, owners: dict[str, str], key: str, name: str) -> None:
    owner = owners.get(name)
    if owner == key:
        raise EngineError(f"{key!r} reads {name} and would write it: its input would be lost")
    if owner is not None:
        message = f"{key!r} names {name} as an input, which {owner!r} writes"
        raise EngineError(f"{message}: name the unit under `needs` instead")


def _comes_after(layout: Layout, key: str, earlier: str) -> bool:
    """Tell whether `key` needs `earlier`, directly or through others."""
    units, order = layout.units, layout.order
    seen, todo = {key}, [key]
    while todo:
        for need in units[todo.pop()].needs:
            if need == earlier:
                return True
            if need not in seen and order[need] > order[earlier]:
                seen.add(need)
                todo.append(need)
    return False
