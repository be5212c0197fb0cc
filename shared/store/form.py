"""The form that metadata must have before what they say can be looked at.

Anybody may have written a store. Keys that have a value of another kind would break the code that
reads them far from the cause, so they are told here, by file and key.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from poolvox.shared.errors import StoreError

__all__ = ["check_form"]

TEXT: Final = (str, int)
NUMBERS: Final = [(int, float)]
TRANSFORMS: Final = [{"type!": str, "scale": NUMBERS, "translation": NUMBERS}]
NAMED: Final = [{"name": TEXT}]

# A type, a list of one form, or keys with forms; keys with `!` must be there.
FORMS: Final[Mapping[str, Any]] = {
    "multiscales": [
        {
            "axes": list,
            "datasets": [{"path!": TEXT, "coordinateTransformations": TRANSFORMS}],
            "coordinateTransformations": TRANSFORMS,
        }
    ],
    "omero": {"channels": [{"window": dict}]},
    "plate": {
        "rows": NAMED,
        "columns": NAMED,
        "wells": [{"path!": str}],
        "acquisitions": [dict],
        "field_count": int,
    },
    "well": {"images": [{"path!": TEXT, "acquisition": int}]},
    "labels": [str],
    "image-label": dict,
}
OWN_FORMS: Final[Mapping[str, Any]] = {
    "wells": [str],
    "tiles": [{"path!": str, "name!": TEXT, "acquisition": int}],
}
WORDS: Final = {str: "text", int: "a whole number", float: "a number", list: "a list"}


def check_form(ome: Any, own: Any, file: Path) -> None:
    """Make sure that NGFF's metadata and ours have their form; `null` counts as not there."""
    for value, forms in ((ome, FORMS), (own, OWN_FORMS)):
        wrong = _misfit(value, forms, "")
        if wrong:
            raise StoreError(f"{file}: {wrong}; correct it, or write the image again")
    if not ome.get("multiscales", True):
        del ome["multiscales"]  # an empty list is no image


def _misfit(value: Any, form: Any, name: str) -> str:
    """Say what is wrong with a value; empty if nothing is."""
    if isinstance(form, list):
        if not isinstance(value, list):
            return _wrong(value, list, name)
        found = (_misfit(item, form[0], f"{name}[{i}]") for i, item in enumerate(value))
    elif isinstance(form, Mapping):
        if not isinstance(value, dict):
            return _wrong(value, dict, name)
        found = (_misfit_at(value, key, inner, name) for key, inner in form.items())
    else:
        fits = isinstance(value, form) and not isinstance(value, bool)
        return "" if fits else _wrong(value, form, name)
    return next(filter(None, found), "")


def _misfit_at(block: dict[str, Any], key: str, form: Any, name: str) -> str:
    own = key.removesuffix("!")
    place = f"{name}.{own}" if name else own
    if block.get(own) is None:
        block.pop(own, None)
        return f"{place} is missing" if key != own else ""
    return _misfit(block[own], form, place)


def _wrong(value: Any, form: Any, name: str) -> str:
    kind = form if isinstance(form, type) else form[0]
    return f"{name or 'the metadata'} is {value!r:.60}, expected {WORDS.get(kind, 'an object')}"
