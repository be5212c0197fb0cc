"""Tokens: one hash per unit of everything its result depends on."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any

from poolvox import __version__
from poolvox.shared.engine.plan import Unit
from poolvox.shared.errors import EngineError

__all__ = ["base_token", "function_name", "token"]

_TOKEN_BYTES = 16


def base_token(unit: Unit) -> str:
    """Hash what is known before any work: code version, function and parameters.

    Raises
    ------
    EngineError
        if a parameter is not JSON-able
    """
    try:
        params = json.dumps(dict(unit.params), sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        message = f"the parameters of unit {unit.key!r} cannot be written as JSON ({error})"
        raise EngineError(
            f"{message}: use numbers, texts, lists and dicts; files go to `inputs`"
        ) from error
    return _hash((__version__, unit.step, function_name(unit.call), params))


def token(base: str, inputs: str, needs: Iterable[tuple[str, str]]) -> str:
    """Hash the base of a unit, the identity of its inputs, and key and token of its needs."""
    return _hash((base, inputs, *(f"{key}={value}" for key, value in needs)))


def function_name(call: Callable[..., Any]) -> str:
    """Full name of the function behind a call, through any partial."""
    while isinstance(call, functools.partial):
        call = call.func
    name = getattr(call, "__qualname__", type(call).__qualname__)
    return f"{getattr(call, '__module__', '')}.{name}"


def _hash(parts: Iterable[str]) -> str:
    # Lengths keep ("ab", "c") and ("a", "bc") apart.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.blake2b(text.encode(), digest_size=_TOKEN_BYTES).hexdigest()
