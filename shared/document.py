"""A YAML file that remembers on which line each key stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from poolvox.shared.errors import ConfigError

__all__ = ["Document", "KeyPath", "Place", "dump_yaml", "parse_value", "read_document"]

KeyPath = tuple[str | int, ...]

# A file of nested aliases can stand for more values than any memory holds.
MOST_VALUES = 100_000

# The core schema of YAML 1.2. PyYAML follows 1.1, which reads the names `no` and `on` as booleans,
# `1e-3` as text, `12:30` as the number 750 and the well `0012` as 10.
_SCHEMA = (
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("tag:yaml.org,2002:merge", r"<<", "<"),
)


class _Loader(yaml.SafeLoader):
    """Safe, with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own interface)


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would not read back as text."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own interface)

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _tag, _regex, _first in _SCHEMA:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_tag, re.compile(rf"^(?:{_regex})$"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:float", lambda _, node: float(_plain(node.value)))
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))


def _plain(number: str) -> str:
    """Write infinity and NaN as Python does."""
    return number.lower().replace(".inf", "inf").replace(".nan", "nan")


def _represent_text(dumper: _Dumper, text: str) -> yaml.Node:
    # Unicode's own line breaks would be read back as spaces.
    style = '"' if any(c in text for c in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: a line of a file, or an option of the command."""

    source: str
    line: int = 0

    def __str__(self) -> str:
        """Write it as editors and terminals understand it."""
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Document:
    """What a file holds, where its keys are, and what is wrong already as YAML."""

    path: Path
    data: dict[str, Any]
    places: dict[KeyPath, Place]
    problems: list[tuple[Place, str]] = field(default_factory=list)

    def place(self, key: KeyPath) -> Place:
        """Where a key stands; for one that is not there, the block that it belongs to."""
        while key and key not in self.places:
            key = key[:-1]
        return self.places.get(key, Place(str(self.path), 1))

    def override(self, assignment: str) -> None:
        """Set one value as in `decode.fdr=0.05`, as if the file said it.

        Raises
        ------
        ConfigError
            if it is not `key=value`, or goes into something that is not a block
        """
        name, equals, text = assignment.partition("=")
        keys = name.strip().split(".")
        if not equals or not all(keys):
            raise ConfigError(f"--set {assignment}: write it as key=value, e.g. decode.fdr=0.05")
        place = Place(f"--set {assignment}")
        block = self.data
        for depth, key in enumerate(keys[:-1], 1):
            self.places.setdefault(tuple(keys[:depth]), place)
            inner = block.setdefault(key, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"{place}: {'.'.join(keys[:depth])} is not a block of keys")
            block = inner
        block[keys[-1]] = parse_value(text, place)
        self.places[tuple(keys)] = place


def read_document(path: Path) -> Document:
    """Read a configuration file.

    Raises
    ------
    ConfigError
        if it cannot be read, is not YAML, or holds no keys. Doubled keys are kept as `problems`, to
        be told with the other mistakes.
    """
    text = _read_text(path)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            raise ConfigError(f"{path}: the file is empty; `poolvox init` writes one that runs")
        if _written_out(node, {}) > MOST_VALUES:
            raise ConfigError(
                f"{path}: written out, its aliases come to more than {MOST_VALUES} values"
            )
        document = Document(path, {}, {})
        value = _Builder(loader, document).build(node, ())
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_explain(path, text, error)) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: this is not YAML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: the brackets or blocks are nested too deeply") from None
    finally:
        loader.dispose()
    if not isinstance(value, dict):
        line = node.start_mark.line + 1
        message = f"{path}:{line}: expected lines such as `pipeline: ops`, got {type_name(value)}"
        raise ConfigError(message)
    document.data.update(value)
    return document


def parse_value(text: str, place: Place) -> Any:
    """Read one value as YAML does."""
    try:
        node = yaml.compose(text, _Loader)
        if node is None or _written_out(node, {}) <= MOST_VALUES:
            return yaml.load(text, _Loader)
        raise ValueError
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigError(f"{place}: {text:.60} is not a value in YAML") from None


def _written_out(node: yaml.Node, known: dict[int, int]) -> int:
    """Count the values below a node with each alias written out, without writing any out."""
    if id(node) not in known:
        known[id(node)] = 1  # an alias that contains itself is refused later
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            inner = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            inner = node.value
        known[id(node)] = 1 + sum(_written_out(part, known) for part in inner)
    return known[id(node)]


def dump_yaml(data: Any) -> str:
    """Write plain data as YAML, in the order of its keys."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def type_name(value: Any) -> str:
    """Name what a value is, in the words of someone who writes YAML."""
    match value:
        case None:
            return "nothing"
        case bool():
            return f"{str(value).lower()} (true or false)"
        case str():
            return f"the text {value if len(value) <= 60 else value[:57] + '...'!r}"
        case int() | float():
            return f"the number {value}"
        case list() | tuple():
            return f"a list of {len(value)} values" if len(value) != 1 else "a list of 1 value"
        case dict():
            return (
                f"a block with the keys {', '.join(map(str, value))}" if value else "an empty block"
            )
    return f"{value!r}"


class _Builder:
    """Turns nodes into plain data and notes the line of each."""

    def __init__(self, loader: _Loader, document: Document) -> None:
        self._loader = loader
        self._document = document
        self._open: list[yaml.Node] = []

    def build(self, node: yaml.Node, key: KeyPath) -> Any:
        self._document.places.setdefault(key, self._place(node))
        if any(node is outer for outer in self._open):
            raise ConfigError(f"{self._place(node)}: the alias contains itself")
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return dict(self._items(node, key))
            if isinstance(node, yaml.SequenceNode):
                return [self.build(inner, (*key, i)) for i, inner in enumerate(node.value)]
            return self._loader.construct_object(node, deep=True)
        except ValueError:  # a date that does not exist, a number of thousands of digits
            shown = f"{node.value:.40}"
            raise ConfigError(f"{self._place(node)}: {shown!r} is no value: use quotes") from None
        finally:
            self._open.pop()

    def _items(self, node: yaml.MappingNode, key: KeyPath) -> Iterator[tuple[str, Any]]:
        self._note_doubled(node, key)
        self._loader.flatten_mapping(node)
        for name_node, value_node in node.value:
            name = self._name(name_node)
            self._document.places[(*key, name)] = self._place(name_node)
            yield name, self.build(value_node, (*key, name))

    def _note_doubled(self, node: yaml.MappingNode, key: KeyPath) -> None:
        first: dict[str, int] = {}
        for name_node, _ in node.value:
            if name_node.tag == "tag:yaml.org,2002:merge":
                continue
            name, line = self._name(name_node), name_node.start_mark.line + 1
            if name in first:
                full = ".".join(map(str, (*key, name)))
                message = f"{full}: the key is there twice, on line {first[name]} already; keep one"
                self._document.problems.append((self._place(name_node), message))
            first.setdefault(name, line)

    def _name(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            message = "a key must be plain text; put text that begins with { or [ in quotes"
            raise ConfigError(f"{self._place(node)}: {message}")
        return str(node.value)

    def _place(self, node: yaml.Node) -> Place:
        return Place(str(self._document.path), node.start_mark.line + 1)


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            f"there is no file {path}; `poolvox init` writes a configuration"
        ) from None
    except IsADirectoryError:
        found = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
        hint = f"; did you mean {found[0]}?" if found else ""
        raise ConfigError(f"{path} is a folder, expected a YAML file{hint}") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    try:
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        message = f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8 text"
        raise ConfigError(f"{path}:{line}: {message}") from None


def _explain(path: Path, text: str, error: yaml.MarkedYAMLError) -> str:
    """Say in plain words where a file stops being YAML, and what is usually the reason."""
    mark = error.problem_mark or error.context_mark
    number = mark.line if mark else 0
    lines = text.splitlines() or [""]
    line = lines[min(number, len(lines) - 1)]
    return f"{path}:{number + 1}: this is not YAML: {_reason(error, line)}\n    {line.strip()}"


def _reason(error: yaml.MarkedYAMLError, line: str) -> str:
    problem = str(error.problem or "")
    before, _, value = line.partition(": ")
    if "'\\t'" in problem or line.lstrip(" ").startswith("\t"):
        return "there is a tab; indent with spaces"
    if "escape character" in problem:
        return "a backslash in double quotes has a meaning of its own; use single quotes"
    if value.lstrip().startswith(("{", "[")) or before.lstrip().startswith("{"):
        return "text that begins with { or [ must be in quotes, and every bracket be closed"
    if "could not find expected ':'" in problem or "mapping values" in problem:
        return "expected one `key: value` on each line, with a space behind the colon"
    if "while scanning a quoted scalar" in str(error.context or ""):
        return "a quote is not closed"
    if "undefined alias" in problem or "cannot start any token" in problem:
        return "text that begins with *, &, @, % or ` must be in quotes"
    if "expected a single document" in str(error.context or ""):
        return "a second document begins here; use one file for each"
    if "could not determine a constructor" in problem:
        return "tags such as !name are not allowed"
    if "block" in problem or "block" in str(error.context or ""):
        return "the indentation does not fit the lines before"
    return problem
