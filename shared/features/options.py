"""What options of groups may be; a wrong one is told by its name, whoever gave it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from poolvox.shared.errors import ConfigError

__all__ = ["check_ladder", "check_number"]


def check_number(
    option: str,
    value: float,
    *,
    least: float = 0.0,
    most: float = np.inf,
    above: bool = False,
) -> None:
    """Refuse what is not between `least` and `most`, or, with `above`, not above `least`."""
    good = np.isfinite(value) and (value > least if above else value >= least) and value <= most
    if not good:
        upper = "" if np.isinf(most) else f", at most {most:g}"
        lower = f"above {least:g}" if above else f"at least {least:g}"
        raise ConfigError(f"{option} is {value!r}: expected a number {lower}{upper}")


def check_ladder(option: str, values: Sequence[float]) -> None:
    """Refuse what is not one or more growing lengths, which name columns."""
    names = {f"{value:g}" for value in values}
    growing = all(np.isfinite(value) and value > 0 for value in values)
    growing = growing and list(values) == sorted(values)
    if not growing or not names or len(names) != len(values):
        raise ConfigError(
            f"{option} is {list(values)!r}: expected one or more lengths above 0, growing"
        )
