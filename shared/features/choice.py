"""Groups of features as configurations, commands and notebooks name them.

A choice is the name of a group, with its options where they differ from the defaults:
`texture`, `texture: {levels: 64, distances_um: [1, 2]}`, `lab.py:reach`. In YAML,

    features:
      - shape
      - texture: {levels: 64, distances_um: [1, 2]}
      - lab.py:reach

is the same, and the command takes `--groups "shape, texture: {levels: 64}, lab.py:reach"`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, TypeAdapter, ValidationError, ValidationInfo

from poolvox.shared.config import Model, resolve_config
from poolvox.shared.document import Place, parse_value, read_document
from poolvox.shared.errors import ConfigError, InputError, PoolvoxError
from poolvox.shared.features.extensions import digest_source, split_path
from poolvox.shared.features.registry import Group, get_group, group_names

__all__ = [
    "FeatureGroups",
    "choose_groups",
    "group_tokens",
    "known_groups",
    "name_of",
    "read_choices",
    "split_choices",
]

OPENING, CLOSING = "{[", "]}"


def choose_groups(
    choices: Iterable[str] | None, ndim: int, options: Iterable[Any] = ()
) -> list[Group]:
    """The groups of those names that work for `ndim` axes, with their options.

    A group that is asked for by name but does not work for `ndim` axes is an error.

    Parameters
    ----------
    choices : as in the module's own description; the common groups if None
    options : options objects of groups; what a choice says itself comes before

    Examples
    --------
    >>> [group] = choose_groups(["texture: {levels: 64}"], 3)
    >>> group.options.levels
    64
    """
    given = {type(option): option for option in options}
    texts = list(choices) if choices is not None else group_names(ndim, common=True)
    chosen: list[Group] = []
    for text in texts:
        name, changes = _read(text)
        group = get_group(name)
        if ndim not in group.dims:
            raise InputError(
                f"group {group.key!r} measures images of {group.dims} axes, these labels "
                f"have {ndim}"
            )
        if any(group.key == before.key for before in chosen):
            raise ConfigError(f"the group {group.key!r} is asked for twice")
        group = replace(group, options=given.pop(type(group.options), group.options))
        chosen.append(replace(group, options=_with(group, changes)) if changes else group)
    if given:
        unused = ", ".join(kind.__name__ for kind in given)
        raise InputError(f"options {unused} belong to no group that is measured")
    return chosen


def group_tokens(choices: Iterable[str]) -> list[str]:
    """What of the choices a result depends on; another text where a user's code was changed."""
    tokens, registered = [], set(group_names())
    for text in choices:
        name = name_of(text)
        # Others are measured by somebody else, such as the tissue graph.
        ours = split_path(name)[0] or name.lower() in registered
        digest = digest_source(get_group(name).measure) if ours else ""
        tokens.append(f"{text} {digest}".strip())
    return tokens


def name_of(choice: str) -> str:
    """Name of the group that a choice is of, with its module or file where it has one."""
    return choice.partition("{")[0].strip().removesuffix(":").rstrip()


def split_choices(text: str) -> list[str]:
    """Choices in one line, separated by commas outside of brackets.

    Examples
    --------
    >>> split_choices("shape, texture: {levels: 64, sigmas_um: [1, 2]}")
    ['shape', 'texture: {levels: 64, sigmas_um: [1, 2]}']
    """
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in OPENING) - (letter in CLOSING)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _as_texts(value: Any, info: ValidationInfo) -> Any:
    """Choices of a configuration as texts, paths of files as seen from it."""
    if isinstance(value, str):
        value = split_choices(value)
    elif isinstance(value, Mapping):
        value = [{name: options} for name, options in value.items()]
    if not isinstance(value, list | tuple):
        return value
    folder = (info.context or {}).get("folder")
    return [_as_text(entry, folder) for entry in value]


def _as_text(entry: Any, folder: Any) -> Any:
    if isinstance(entry, Mapping):
        if len(entry) != 1:
            raise ValueError(f"got {dict(entry)}: expected one group with its options")
        [(name, options)] = entry.items()
        if options is not None and not isinstance(options, Mapping):
            raise ValueError(f"{name}: got {options!r}, expected options such as {{levels: 64}}")
        entry = f"{name}: {json.dumps(dict(options))}" if options else str(name)
    if not isinstance(entry, str):
        return entry
    name = name_of(entry)
    place, group = split_path(name)
    if place.endswith(".py") and folder is not None:
        full = os.path.normpath(os.path.join(folder, os.path.expanduser(place)))
        return f"{full}:{group}{entry.removeprefix(name)}"
    return entry


FeatureGroups = Annotated[tuple[str, ...], BeforeValidator(_as_texts)]
"""Groups of features in a configuration, each a name or a name with options."""


def known_groups(ndim: int, also: Collection[str] = ()) -> AfterValidator:
    """A check of `FeatureGroups` in a configuration, whose mistakes get their file and line.

    Parameters
    ----------
    also : groups that are measured by somebody else, and have no options
    """

    def check(choices: tuple[str, ...]) -> tuple[str, ...]:
        try:
            choose_groups([choice for choice in choices if choice not in also], ndim)
        except PoolvoxError as error:
            more = f" ({' and '.join(also)} are groups without options)" if also else ""
            raise ValueError(f"{error}{more}") from error
        return choices

    return AfterValidator(check)


class _FeaturesFile(Model):
    features: FeatureGroups


def read_choices(text: str | None) -> tuple[str, ...] | None:
    """Choices in a line, see `split_choices`, or those of a YAML file, a pipeline's own too."""
    if text is None:
        return None
    path = Path(text)
    if path.suffix.lower() not in (".yaml", ".yml"):
        return tuple(split_choices(text))
    document = read_document(path)
    if "features" not in document.data:
        raise ConfigError(f"{path}: expected a list of groups called `features`")
    only = replace(document, data={"features": document.data["features"]})
    return resolve_config(only, _FeaturesFile).features


def _read(choice: str) -> tuple[str, dict[str, Any]]:
    brace, rest = choice.partition("{")[1:]
    if not brace:
        return name_of(choice), {}
    try:
        options = parse_value(brace + rest, Place("features"))
    except ConfigError:
        options = None
    if not isinstance(options, dict):
        raise ConfigError(
            f"features: {choice!r}: expected a group such as 'texture: {{levels: 64}}'"
        )
    return name_of(choice), options


def _with(group: Group, changes: Mapping[str, Any]) -> Any:
    """The options of a group with some of them changed, names and types checked."""
    from difflib import get_close_matches

    usual = group.options
    if not is_dataclass(usual) or isinstance(usual, type):
        raise ConfigError(f"group {group.key!r} has no options, got {', '.join(changes)}")
    known = asdict(usual)
    for key in changes:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise ConfigError(f"group {group.key!r} has no option {key!r}: {hint}")
    try:
        return TypeAdapter(type(usual)).validate_python(known | dict(changes))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"group {group.key!r}, option {where}: got {first['input']!r}, {first['msg']}"
        ) from error
