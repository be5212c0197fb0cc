"""Name patterns: what a file's path says about plate, well, tile, cycle, channel and z.

`raw/c{cycle}/W-{well}_T-{tile:3}.tif` is read as literal text with fields. A field never spans a
folder; `*` stands for any text in a name, `**` for any folders, `{_}` for text that may vary and is
ignored, `{name:3}` for a value of exactly three characters (digits where the field is a number). A
field that occurs twice must hold the same text. `{{` and `}}` are literal braces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

from poolvox.shared.errors import ConfigError

__all__ = ["FIELDS", "Pattern", "match_whole", "normalise", "well_name"]

# Letters, digits and hyphens of any script: an underscore or a dot ends the value, so that
# `{tile}.tif` does not take `3_thumb.tif` for a tile.
_WORD = r"(?:[^\W_]|-)"
# Rows of plates of up to 1536 wells.
_ROW = "(?:[Aa][A-Fa-f]|[A-Pa-p])"
_CLASSES = {
    "plate": r"[^/]",
    "well": r"[0-9A-Za-z -]",
    "row": r"[0-9A-Za-z]",
    "col": r"[0-9]",
    "tile": _WORD,
    "cycle": _WORD,
    "channel": r"[^/_]",
    "z": r"[0-9]",
    "organoid": _WORD,
}
_NUMBERED = frozenset({"tile", "cycle", "z", "organoid", "col"})
_VALUES = {
    "plate": r"[^/]+?",
    "well": rf"(?:{_ROW}(?: ?- ?)?)?[0-9]{{1,3}}",
    "row": rf"(?:{_ROW}|[0-9]{{1,2}})",
    "col": r"[0-9]{1,3}",
    "tile": _WORD + "+?",
    "cycle": _WORD + "+?",
    "channel": r"[^/_]+?",
    "z": r"-?[0-9]+",
    "organoid": _WORD + "+?",
}
FIELDS = tuple(_VALUES)
# A value does not end within a number: `c{cycle}*` takes all of `c10_late`.
_WHOLE = r"(?:(?<![0-9])|(?![0-9]))"

_TOKEN = re.compile(
    r"(?P<literal>\{\{|\}\}|[^{}*?]+)|(?P<any>\*\*/?|\*|\?)|\{(?P<field>[^{}:]*)(?::(?P<width>[^{}]*))?\}"
)


@dataclass(frozen=True, slots=True)
class Token:
    """One piece of a pattern: as it was written, and the expression that matches it."""

    text: str
    regex: str
    field: str | None = None
    width: int | None = None


@dataclass(frozen=True)
class Pattern:
    """A compiled name pattern, relative to a folder, with `/` between folders.

    Examples
    --------
    >>> Pattern("c{cycle}/W-{well}_T-{tile}.tif").match("c2/W-B03_T-17.tif")
    {'cycle': '2', 'well': 'B03', 'tile': '17'}
    """

    text: str

    def __post_init__(self) -> None:
        """Refuse patterns that cannot tell where a file belongs."""
        if "/".join(self.segments) == "":
            raise ConfigError("the file pattern is empty: give one such as raw/{well}_{tile}.tif")
        if self.fields.count("row") != self.fields.count("col"):
            raise ConfigError(f"the pattern {self.text!r} has only one of {{row}} and {{col}}")
        if "well" in self.fields and "row" in self.fields:
            raise ConfigError(f"the pattern {self.text!r} has {{well}} and {{row}}: keep one")

    @cached_property
    def segments(self) -> tuple[str, ...]:
        """Names of folders and of the file, without empty ones and `.`."""
        parts = self.text.replace("\\", "/").split("/")
        return tuple(part for part in parts if part not in ("", "."))

    @cached_property
    def anchor(self) -> str:
        """What an absolute pattern starts with: `/` or a drive's letter is kept in the path."""
        return "/" if self.text.replace("\\", "/").startswith("/") else ""

    @cached_property
    def folder(self) -> str:
        """The leading folders without any field."""
        fixed: list[str] = []
        for segment in self.segments[:-1]:
            if not all(token.regex == re.escape(token.text) for token in _tokens(segment)):
                break
            fixed.append(_plain(segment))
        return self.anchor + "/".join(fixed)

    @cached_property
    def variable(self) -> tuple[str, ...]:
        """The segments that follow `folder`."""
        return self.segments[len([part for part in self.folder.split("/") if part]) :]

    @cached_property
    def tokens(self) -> tuple[Token, ...]:
        """Pieces of the part that follows `folder`."""
        return tuple(_tokens("/".join(self.variable)))

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The fields that occur, each once, in order."""
        found = [token.field for token in _tokens("/".join(self.segments)) if token.field]
        return tuple(dict.fromkeys(found))

    @cached_property
    def regex(self) -> re.Pattern[str]:
        """What matches a path relative to `folder`."""
        return re.compile(_join(self.tokens))

    @cached_property
    def loose(self) -> re.Pattern[str] | None:
        """What matches where a field that occurs twice is written 1 and 01; None without such."""
        fields = [token.field for token in self.tokens if token.field]
        repeated = len(set(fields)) < len(fields)
        return re.compile(_join(self.tokens, exact=False)) if repeated else None

    @cached_property
    def levels(self) -> tuple[re.Pattern[str] | None, ...]:
        """One expression per folder level to prune a walk by; None from the first `**` on."""
        levels: list[re.Pattern[str] | None] = []
        for segment in self.variable:
            if "**" in segment:
                return (*levels, None)
            levels.append(re.compile(_join(_tokens(segment))))
        return tuple(levels)

    def match(self, path: str) -> dict[str, str] | None:
        """Give the fields of `path`, relative to `folder`, as they are written, or None."""
        found = self.regex.fullmatch(path)
        if found is None and self.loose is not None:
            found = self.loose.fullmatch(path)
        if found is None:
            return None
        values = found.groupdict()
        for name in [name for name in values if "_" in name]:
            field, again = name.partition("_")[0], values.pop(name)
            if normalise(field, again) != normalise(field, values[field]):
                return None
        return values

    def format(self, values: Mapping[str, str]) -> str:
        """Write the path, relative to `folder`, that has these values; wildcards stay empty."""
        return "".join(_fill(token, values) for token in self.tokens)

    def progress(self, path: str) -> tuple[int, str]:
        """Tell how many characters of `path` match, and which piece of the pattern came next."""
        for count in range(len(self.tokens), -1, -1):
            found = re.match(_join(self.tokens[:count], anchored=False, exact=False), path)
            if found:
                return self._broken(path, found.end(), count)
        return 0, self.text

    def _broken(self, path: str, end: int, count: int) -> tuple[int, str]:
        """Take the letters that still agree with the literal that follows `count` pieces."""
        if count == len(self.tokens):
            return end, "the end"
        text = self.tokens[count].text
        if self.tokens[count].regex != re.escape(_plain(text)):
            return end, text
        text = _plain(text)
        pairs = zip(text, path[end:], strict=False)
        same = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
        return end + same, text[same:]


def normalise(field: str, text: str) -> str:
    """Write a field's value in its one form: numbers without leading zeros, wells as `A1`.

    Examples
    --------
    >>> normalise("tile", "007"), normalise("well", "b03"), normalise("cycle", "SBS-2")
    ('7', 'B3', 'SBS-2')
    """
    if field == "well":
        return well_name(text)
    if field in _NUMBERED and text.isdecimal():
        return str(int(text))
    return text


def match_whole(pattern: Pattern, name: str) -> dict[str, str] | None:
    """Match a whole name: the pattern's fixed folder is cut off before."""
    return pattern.match(name[len(pattern.folder) + 1 :] if pattern.folder else name)


def well_name(text: str, column: str | None = None) -> str:
    """Give the one name of a well: `A01`, `a1`, `A - 1`, row 1 and column 1 are all `A1`.

    Wells that are only numbered, as on a plate of six, become columns of row A.
    """
    if column is not None:
        row = _letters(int(text)) if text.isdecimal() else text.upper()
        return f"{row}{int(column)}"
    bare = text.replace(" ", "").replace("-", "")
    letters = bare.rstrip("0123456789")
    digits = bare[len(letters) :]
    return f"{letters.upper() or 'A'}{int(digits)}" if digits else bare


def _letters(row: int) -> str:
    """Name rows as spreadsheets do: 1 is A, 27 is AA."""
    name = ""
    while row > 0:
        row, place = divmod(row - 1, 26)
        name = chr(ord("A") + place) + name
    return name or "A"


def _tokens(text: str) -> list[Token]:
    tokens: list[Token] = []
    position = 0
    for found in _TOKEN.finditer(text):
        if found.start() != position:
            break
        tokens.append(_token(found, text))
        position = found.end()
    if position != len(text):
        raise ConfigError(
            f"the pattern {text!r} has a single brace at {text[position:]!r}: "
            "write fields as {name}, and braces of the file's name as {{ and }}"
        )
    return tokens


def _token(found: re.Match[str], text: str) -> Token:
    written = found.group()
    if found["literal"]:
        return Token(written, re.escape({"{{": "{", "}}": "}"}.get(written, written)))
    if found["any"]:
        wild = {"*": "[^/]*?", "?": "[^/]", "**": ".*?", "**/": "(?:.*/)?"}[written]
        return Token(written, wild)
    name = found["field"]
    width = _width(found["width"], written)
    if name == "_":
        return Token(written, f"[^/]{{{width}}}" if width else "[^/]*?", None, width)
    if name not in _VALUES:
        known = ", ".join(f"{{{field}}}" for field in FIELDS)
        raise ConfigError(f"the pattern {text!r} has {written}; it may have {known} and {{_}}")
    if width is None:
        return Token(written, _VALUES[name], name)
    one = "[0-9]" if name in _NUMBERED else _CLASSES[name]
    return Token(written, f"{one}{{{width}}}", name, width)


def _width(text: str | None, written: str) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or not 0 < int(text) < 100:
        raise ConfigError(f"{written} in the pattern: the width must be a number, as in {{tile:3}}")
    return int(text)


def _is_open(token: Token) -> bool:
    """Whether a piece takes any text, so that only the value before it tells where it begins."""
    return token.field is None and token.width is None and token.regex.endswith("*?")


def _join(
    tokens: tuple[Token, ...] | list[Token], *, anchored: bool = True, exact: bool = True
) -> str:
    """Write one expression; a field that occurs again must be the same text, if `exact`."""
    seen: dict[str, int | None] = {}
    parts: list[str] = []
    for place, token in enumerate(tokens):
        if token.field is None:
            parts.append(token.regex)
        elif token.field not in seen:
            seen[token.field] = token.width
            parts.append(f"(?P<{token.field}>{token.regex})")
            if (
                token.width is None
                and tokens[place + 1 : place + 2]
                and _is_open(tokens[place + 1])
            ):
                parts.append(_WHOLE)
        elif exact and seen[token.field] == token.width:
            parts.append(f"(?P={token.field})")
        else:
            parts.append(f"(?P<{token.field}_{place}>{token.regex})")
    return "".join(parts) + (r"\Z" if anchored else "")


def _plain(segment: str) -> str:
    return segment.replace("{{", "{").replace("}}", "}")


def _fill(token: Token, values: Mapping[str, str]) -> str:
    if token.field is None:
        wild = token.text.startswith(("*", "?")) or token.text.startswith("{_")
        return "" if wild else _plain(token.text)
    value = values[token.field]
    return value.rjust(token.width, "0") if token.width else value
