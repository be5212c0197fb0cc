"""How the files of known instruments are named."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["INSTRUMENTS", "Instrument"]


@dataclass(frozen=True, slots=True)
class Instrument:
    """One vendor's layout.

    Attributes
    ----------
    key : which reader of `vendors` knows the files beside the images
    name : what the user calls it
    files : patterns of file names, the most specific first
    folders : patterns of folder names that mean something
    exclude : what is no image of the experiment
    """

    key: str
    name: str
    files: tuple[str, ...]
    folders: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


INSTRUMENTS = (
    Instrument(
        "imagexpress",
        "ImageXpress (MetaXpress)",
        (
            # A site, a wavelength and a unique number in hexadecimal, which is ignored.
            "{plate}_{well}_s{tile}_w{channel:1}{_:36}.tif",
            "{plate}_{well}_s{tile}_w{channel}_z{z}.tif",
            "{plate}_{well}_s{tile}_w{channel}.tif",
            "{plate}_{well}_s{tile}{_:36}.tif",
            "{plate}_{well}_w{channel:1}{_:36}.tif",
            "{plate}_{well}_w{channel}.tif",
            "{plate}_{well}_s{tile}.tif",
            "{well}_s{tile}_w{channel}_z{z}.tif",
            "{well}_s{tile}_w{channel}.tif",
        ),
        ("TimePoint_{cycle}", "ZStep_{z}"),
        ("*_thumb*",),
    ),
    Instrument(
        "harmony",
        "Opera Phenix or Operetta (Harmony)",
        (
            "r{row}c{col}f{tile}p{z}-ch{channel}sk{cycle}fk{_}fl{_}.tiff",
            "r{row}c{col}f{tile}p{z}-ch{channel}t{cycle}.tiff",
            "r{row}c{col}f{tile}p{z}-ch{channel}.tiff",
        ),
    ),
    Instrument(
        "cellvoyager",
        "CellVoyager (Yokogawa)",
        ("{plate}_{well}_T{cycle}F{tile}L{_}A{_}Z{z}C{channel}.tif",),
    ),
    Instrument(
        "micromanager",
        "Micro-Manager",
        (
            "{plate}_MMStack_{well}-Site_{tile}.ome.tif",
            "{plate}_MMStack_{_}-Pos{tile}.ome.tif",
            "{plate}_MMStack_Pos{tile}.ome.tif",
            "{plate}_MMStack_{tile}.ome.tif",
            "img_channel{channel}_position{tile}_time{cycle}_z{z}.tif",
            "img_{cycle}_{channel}_{z}.tif",
        ),
        ("{well}-Site_{tile}", "Pos{tile}", "{_}-Pos{tile}"),
    ),
    Instrument(
        "nikon",
        "Nikon (NIS-Elements)",
        (
            "Well{well}_Point{_}_{tile}_Channel{channel}_Seq{_}.nd2",
            "Well{well}_Channel{channel}_Seq{_}.nd2",
            "Well{well}_Point{_}_{tile}_Channel{channel}_Seq{_}.tif",
            "Well{well}_Channel{channel}_Seq{_}.tif",
        ),
    ),
)
