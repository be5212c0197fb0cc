"""A commented configuration for a folder of raw files, for `poolvox init ops`."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

from poolvox.ops.columns import LibraryColumns, guess_columns, read_library
from poolvox.shared.errors import InputError
from poolvox.shared.ingest import guess, raw_block
from poolvox.shared.ingest.guessing import Guess
from poolvox.shared.ingest.template import run_lines

__all__ = ["write_template"]

LIBRARY_NAMES = ("*librar*", "*barcode*", "*codebook*", "*")
LIBRARY_ENDS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
USUAL = LibraryColumns("barcode", "sgRNA", "gene_symbol", ("nontargeting",))

TAIL = """\
library:
  file: {library}
{columns}
  # cycles: [1, 2, 3, 5]    # bases of the barcode that were imaged, if not the first ones
                            # two lists where guides carry two barcodes: [[1, 2, 3], [1, 2, 3]]
chemistry: four-colour      # or three-colour(dark: G), two-colour, {{A: [red], C: [red, green] …}}
align:
  max_shift: 100            # pixels; no cycle drifts further
  max_residual: 0.75        # pixels; tiles that are further off are flagged
segment:
  channel: auto             # the nuclear stain; auto looks for DAPI, Hoechst …; none: reads only
  # diameter: 13            # of a nucleus, micrometres; measured where it is not given
  # grow: 5                 # cells reach this far beyond the nucleus, micrometres
decode:
  method: posterior         # or classic: largest base, exact match, most frequent barcode
  fdr: 0.01                 # share of wrong ones among called cells that is accepted
  seed: 0
features: [shape, intensity, texture, radial, neighbours]   # of nuclei, in their stain
profiles:
  normalize: mad_robustize  # or robustize, standardize, none
  by: plate                 # what is normalised apart
  # features: ["Nuclei_*"]  # all but the light of the bases, which spells the barcode
  # embeddings: {{}}          # learn further features from crops of the nuclear stain
store:
  ngff: "0.5"               # "0.4" for viewers that do not know 0.5
  images: aligned           # none: keep only labels and tables
"""


def write_template(folder: Path) -> str:
    """Write a configuration for the files in `folder` that runs, or says what is unclear."""
    found = guess(folder, "ops")
    name = folder.resolve().name
    head = [
        f"# Written by poolvox init from {found.count} files; look it through before the run.",
        "pipeline: ops",
        *run_lines(name + "_run", found),
    ]
    library, columns, notes = _library(folder)
    tail = TAIL.format(library=json.dumps(str(library)), columns="\n".join(columns))
    return "\n".join([*head, raw_block(_below(found, folder)).rstrip("\n"), *notes, tail])


def _below(found: Guess, folder: Path) -> Guess:
    """The guess of the sequencing images alone, its pattern with the folder before it."""
    left = (f"left out: {each.files}, {each.count} files" for each in found.others)
    notes = (*found.notes, *left)
    return replace(found, files=str(folder / found.files), others=(), notes=notes)


def _library(folder: Path) -> tuple[Path, list[str], list[str]]:
    """The file beside the images that is most likely the library, its lines, and notes."""
    for place in (folder, folder.parent):
        for pattern in LIBRARY_NAMES:
            for path in sorted(place.glob(pattern)):
                if path.name.lower().endswith(LIBRARY_ENDS) and path.is_file():
                    columns, notes = _columns(path)
                    # By its name alone a table is no library.
                    if pattern != LIBRARY_NAMES[-1] or columns.barcode:
                        return path, _lines(columns), notes
    missing = ["# no library was found beside the images: name its file"]
    return Path("library.csv"), _lines(USUAL), missing


def _columns(library: Path) -> tuple[LibraryColumns, list[str]]:
    """The library's columns, as its content tells them, or why they are not known."""
    try:
        return guess_columns(read_library(library)), []
    except InputError as error:
        return replace(USUAL, barcode=None), [f"# {error}"]


def _lines(columns: LibraryColumns) -> list[str]:
    about = {
        "barcode": "its column; [first, second] where guides carry two barcodes",
        "guide": "column of the guides' names; without it the barcodes name them",
        "gene": "column of the genes' names",
        "controls": "what the names of control guides or genes hold; NT_* is a whole name",
    }
    return [_line(key, getattr(columns, key), text) for key, text in about.items()]


def _line(key: str, value: str | tuple[str, ...] | None, about: str) -> str:
    if isinstance(value, tuple):
        listed = ", ".join(map(_scalar, value))
        given = f"{key}: {listed}" if len(value) == 1 else f"{key}: [{listed}]"
    else:
        given = f"{key}: {_scalar(value)}" if value is not None else f"# {key}: ?"
    return f"  {given:<25} # {about}"


def _scalar(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z_]\w*", text) else json.dumps(text, ensure_ascii=False)
