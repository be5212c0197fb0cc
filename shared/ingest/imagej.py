"""What ImageJ writes into TIFF files beside the pixels: sizes and labels of the planes."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["channel_names", "parse_description", "plane_labels"]

MAGIC: Final = {"<": b"JIJI", ">": b"IJIJ"}
LABELS: Final = {"<": b"lbal", ">": b"labl"}
# ImageJ labels a plane with its file when it was put together from single ones.
FILE_ENDINGS: Final = (".tif", ".tiff", ".png", ".jpg", ".nd2", ".czi", ".dv", ".lif")


def parse_description(text: str) -> dict[str, str]:
    """Read the lines `name=value`."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def plane_labels(metadata: bytes, counts: Sequence[int], order: str) -> tuple[str, ...]:
    """Read the labels of the planes from ImageJ's tag; none where it holds no whole labels.

    Parameters
    ----------
    metadata : value of tag 50839: a header of types with their numbers, then all entries
    counts : value of tag 50838: bytes of the header and of each entry
    order : `<` or `>`
    """
    if not counts or metadata[:4] != MAGIC[order] or sum(counts) > len(metadata):
        return ()
    header = metadata[4 : counts[0]]
    kinds = struct.iter_unpack(order + "4sI", header[: len(header) // 8 * 8])
    place, entry = counts[0], 1
    for kind, number in kinds:
        sizes = counts[entry : entry + number]
        if kind == LABELS[order]:
            ends = [place + sum(sizes[: i + 1]) for i in range(len(sizes))]
            texts = (metadata[end - size : end] for size, end in zip(sizes, ends))
            code = "utf-16-le" if order == "<" else "utf-16-be"
            return tuple(text.decode(code, errors="replace") for text in texts)
        place, entry = place + sum(sizes), entry + number
    return ()


def channel_names(labels: Sequence[str], sizes: Mapping[str, int]) -> tuple[str, ...]:
    """Take labels for names of channels if each channel has its own one in all planes.

    Parameters
    ----------
    sizes : of `t`, `z` and `c`, of which c runs fastest
    """
    count = sizes["c"]
    names = tuple(label.strip() for label in labels[:count])
    whole = len(labels) == count * sizes["t"] * sizes["z"]
    repeated = all(label.strip() == names[i % count] for i, label in enumerate(labels))
    named = all(name and not name.lower().endswith(FILE_ENDINGS) for name in names)
    return names if whole and repeated and named and len(set(names)) == count > 1 else ()
