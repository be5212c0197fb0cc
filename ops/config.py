"""The configuration of a pooled screen."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from poolvox.ops.chemistry import Chemistry, base_letters, is_two_colour, resolve_chemistry
from poolvox.ops.library import LibrarySpec
from poolvox.ops.objects import FEATURE_GROUPS
from poolvox.shared.config import Model, RunConfig
from poolvox.shared.errors import ConfigError
from poolvox.shared.features import FeatureGroups, known_groups
from poolvox.shared.ingest import RawSpec
from poolvox.shared.profiles.config import ProfilesConfig

__all__ = ["DecodeConfig", "OpsConfig", "RawImages", "SegmentConfig", "order_is_open"]

Share = Annotated[float, Field(gt=0, lt=1)]
Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]

# Names by which nuclear stains go, in the order in which they are looked for.
NUCLEAR = ("dapi", "hoechst", "nuclei", "nuclear", "draq5", "h33342")


class RawImages(Model):
    """The raw images: those of the sequencing cycles, and of the phenotype where there are any.

    The phenotype images are not joined to the cells yet; the report says so.
    """

    sbs: RawSpec
    phenotype: RawSpec | None = None


class SegmentConfig(Model):
    """How nuclei and cells are found in the first cycle.

    Attributes
    ----------
    channel : the nuclear stain; `auto` looks for DAPI, Hoechst and the like; `none` where there is
        no such channel, so that only reads are found
    diameter : of a nucleus, micrometres; measured on every tile where it is not given
    grow : how far a cell reaches beyond its nucleus, micrometres; 0.4 diameters if not given
    """

    channel: str = "auto"
    diameter: Length | None = None
    grow: Length | None = None


class AlignConfig(Model):
    """How cycles are aligned, in pixels.

    Attributes
    ----------
    max_shift : no cycle drifts further
    max_residual : a tile whose planes are further apart is flagged
    """

    max_shift: Length = 100.0
    max_residual: Length = 0.75


class DecodeConfig(Model):
    """How reads and cells are called.

    Attributes
    ----------
    method : `posterior`, or `classic` for the published chain (largest base, exact match, most
        frequent barcode), for comparison
    fdr : share of wrong ones among the called cells that is accepted
    seed : of decoys and samples
    """

    method: Literal["posterior", "classic"] = "posterior"
    fdr: Share = 0.01
    seed: int = 0


class OpsConfig(RunConfig):
    """Everything that a run of the `ops` pipeline depends on.

    Attributes
    ----------
    features : groups of measurements of nuclei, in their stain of the first cycle, by name or
        with options, such as `texture: {levels: 64}`
    profiles : how guides and genes are compared by them
    """

    pipeline: Literal["ops"] = "ops"
    raw: RawImages
    library: LibrarySpec
    chemistry: str | dict[str, tuple[str, ...]] = "four-colour"
    align: AlignConfig = AlignConfig()
    segment: SegmentConfig = SegmentConfig()
    decode: DecodeConfig = DecodeConfig()
    features: Annotated[FeatureGroups, known_groups(2)] = FEATURE_GROUPS
    profiles: ProfilesConfig = ProfilesConfig()


def nuclear_channel(segment: SegmentConfig, channels: tuple[str, ...]) -> int | None:
    """Place of the nuclear stain among the channels; None where there is none."""
    if segment.channel == "none":
        return None
    lower = [channel.lower() for channel in channels]
    if segment.channel == "auto":
        return _stained(lower)
    if segment.channel.lower() in lower:
        return lower.index(segment.channel.lower())
    raise ConfigError(
        f"segment.channel is {segment.channel!r}, the images have {', '.join(channels)}: "
        "name one of them, or none"
    )


def _stained(lower: list[str]) -> int | None:
    """Place of the channel that has the name of a nuclear stain, or alone has it in its name."""
    for name in NUCLEAR:
        if name in lower:
            return lower.index(name)
    longer = [k for k, channel in enumerate(lower) if any(name in channel for name in NUCLEAR)]
    return longer[0] if len(longer) == 1 else None


def base_channels(
    config: OpsConfig, channels: tuple[str, ...]
) -> tuple[tuple[int, ...], Chemistry]:
    """Places of the base channels, and the chemistry in their order.

    The base channels are those that the chemistry names; failing that, all that are not nuclear.
    """
    nuclear = nuclear_channel(config.segment, channels)
    spec = config.chemistry
    if isinstance(spec, dict):
        named = {name for lit in spec.values() for name in lit}
    else:
        named = set(base_letters(channels))
    places = tuple(k for k, name in enumerate(channels) if name in named)
    if order_is_open(config, channels):
        places = tuple(k for k, name in enumerate(channels) if name == "auto")
        places = places or tuple(k for k in range(len(channels)) if k != nuclear)
        assert isinstance(spec, str)
        nameless = resolve_chemistry(spec, [f"channel {k + 1}" for k in range(len(places))])
        return places, nameless.named_by_bases()
    if not places:
        places = tuple(k for k in range(len(channels)) if k != nuclear)
    return places, resolve_chemistry(spec, [channels[k] for k in places])


def order_is_open(config: OpsConfig, channels: tuple[str, ...]) -> bool:
    """Whether nothing says which channel is which base, so that the library has to.

    Two colours have an order of their own, unless the channels are left to be found.
    """
    if isinstance(config.chemistry, dict):
        return False
    left = config.raw.sbs.channels == "auto" or not is_two_colour(config.chemistry)
    return "auto" in channels or (left and not base_letters(channels))
