"""The configuration of a run on organoid z-stacks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from poolvox.organoid3d.cells import Stain
from poolvox.organoid3d.graph import EdgeKind
from poolvox.organoid3d.masks import LumenOptions, OrganoidOptions, Threshold
from poolvox.organoid3d.measure import DEFAULT_GROUPS, TISSUE_GROUPS, MeasureSettings
from poolvox.shared.config import Model, RunConfig
from poolvox.shared.errors import ConfigError
from poolvox.shared.features import FeatureGroups, known_groups
from poolvox.shared.ingest import RawSpec
from poolvox.shared.profiles.config import ProfilesConfig

__all__ = [
    "MEMBRANE",
    "CellsConfig",
    "LumensConfig",
    "NucleiConfig",
    "Organoid3dConfig",
    "OrganoidsConfig",
    "cell_channel",
    "known_stain",
    "nuclear_channel",
    "tissue_channels",
    "tissue_options",
]

Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Volume = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Part = Annotated[float, Field(gt=0, lt=1)]

# Names by which nuclear stains go, in the order in which they are looked for.
NUCLEAR = ("nuclei", "nuclear", "nucleus", "dapi", "hoechst", "h2b", "draq5", "sir-dna")
# Stains that bound cells.
MEMBRANE = (
    *("membrane", "memb", "actin", "phalloidin", "ecad", "e-cadherin", "cellmask", "myrpalm"),
    *("zo-1", "zo1", "epcam", "caax"),
)
# Gaps that the organoid's mask bridges where only nuclei are stained: about a nucleus, um.
NUCLEI_ONLY_CLOSING = 10.0
# Cytoplasm that is then taken to lie around each nucleus, in radii of a typical nucleus: such a
# nucleus fills three tenths of its cell.
NUCLEI_ONLY_RIM = 0.5


class StackSpec(RawSpec):
    """Raw files of stacks, also where their names tell no organoid."""

    @property
    def apart(self) -> bool:
        """Stacks may differ in size, as they are cut out round an organoid."""
        return True


class RawStacks(Model):
    """The raw stacks, one per organoid or field."""

    stacks: StackSpec


class NucleiConfig(Model):
    """How nuclei are found.

    Attributes
    ----------
    channel : the nuclear stain; `auto` looks for nuclei, DAPI, Hoechst and the like
    model : `classical`; `default`, the network that ships with the package; or the folder of a
        StarDist model
    scale : for networks: factor to the size they were trained on
    diameter : of a nucleus, micrometres; measured on every stack where it is not given
    """

    channel: str = "auto"
    model: str = "default"
    scale: Length | Literal["auto"] = "auto"
    diameter: Length | None = None


class OrganoidsConfig(Model):
    """How organoids are told from the empty field; lengths in micrometres.

    Attributes
    ----------
    channels : those that show the tissue; `auto`: the nuclei's and the cells'
    threshold : otsu, li, triangle, or a part of the range between 0 and 1
    closing : gaps narrower than twice this are bridged; 5, or 10 with nuclei alone
    neck : organoids that touch are told apart where the neck between them is narrower than this
        part of the thinner one's width; 0 leaves them together
    rim : cytoplasm around nuclei that no channel shows: part of the organoid, and no lumen; half
        the radius of a typical nucleus with nuclei alone, else 0
    """

    channels: tuple[str, ...] | Literal["auto"] = "auto"
    threshold: Threshold | Part = "otsu"
    smooth: Length = 1.5
    closing: Volume | None = None
    min_volume: Volume = 2000.0
    neck: Annotated[float, Field(ge=0, le=1)] = 0.5
    rim: Volume | None = None


class LumensConfig(Model):
    """What counts as a lumen; lengths in micrometres.

    With a membrane stain in `cells: {channel: ...}`, only what it closes off from the nuclei, or
    fills; with nuclei alone, only what is far wider than the gaps between them.

    Attributes
    ----------
    opening : clefts narrower than twice this are no lumen
    wall : least thickness of tissue around it
    """

    smooth: Length = 0.8
    opening: Volume = 3.0
    wall: Volume = 3.0
    min_volume: Volume = 300.0


class CellsConfig(Model):
    """How cells grow around nuclei.

    Attributes
    ----------
    channel : a stain that bounds or fills cells; `none`: cells are the surroundings of nuclei
    stain : what the channel shows
    reach : how far a cell may reach beyond its nucleus, micrometres
    """

    channel: str = "none"
    stain: Stain = "membrane"
    reach: Length = 10.0


class GraphConfig(Model):
    """Who is whose neighbour in the tissue graph.

    Attributes
    ----------
    edges : contact, delaunay, knn or radius
    reach : micrometres that nuclei grow before contacts are looked for
    """

    edges: EdgeKind = "delaunay"
    reach: Volume = 0.0


class Organoid3dConfig(RunConfig):
    """Everything that a run of the `organoid3d` pipeline depends on.

    Attributes
    ----------
    attenuation : `auto` corrects the loss of light with depth before nuclei are looked for, where
        the nuclei of a first pass tell it well enough; `off` only measures it
    windows : stacks are segmented in windows, which several workers share and no stack is too large
        for: `auto` where a stack would need more than `engine: memory` (or 80 % of the machine's)
        as a whole, `always`, or `never`. Tables are the same; organoids of very large stacks are
        found and measured on coarser voxels, which is said
    features : groups of measurements, by name or with options, such as `texture: {levels: 64}`;
        and `graph` and `position`, which need the tissue
    profiles : how organoids, wells and treatments are compared by them
    """

    pipeline: Literal["organoid3d"] = "organoid3d"
    raw: RawStacks
    nuclei: NucleiConfig = NucleiConfig()
    organoids: OrganoidsConfig = OrganoidsConfig()
    lumens: LumensConfig = LumensConfig()
    cells: CellsConfig = CellsConfig()
    attenuation: Literal["auto", "off"] = "auto"
    windows: Literal["auto", "always", "never"] = "auto"
    features: Annotated[FeatureGroups, known_groups(3, also=TISSUE_GROUPS)] = DEFAULT_GROUPS
    graph: GraphConfig = GraphConfig()
    profiles: ProfilesConfig = ProfilesConfig()

    def measuring(self) -> MeasureSettings:
        """What is measured; groups that are not known are refused."""
        settings = MeasureSettings(self.features, self.graph.edges, self.graph.reach)
        settings.engine_groups()
        return settings


def nuclear_channel(config: Organoid3dConfig, channels: Sequence[str]) -> str:
    """Name of the nuclear stain among the channels."""
    wanted = config.nuclei.channel
    if wanted == "auto":
        found = known_stain(channels, NUCLEAR)
        if found is not None or len(channels) == 1:
            return found or channels[0]
    elif wanted in channels:
        return wanted
    raise ConfigError(
        f"nuclei.channel is {wanted!r}, the stacks have {', '.join(channels)}: name the one with "
        "the nuclei"
    )


def known_stain(channels: Sequence[str], names: Sequence[str]) -> str | None:
    """Channel of the first of these names; or the only one with a word that begins with one.

    Examples
    --------
    >>> known_stain(["Hoechst 33342", "GFP"], NUCLEAR), known_stain(["w1DAPI", "DAPI-2"], NUCLEAR)
    ('Hoechst 33342', None)
    """
    lower = {channel.lower(): channel for channel in channels}
    exact = [lower[name] for name in names if name in lower]
    # Digits and what stands between words may come before: `w1DAPI`, `405-DAPI`, `DAPI (405)`.
    word = re.compile("|".join(rf"(?:^|[\W\d_]){re.escape(name)}" for name in names))
    alike = [channel for name, channel in lower.items() if word.search(name)]
    if exact or len(alike) == 1:
        return (exact or alike)[0]
    return None


def cell_channel(config: Organoid3dConfig, channels: Sequence[str]) -> str | None:
    """Name of the channel that bounds or fills cells; None where there is none."""
    wanted = config.cells.channel
    if wanted == "none":
        return None
    if wanted not in channels:
        raise ConfigError(
            f"cells.channel is {wanted!r}, the stacks have {', '.join(channels)}: name one of "
            "them, or none"
        )
    return wanted


def tissue_options(
    config: Organoid3dConfig, channels: Sequence[str], diameter: float
) -> tuple[OrganoidOptions, LumenOptions]:
    """How organoids and lumens are found in a stack with these channels.

    Parameters
    ----------
    diameter : of a typical nucleus, micrometres; NaN where there is none
    """
    wanted, lumens = config.organoids, config.lumens
    nuclear, cell = nuclear_channel(config, channels), cell_channel(config, channels)
    shown = tissue_channels(config, channels)
    alone = shown == (nuclear,)
    closing = NUCLEI_ONLY_CLOSING if alone else OrganoidOptions().closing
    rim = NUCLEI_ONLY_RIM * diameter / 2 if alone and diameter > 0 else 0.0
    if wanted.closing is not None:
        closing = wanted.closing
    if wanted.rim is not None:
        rim = wanted.rim
    organoid = OrganoidOptions(
        wanted.threshold, wanted.smooth, closing, wanted.min_volume, wanted.neck, rim
    )
    bounded = config.cells.stain == "membrane" and cell in shown
    lumen = LumenOptions(
        lumens.smooth,
        lumens.opening,
        lumens.wall,
        lumens.min_volume,
        rim,
        shown.index(cell) if bounded and cell is not None else None,
    )
    return organoid, lumen


def tissue_channels(config: Organoid3dConfig, channels: Sequence[str]) -> tuple[str, ...]:
    """Names of the channels that show the organoid."""
    wanted = config.organoids.channels
    if wanted == "auto":
        cell = cell_channel(config, channels)
        nuclear = nuclear_channel(config, channels)
        return (nuclear,) if cell is None or cell == nuclear else (nuclear, cell)
    unknown = [name for name in wanted if name not in channels]
    if unknown or not wanted:
        raise ConfigError(
            f"organoids.channels is {list(wanted)}, the stacks have {', '.join(channels)}"
        )
    return wanted
