"""The block under `raw:` of a configuration: which files there are, and what they hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from poolvox.shared.config import ConfigPattern, Model
from poolvox.shared.errors import ConfigError
from poolvox.shared.ingest.pattern import Pattern, normalise

__all__ = ["AXES", "RawSpec"]

# Order of the axes of every array that is handed on: cycle, channel, z, y, x.
AXES = "tczyx"

Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _text(value: Any) -> Any:
    """Take numbers for names: YAML reads `cycles: [1, 2]` as numbers."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Name = Annotated[str, BeforeValidator(_text), Field(min_length=1)]
Channels = Literal["auto"] | tuple[Name, ...] | dict[str, Name]


class RawSpec(Model):
    """Raw files of one kind, e.g. the sequencing images of a plate.

    Attributes
    ----------
    files : one or more name patterns, relative to the configuration's folder
    channels : names in the order of the file (or of the sorted `{channel}` values), or a mapping
        of names to what stands in the file's name or to the channel's number, or `auto`: as the
        files name them
    pixel_size : micrometres, one number or (y, x); read from the files where it is not given
    voxel_size : micrometres (z, y, x); read from the files where it is not given
    only_in : channels that some cycles alone have, with those cycles, such as `{DAPI: [1]}`; all
        other channels are in all cycles
    axes : order of the axes in each file, e.g. `zcyx`, where the file does not say it or is wrong
    cycles : the cycles to take, in this order; all that are found where it is not given
    exclude : name patterns (with `*`) of files to leave out
    """

    files: ConfigPattern | tuple[ConfigPattern, ...]
    channels: Channels = "auto"
    pixel_size: Length | tuple[Length, Length] | None = None
    voxel_size: tuple[Length, Length, Length] | None = None
    only_in: dict[Name, tuple[Name, ...]] = Field(default_factory=dict)
    axes: str | None = None
    cycles: tuple[Name, ...] | None = None
    exclude: tuple[str, ...] = ()

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """The compiled patterns of `files`."""
        texts = (self.files,) if isinstance(self.files, str) else self.files
        return tuple(Pattern(text) for text in texts)

    @property
    def apart(self) -> bool:
        """Whether places may differ in size: organoids do, each has a view of its own."""
        return "organoid" in self.patterns[0].fields

    @property
    def names(self) -> tuple[str, ...] | None:
        """Names of the channels, where the configuration gives them."""
        return None if self.channels == "auto" else tuple(self.channels)

    def lacks(self, channel: str, cycle: str) -> bool:
        """Whether a cycle was imaged without a channel; cycles as `normalise` writes them."""
        cycles = self.only_in.get(channel)
        return cycles is not None and cycle not in {normalise("cycle", name) for name in cycles}

    def channels_of(self, cycle: str) -> Channels:
        """`channels` without those that a cycle lacks."""
        if self.channels == "auto" or not self.only_in:
            return self.channels
        kept = [name for name in self.channels if not self.lacks(name, cycle)]
        if isinstance(self.channels, dict):
            return {name: self.channels[name] for name in kept}
        return tuple(kept)

    @property
    def spacing(self) -> Mapping[str, float]:
        """What is given of the spacing, in micrometres, by axis."""
        given: dict[str, float] = {}
        if self.pixel_size is not None:
            size = self.pixel_size
            pair = size if isinstance(size, tuple) else (size, size)
            given.update(zip("yx", pair, strict=True))
        if self.voxel_size is not None:
            given.update(zip("zyx", self.voxel_size, strict=True))
        return given

    @field_validator("files")
    @classmethod
    def _patterns_compile(cls, files: str | tuple[str, ...]) -> str | tuple[str, ...]:
        texts = (files,) if isinstance(files, str) else files
        try:
            fields = {frozenset(Pattern(text).fields) for text in texts}
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if not texts:
            raise ValueError("no pattern is given: give one such as raw/{well}_{tile}.tif")
        if len(fields) > 1:
            raise ValueError("all patterns must have the same fields, such as {well} and {tile}")
        return files

    @field_validator("channels")
    @classmethod
    def _channels_differ(cls, channels: Any) -> Any:
        if channels != "auto" and not channels:
            raise ValueError("channels is empty: name at least one, or write auto")
        # `auto` may stand for several channels whose order is found later.
        values = channels.values() if isinstance(channels, dict) else channels
        twice = [] if channels == "auto" else [n for n, k in Counter(values).items() if k > 1]
        if twice and twice != ["auto"]:
            raise ValueError(f"channels names {twice[0]!r} twice: every channel needs its own name")
        return channels

    @field_validator("axes")
    @classmethod
    def _axes_are_known(cls, axes: str | None) -> str | None:
        if axes is None:
            return None
        axes = axes.lower()
        if set(axes) - set(AXES) or len(set(axes)) != len(axes) or not {"y", "x"} <= set(axes):
            raise ValueError(
                f"axes is {axes!r}: use each of t (cycle), c, z, y, x at most once, with y and x, "
                "in the order in which the file holds them, e.g. zcyx"
            )
        return axes

    @model_validator(mode="after")
    def _only_in_fits(self) -> RawSpec:
        if not self.only_in:
            return self
        unknown = [name for name in self.only_in if name not in (self.names or ())]
        if unknown:
            raise ValueError(
                f"only_in names {unknown[0]!r}, which channels does not: name all channels that "
                "any cycle has, in order"
            )
        if "cycle" not in self.patterns[0].fields:
            raise ValueError("only_in needs {cycle} in files: it tells which files lack a channel")
        return self

    @model_validator(mode="after")
    def _one_size(self) -> RawSpec:
        if self.pixel_size is not None and self.voxel_size is not None:
            raise ValueError("give pixel_size (y, x) or voxel_size (z, y, x), not both")
        return self
