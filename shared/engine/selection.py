"""Which units a run is asked for: by step and by place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from poolvox.shared.engine.layout import Layout
from poolvox.shared.engine.options import Options
from poolvox.shared.errors import EngineError

__all__ = ["matches", "select_units"]

Where = Mapping[str, str]


def select_units(layout: Layout, options: Options) -> set[str]:
    """Keys of the units to run: steps with all they need, then the places.

    Raises
    ------
    EngineError
        for a step that does not exist and for a place that no unit has
    """
    chosen = _by_step(layout, options.steps) if options.steps else set(layout.units)
    places = {key: unit.where for key, unit in layout.units.items() if key in chosen}
    for pattern in (*options.only, *options.exclude):
        _check_place(pattern, places)
    if options.only:
        chosen = {k for k in chosen if any(matches(p, places[k]) for p in options.only)}
    return {
        k for k in chosen if not any(matches(p, places[k], strict=True) for p in options.exclude)
    }


def matches(pattern: str, where: Where, *, strict: bool = False) -> bool:
    """Tell whether a place fits a pattern.

    `A1/3` goes by the order of the place's parts, without the plate or with it; `well=A1,tile=3`
    by their names. Both take the wildcards `*`, `?` and `[...]`. A part that `where` lacks fits,
    unless `strict`: a reduction over a plate is nowhere else than in A1.

    Examples
    --------
    >>> where = {"plate": "P1", "well": "A1", "tile": "3"}
    >>> matches("A1", where), matches("A1/4", where), matches("P1/A*/3", where)
    (True, False, True)
    """
    if "=" in pattern:
        pairs = [part.partition("=")[::2] for part in pattern.split(",")]
        return all(_fits(where.get(k.strip()), glob.strip(), strict) for k, glob in pairs)
    parts = pattern.split("/")
    inner = [value for key, value in where.items() if key != "plate"]
    if _fit_in_order(parts, inner, strict):
        return True
    return (
        "plate" in where and len(parts) > 1 and _fit_in_order(parts, list(where.values()), strict)
    )


def _fit_in_order(parts: Sequence[str], values: Sequence[str], strict: bool) -> bool:
    padded = [*values, *[None] * len(parts)]
    return all(_fits(value, glob, strict) for value, glob in zip(padded, parts))


def _fits(value: str | None, glob: str, strict: bool) -> bool:
    return not strict if value is None else fnmatchcase(value, glob)


def _by_step(layout: Layout, steps: Sequence[str]) -> set[str]:
    known = layout.steps
    for step in steps:
        if step not in known:
            near = get_close_matches(step, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise EngineError(f"there is no step {step!r}; the steps are {', '.join(known)}{hint}")
    chosen = {key for key, unit in layout.units.items() if unit.step in steps}
    for key in reversed(layout.units):
        if key in chosen:
            chosen.update(layout.units[key].needs)
    return chosen


def _check_place(pattern: str, places: Mapping[str, Where]) -> None:
    if any(where and matches(pattern, where, strict=True) for where in places.values()):
        return
    fullest = max(places.values(), key=len, default={})
    example = "/".join(fullest.values()) or "none: no unit has a place"
    names = ", ".join(f"{key}={value}" for key, value in fullest.items())
    raise EngineError(f"no unit is at {pattern!r}; a place looks like {example} ({names})")
