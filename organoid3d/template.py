"""A commented configuration for a folder of stacks, for `poolvox init organoid3d`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from poolvox.organoid3d.config import MEMBRANE, known_stain
from poolvox.shared.ingest import guess, raw_block
from poolvox.shared.ingest.template import run_lines

__all__ = ["write_template"]

TAIL = """\
nuclei:
  channel: {nuclear}           # the nuclear stain; auto looks for nuclei, DAPI, Hoechst ...
  model: default            # the network that ships; or a StarDist folder; or classical
  # diameter: 10            # of a nucleus, micrometres; measured on every stack if not given
organoids:
  channels: auto            # those that show the tissue; auto: the nuclei's and the cells'
  threshold: otsu           # li, triangle, or a number from 0 (all) to 1 (the brightest)
  min_volume: 2000          # cubic micrometres; smaller bodies are debris
  neck: 0.5                 # organoids that touch are cut at thinner necks; 0: never
  # rim: 2.5                # micrometres of cytoplasm round nuclei, where these alone are stained
lumens:
  opening: 3                # micrometres; clefts narrower than twice this are no lumen
  min_volume: 300           # cubic micrometres
cells:
  channel: {cell}             # a membrane or cytoplasm stain; none: the surroundings of nuclei
  stain: membrane           # or cytoplasm
  reach: 10                 # micrometres that a cell may reach beyond its nucleus
attenuation: auto           # loss of light with depth: corrected where nuclei tell it; or off
features: [shape, harmonics, intensity, radial, texture, colocalisation, graph, position]
  # further: granularity, curvature, spots, neighbours; with options: texture: {{levels: 64}};
  # your own: my_groups.py:group
profiles:
  normalize: mad_robustize  # or robustize, standardize, none
  by: plate                 # what is normalised apart
  # annotate: [{{table: plate_map.csv, on: {{Metadata_Well: well}}}}]   # column treatment: hits
  # controls: control       # the treatment that others are compared with
store:
  ngff: "0.5"               # "0.4" for viewers that do not know 0.5
  images: aligned           # none: keep the nuclei's channel, labels and tables only
"""


def write_template(folder: Path) -> str:
    """Write a configuration for the files in `folder` that runs, or says what is unclear."""
    found = guess(folder, "organoid3d")
    head = [
        f"# Written by poolvox init from {found.count} files; look it through before the run.",
        "pipeline: organoid3d",
        *run_lines(folder.resolve().name + "_run", found),
    ]
    block = raw_block(replace(found, files=str(folder / found.files), others=()))
    names = [] if found.channels == "auto" else list(found.channels)
    cell = known_stain(names, MEMBRANE)
    tail = TAIL.format(nuclear="auto", cell="none" if cell is None else json.dumps(cell))
    return "\n".join([*head, block.rstrip("\n"), tail])
