"""What pydantic finds wrong with a configuration, in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from poolvox.shared.document import Document, KeyPath, Place, type_name

__all__ = ["complaints", "nearest"]

_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "date_type": "a date",
    "dict_type": "a block of keys and values",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "mapping_type": "a block of keys and values",
    "model_attributes_type": "a block of keys and values",
    "model_type": "a block of keys and values",
    "path_type": "a path",
    "set_type": "a list",
    "string_type": "text",
    "tuple_type": "a list",
    "none_required": "nothing",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than": "less than {lt:g}",
    "less_than_equal": "{le:g} or less",
    "string_too_short": "text of {min_length} or more characters",
    "string_too_long": "text of at most {max_length} characters",
    "string_pattern_mismatch": "text like {pattern}",
    "too_long": "at most {max_length} values",
    "too_short": "{min_length} or more values",
}
# Half the letters in common: closer guesses miss `pixel` for `pixel_size`.
_LIKENESS = 0.5


def complaints(
    error: ValidationError, document: Document, model: type[BaseModel]
) -> list[tuple[Place, str]]:
    """Translate all mistakes: one per key, in the order of the file.

    The alternatives of a union complain one by one; here they become one sentence.
    """
    found: dict[KeyPath, list[dict[str, Any]]] = {}
    for mistake in error.errors(include_url=False):
        found.setdefault(_key(mistake, document.data), []).append(dict(mistake))
    # `[1.3, x]` is a wrong pair rather than no number: the inner place says more.
    inner = {
        key: ms for key, ms in found.items() if not any(_within(other, key) for other in found)
    }
    return [
        (document.place(key), f"{_name(key)}: {_sentence(key, mistakes, model)}")
        for key, mistakes in inner.items()
    ]


def nearest(word: str, known: list[str]) -> str:
    """Suggest what was meant, or list what there is."""
    near = get_close_matches(word, known, 1, _LIKENESS)
    if near:
        return f"did you mean {near[0]}?"
    return f"possible are {', '.join(known)}" if known else "nothing is expected here"


def _key(mistake: dict[str, Any] | Any, data: Any) -> KeyPath:
    """Strip pydantic's names of unions and functions from a place."""
    key: list[str | int] = []
    location = mistake["loc"]
    for depth, part in enumerate(location):
        last = depth == len(location) - 1
        if _holds(data, part):
            data = data[part]
        elif not (last and mistake["type"] == "missing"):
            continue
        key.append(part)
    return tuple(key)


def _holds(data: Any, part: Any) -> bool:
    if isinstance(data, list):
        return isinstance(part, int) and part < len(data)
    return isinstance(data, dict) and part in data


def _within(inner: KeyPath, outer: KeyPath) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer and bool(outer)


def _name(key: KeyPath) -> str:
    """Write a place as in `raw.stacks.voxel_size[1]`."""
    text = ""
    for part in key:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the file"


def _sentence(key: KeyPath, mistakes: list[dict[str, Any]], model: type[BaseModel]) -> str:
    first = mistakes[0]
    if all(m["type"] == "missing" for m in mistakes):
        if isinstance(key[-1], int):
            return f"value number {key[-1] + 1} of the list is missing"
        return f"the key is missing{_about(key, model)}"
    if any(m["type"] == "extra_forbidden" for m in mistakes):
        known = list(_fields_at(model, key[:-1]))
        return f"there is no such key; {nearest(str(key[-1]), known)}"
    own = [
        str(m["ctx"]["error"]) for m in mistakes if m["type"] in ("value_error", "assertion_error")
    ]
    if own:
        return "; ".join(dict.fromkeys(own))
    # Of the right type, but out of bounds: the other alternatives are not what was meant.
    close = [m for m in mistakes if not m["type"].endswith(("_type", "_parsing"))] or mistakes
    expected = " or ".join(dict.fromkeys(_expected(m) for m in close))
    sentence = f"got {type_name(first['input'])}, expected {expected}"
    return sentence + _meant(mistakes)


def _expected(mistake: dict[str, Any]) -> str:
    kind, context = mistake["type"], mistake.get("ctx", {})
    if kind in ("literal_error", "enum"):
        return str(context["expected"]).replace("'", "")
    if kind in _EXPECTED:
        return _EXPECTED[kind].format(**context)
    message = str(mistake["msg"])
    return message.removeprefix("Input should be ").removeprefix("Value should be ")


def _meant(mistakes: list[dict[str, Any]]) -> str:
    for mistake in mistakes:
        if mistake["type"] in ("literal_error", "enum") and isinstance(mistake["input"], str):
            words = _expected(mistake).replace(" or ", ", ").split(", ")
            near = get_close_matches(mistake["input"], words, 1, _LIKENESS)
            if near:
                return f"; did you mean {near[0]}?"
    return ""


def _about(key: KeyPath, model: type[BaseModel]) -> str:
    field = _fields_at(model, key[:-1]).get(str(key[-1]))
    return f" ({field.description})" if field is not None and field.description else ""


def _fields_at(model: type[BaseModel], key: KeyPath) -> dict[str, Any]:
    """Fields of the model or models that a key leads to."""
    models = [model]
    for part in key:
        inner: list[type[BaseModel]] = []
        for owner in models:
            if part in owner.model_fields:
                inner += _models_in(owner.model_fields[str(part)].annotation)
            else:  # an element of a list or a name in a mapping: its model stays
                inner.append(owner)
        models = inner
    return {name: field for owner in models for name, field in owner.model_fields.items()}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
