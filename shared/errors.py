"""One tree of errors. A message says what was got, what was expected, and what to do."""

from __future__ import annotations

__all__ = ["ConfigError", "EngineError", "InputError", "PoolvoxError", "StoreError"]


class PoolvoxError(Exception):
    """Something the user can mend: shown as one message, without a traceback."""


class ConfigError(PoolvoxError):
    """The configuration is wrong; the message names file, line and key."""


class InputError(PoolvoxError):
    """A raw file, image or table is missing, unreadable or not what was promised."""


class StoreError(PoolvoxError):
    """An OME-Zarr store is incomplete, invalid, or would be written unsafely."""


class EngineError(PoolvoxError):
    """A run cannot start or go on: output in use, disk full, journal damaged."""
