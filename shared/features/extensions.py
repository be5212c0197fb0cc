"""Groups of features that users add: found by import path, in a file, or in installed packages.

A group is found where its name says so:

- `lab_features.spots:reach`, a module that can be imported, and the group `reach` it registers;
- `groups/reach.py:reach`, a file of Python, and the group it registers; in a configuration its
  path is relative to that of the configuration;
- `reach`, where an installed package declares it as an entry point of the group
  `poolvox.features`, such as `reach = "lab_features.spots"`.

The module registers its groups with `poolvox.shared.features.register` when it is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from hashlib import sha256
from importlib import import_module, util
from importlib.metadata import entry_points
from inspect import getsourcefile
from pathlib import Path
from types import ModuleType
from typing import Any

from poolvox.shared.errors import ConfigError

__all__ = ["digest_source", "import_group", "installed_groups", "split_path"]

GROUP = "poolvox.features"


def split_path(name: str) -> tuple[str, str]:
    """Module or file, and group, that a name stands for; the former is empty in a plain name.

    Examples
    --------
    >>> split_path("lab/spots.py:reach"), split_path("shape")
    (('lab/spots.py', 'reach'), ('', 'shape'))
    """
    place, _, group = name.rpartition(":")
    return place.strip(), group.strip()


def import_group(name: str) -> str:
    """Import what registers a group, and hand back the group's own name."""
    place, group = split_path(name)
    if place:
        _import(place)
    elif group.lower() in (declared := installed_groups()):
        declared[group.lower()]()
    return group


def installed_groups() -> dict[str, Callable[[], Any]]:
    """Groups that installed packages declare, each with the function that imports it."""
    return {point.name: point.load for point in sorted(entry_points(group=GROUP))}


def digest_source(function: Callable[..., Any]) -> str:
    """What tells one version of a user's group from another; empty for those of this package."""
    if function.__module__.startswith("poolvox."):
        return ""
    source = getsourcefile(function)
    return sha256(Path(source).read_bytes()).hexdigest() if source else ""


def _import(place: str) -> ModuleType:
    try:
        return _load_file(Path(place)) if place.endswith(".py") else import_module(place)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"cannot import {place!r} for its groups of features: {type(error).__name__}: {error}"
        ) from error


def _load_file(path: Path) -> ModuleType:
    """The module of a file, executed once for each of its versions."""
    if not path.is_file():
        raise ConfigError(f"there is no file {path} of groups of features")
    stamp = sha256(str(path.resolve()).encode() + path.read_bytes()).hexdigest()[:16]
    name = f"_poolvox_groups_{stamp}"
    if name in sys.modules:
        return sys.modules[name]
    spec = util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is no file of Python")
    module = util.module_from_spec(spec)
    # Dataclasses of options look up their own module.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
