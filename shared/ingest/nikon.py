"""ND2 files of Nikon microscopes, through the optional package `nd2`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolvox.shared.errors import InputError
from poolvox.shared.ingest.readers import Header, Scene

__all__ = ["describe_nd2", "read_nd2"]

_WELL = re.compile(r"(?<![A-Za-z0-9])([A-P]\d{1,2})(?!\d)")


def describe_nd2(path: Path) -> Header:
    """Read the header of an ND2 file; each of its positions is a scene."""
    with _open(path) as file:
        sizes = {axis: int(size) for axis, size in file.sizes.items()}
        if sizes.get("S", 1) > 1:
            raise InputError("the ND2 file is an RGB picture: export its channels as grey images")
        loops = [axis for axis in sizes if axis not in "CYXS"]
        unknown = set(loops) - set("PTZ")
        if unknown:
            raise InputError(f"the ND2 file has a loop {sorted(unknown)}: only P, T, Z are known")
        names = _positions(file, sizes.get("P", 1))
        scenes = tuple(_scene(sizes, loops, p, name) for p, name in enumerate(names))
        voxel = file.voxel_size()
        spacing = {axis: float(getattr(voxel, axis)) for axis in "zyx"}
        # Files of before 2012 have metadata of another kind, without names.
        listed = getattr(file.metadata, "channels", None) or ()
        channels = tuple(str(c.channel.name) for c in listed)
        return Header(
            "nd2",
            np.dtype(file.dtype),
            scenes,
            # A file without a z loop carries a z step of 0 or 1 that means nothing.
            {a: s for a, s in spacing.items() if s > 0 and (a != "z" or sizes.get("Z", 1) > 1)},
            channels if len(channels) == sizes.get("C", 1) else (),
            path.stat().st_size,
        )


def read_nd2(path: Path, scene: Scene, planes: Iterable[int]) -> list[NDArray[Any]]:
    """Read planes of one position; a frame holds all channels, and is read once."""
    count = scene.sizes["c"]
    frames: dict[int, NDArray[Any]] = {}
    found: list[NDArray[Any]] = []
    with _open(path) as file:
        for page in (scene.pages[plane] for plane in planes):
            number, channel = divmod(page, count)
            if number not in frames:
                frame = np.asarray(file.read_frame(number))
                frames = {number: frame.reshape(count, *scene.shape[-2:])}
            found.append(frames[number][channel])
    return found


def _open(path: Path) -> Any:
    try:
        import nd2
    except ImportError:
        raise InputError(
            "ND2 files need the package nd2: pip install 'poolvox[nd2]', or export TIFF files"
        ) from None
    try:
        return nd2.ND2File(path)
    except PermissionError:
        raise InputError("no permission to read the file: change its mode or owner") from None
    except Exception as error:
        raise InputError(f"the ND2 file cannot be opened ({error}): copy it again") from None


def _scene(sizes: dict[str, int], loops: list[str], position: int, name: str) -> Scene:
    """List the frames of one position: frames are counted along the loops, the last fastest."""
    lengths = [sizes[axis] for axis in loops]
    t, c, z = (sizes.get(axis, 1) for axis in "TCZ")
    pages: list[int] = []
    for at_t, at_c, at_z in product(range(t), range(c), range(z)):
        at = {"P": position, "T": at_t, "Z": at_z}
        place = tuple(at[axis] for axis in loops)
        frame = int(np.ravel_multi_index(place, tuple(lengths))) if math.prod(lengths) > 1 else 0
        pages.append(frame * c + at_c)
    well = _WELL.search(name)
    return Scene(
        "tczyx",
        (t, c, z, sizes["Y"], sizes["X"]),
        tuple(pages),
        (well.group(1) if well else None, None),
    )


def _positions(file: Any, count: int) -> list[str]:
    """Give the names of the stage positions, empty where they have none."""
    for loop in file.experiment or ():
        if getattr(loop, "type", "") == "XYPosLoop":
            names = [str(point.name or "") for point in loop.parameters.points]
            return names if len(names) == count else [""] * count
    return [""] * count
