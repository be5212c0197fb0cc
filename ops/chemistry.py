"""Chemistry: which channels light up for which base. One table drives everything else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from poolvox.ops.words import BASES
from poolvox.shared.errors import ConfigError

__all__ = ["Chemistry", "ChemistrySpec", "base_letters", "is_two_colour", "resolve_chemistry"]

ChemistrySpec = str | Mapping[str, Sequence[str]]

# Two colours as the common kits have them: A in both channels, C and T in one, G in none.
TWO_COLOUR = {"A": (0, 1), "C": (0,), "G": (), "T": (1,)}
NAMED = (
    "four-colour, three-colour(dark: G), two-colour, or a table such as {A: [red], C: [red, green]}"
)


@dataclass(frozen=True, slots=True)
class Chemistry:
    """Light of each base in each channel.

    Parameters
    ----------
    channels : names of the base channels, in the order of the images
    table : rows A, C, G, T, one number (0 or 1, or a share) for each channel

    Examples
    --------
    >>> resolve_chemistry("three-colour(dark: G)", ["T", "A", "C"]).dark
    'G'
    """

    channels: tuple[str, ...]
    table: tuple[tuple[float, ...], ...]

    @property
    def code(self) -> NDArray[np.float64]:
        """The table as a (4, channel) array."""
        return np.asarray(self.table, float)

    @property
    def dark(self) -> str:
        """Bases without light."""
        return "".join(base for base, row in zip(BASES, self.table) if not any(row))

    def reordered(self, order: Sequence[int]) -> Chemistry:
        """The chemistry when the channel at place i of the images is the one at `order[i]` here."""
        table = tuple(tuple(row[i] for i in order) for row in self.table)
        return Chemistry(tuple(self.channels[i] for i in order), table)

    def named_by_bases(self) -> Chemistry:
        """The chemistry with each channel named by the bases that light it up."""
        columns = zip(*self.table, strict=True)
        names = ("".join(base for base, lit in zip(BASES, column) if lit) for column in columns)
        return Chemistry(tuple(names), self.table)

    def orders(self) -> list[Chemistry]:
        """This chemistry under every order of its channels, itself first; equal tables once."""
        seen: dict[tuple[tuple[float, ...], ...], Chemistry] = {}
        for order in permutations(range(len(self.channels))):
            other = self.reordered(order)
            seen.setdefault(other.table, other)
        return list(seen.values())


def base_letters(channels: Sequence[str]) -> dict[str, str]:
    """The bases that names of channels say: as their letter, or with it apart, as in `Cy3-G`.

    One letter that stands apart is no base, as in `A-594`: there must be three or four.

    Examples
    --------
    >>> base_letters(["DAPI", "g", "T"]), base_letters(["G_Cy3", "T_Cy5", "A 594", "DAPI"])
    ({'g': 'G', 'T': 'T'}, {'G_Cy3': 'G', 'T_Cy5': 'T', 'A 594': 'A'})
    """
    exact = {name: name.upper() for name in channels if name.upper() in (*BASES,)}
    if exact:
        return exact
    parts = {name: set(re.split(r"[\W_]+", name.upper())) & {*BASES} for name in channels}
    found = {name: letters.pop() for name, letters in parts.items() if len(letters) == 1}
    return found if 3 <= len(found) == len(set(found.values())) else {}


def resolve_chemistry(spec: ChemistrySpec, channels: Sequence[str]) -> Chemistry:
    """Make the table from its name, or from the channels of each base.

    Parameters
    ----------
    spec : `four-colour`, `three-colour(dark: G)`, `two-colour`, or a mapping of each base to the
        names of the channels in which it lights up (an empty list for a dark base)
    channels : names of the base channels in the order of the images; with four and three colours
        they are letters of bases, or have such a letter apart, as in `Cy3-G` (anything else is
        taken to be in the order A, C, G, T)
    """
    names = tuple(channels)
    if len(set(names)) != len(names):
        raise ConfigError(f"channels {', '.join(names)} name one channel twice: name each once")
    rows = _custom(spec, names) if isinstance(spec, Mapping) else _by_name(spec, names)
    chemistry = Chemistry(names, tuple(tuple(float(v) for v in rows[base]) for base in BASES))
    _check(chemistry)
    return chemistry


def is_two_colour(spec: ChemistrySpec) -> bool:
    """Whether this is the named chemistry of two colours."""
    return isinstance(spec, str) and _plain(spec) == "two-colour"


def _plain(spec: str) -> str:
    return spec.lower().replace("color", "colour").replace(" ", "").replace("_", "-")


def _by_name(spec: str, names: tuple[str, ...]) -> dict[str, list[float]]:
    plain = _plain(spec)
    if plain == "four-colour":
        return _one_channel_each(names, BASES, spec)
    three = re.fullmatch(r"three-colour(?:\(dark:([acgt])\))?", plain)
    if three:
        dark = (three.group(1) or "g").upper()
        lit = BASES.replace(dark, "")
        return _one_channel_each(names, lit, spec) | {dark: [0.0] * len(names)}
    if plain == "two-colour":
        _require_count(names, 2, spec)
        return {base: [float(i in on) for i in range(2)] for base, on in TWO_COLOUR.items()}
    raise ConfigError(f"chemistry {spec!r} is not known: use {NAMED}")


def _one_channel_each(names: tuple[str, ...], lit: str, spec: str) -> dict[str, list[float]]:
    _require_count(names, len(lit), spec)
    letters = list(base_letters(names).values())
    order = letters if sorted(letters) == sorted(lit) else list(lit)
    return {base: [float(letter == base) for letter in order] for base in lit}


def _require_count(names: tuple[str, ...], count: int, spec: str) -> None:
    if len(names) != count:
        raise ConfigError(
            f"chemistry {spec!r} needs {count} base channels, got {len(names)} "
            f"({', '.join(names)}): correct `channels` or `chemistry`; bases are channels called "
            "A, C, G, T or auto, or all but the nuclear stain (DAPI, Hoechst … or segment.channel)"
        )


def _custom(spec: Mapping[str, Sequence[str]], names: tuple[str, ...]) -> dict[str, list[float]]:
    given = {str(base).upper(): tuple(on) for base, on in spec.items()}
    if set(given) != set(BASES):
        raise ConfigError(
            f"the chemistry table names {', '.join(given)}: it must name A, C, G and T"
        )
    unknown = sorted({name for on in given.values() for name in on} - set(names))
    if unknown:
        raise ConfigError(
            f"the chemistry table names channel {', '.join(unknown)}; the images have "
            f"{', '.join(names)}: correct `chemistry` or `channels`"
        )
    return {base: [float(name in on) for name in names] for base, on in given.items()}


def _check(chemistry: Chemistry) -> None:
    rows = [tuple(row) for row in chemistry.table]
    for i, row in enumerate(rows):
        if row in rows[:i]:
            twin = BASES[rows.index(row)]
            raise ConfigError(
                f"bases {twin} and {BASES[i]} light up the same channels and cannot be told apart: "
                "correct `chemistry`"
            )
    for name, column in zip(chemistry.channels, chemistry.code.T):
        if not column.any():
            raise ConfigError(
                f"no base lights up channel {name}: leave it out of the base channels"
            )
