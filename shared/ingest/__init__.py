"""Raw files to arrays and plates: name patterns, readers and the manifest."""

from poolvox.shared.ingest.conversion import Conversion, convert
from poolvox.shared.ingest.guessing import Guess, guess
from poolvox.shared.ingest.manifest import Manifest, Problem, TileKey
from poolvox.shared.ingest.pattern import Pattern
from poolvox.shared.ingest.scanning import scan
from poolvox.shared.ingest.spec import RawSpec
from poolvox.shared.ingest.template import raw_block

__all__ = [
    "Conversion",
    "Guess",
    "Manifest",
    "Pattern",
    "Problem",
    "RawSpec",
    "TileKey",
    "convert",
    "guess",
    "raw_block",
    "scan",
]
