"""What a simulated screen is made of: a few numbers and a seed, grouped by what they describe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

__all__ = [
    "BASES",
    "Camera",
    "Chemistry",
    "Faults",
    "Guides",
    "Layout",
    "Phenotype",
    "ScreenParams",
    "in_colours",
    "preset",
]

BASES = "ACGT"

# Signal of each dye (rows A, C, G, T) in each channel (columns A, C, G, T) over the signal in its
# own, as measured on a real four-colour screen at 10X.
CROSSTALK = (
    (1.00, 0.47, 0.02, 0.01),
    (0.34, 1.00, 0.03, 0.02),
    (0.30, 0.34, 1.00, 0.36),
    (0.29, 0.34, 0.52, 1.00),
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the cells and reads of a tile lie; lengths in pixels of the sequencing image.

    Parameters
    ----------
    shape : rows and columns of a tile
    cells : cells per tile
    nucleus_area : median, in square pixels
    spacing : least distance of two nuclei, median
    reads : mean number of reads of a cell that was transduced; it has at least one
    dispersion : of the number of reads; the smaller, the more they differ between cells
    untransduced, doublets : fractions of cells without a barcode, and with two
    spill : how far, as a standard deviation, a read may lie from where its cell body ends
    stray : reads that belong to no cell, as a fraction of those that do
    """

    shape: tuple[int, int] = (512, 512)
    cells: int = 560
    nucleus_area: float = 89.0
    spacing: float = 11.5
    reads: float = 1.7
    dispersion: float = 3.0
    untransduced: float = 0.42
    doublets: float = 0.05
    spill: float = 1.0
    stray: float = 0.03


@dataclass(frozen=True, slots=True)
class Chemistry:
    """How the sequence of a read becomes light.

    Parameters
    ----------
    channels : names of the base channels, in the order of the file
    code : dyes that each base carries, rows A, C, G, T, columns as `channels`; a dark base is zero
    mixing : light of each dye (row) in each channel (column) over that in its own, in the order of
        `channels`; None takes the figures of a real screen for four colours
    gains : exposure of each channel; all that lies above the camera's offset is multiplied by it
    phasing, prephasing : fraction of the strands that fall behind, and run ahead, in each cycle
    decay : loss of signal per cycle until the exposure is raised, and after it
    exposure_cycle, exposure_jump : the cycle (from 1) at which it is raised, and by how much
    read_spread, cycle_spread : standard deviation of the logarithm of the intensity, between
        reads, and within a read from cycle to cycle
    """

    channels: tuple[str, ...] = ("G", "T", "A", "C")
    code: tuple[tuple[float, ...], ...] = ((0, 0, 1, 0), (0, 0, 0, 1), (1, 0, 0, 0), (0, 1, 0, 0))
    mixing: tuple[tuple[float, ...], ...] | None = None
    gains: tuple[float, ...] = (1.0, 0.8, 2.9, 4.4)
    phasing: float = 0.02
    prephasing: float = 0.005
    decay: tuple[float, float] = (0.10, 0.03)
    exposure_cycle: int = 5
    exposure_jump: float = 1.4
    read_spread: float = 0.52
    cycle_spread: float = 0.67


@dataclass(frozen=True, slots=True)
class Camera:
    """How light becomes an image; lengths in pixels, brightness in counts of the camera.

    `snr` is the signal-to-noise ratio of the median spot: the height of its peak in the channel of
    its base over the standard deviation of the noise on the bare background round it, as the median
    over reads and cycles and the geometric mean over channels.
    """

    snr: float = 30.0
    psf: float = 1.5
    offset: float = 105.0
    background: float = 55.0
    autofluorescence: float = 40.0
    read_noise: float = 2.5
    counts_per_photon: float = 0.5
    vignetting: float = 0.25
    drift: float = 12.0
    rotation: float = 0.0
    scale: float = 0.0
    chromatic: float = 0.6
    nuclear_stain: float = 900.0
    debris: int = 3
    specks: int = 2
    pixel_size: float = 1.3


@dataclass(frozen=True, slots=True)
class Guides:
    """The library: `guides_per_gene` barcodes per gene, and controls named nontargeting.

    Parameters
    ----------
    min_distance : of any two barcodes
    second : cycles, the last ones, that read a second barcode of the guide; 0 where it has one
    recombined : fraction of the cells with one guide whose second barcode is that of another
    """

    genes: int = 90
    guides_per_gene: int = 4
    controls: int = 40
    min_distance: int = 2
    second: int = 0
    recombined: float = 0.0


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong on the microscope; tiles are named `well/tile`, cycles count from 1."""

    missing_tiles: tuple[str, ...] = ()
    dropped_cycles: tuple[tuple[str, int], ...] = ()
    blank_cycles: tuple[tuple[str, int], ...] = ()
    blurred_cycles: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Phenotype:
    """Phenotype images: magnification over the sequencing images, and genes that act.

    `hits` is the number of genes that multiply the marker by `effect`; `rotation` is in degrees,
    `shift` in pixels of the phenotype image.
    """

    magnification: float = 2.0
    rotation: float = 2.0
    shift: tuple[float, float] = (14.0, -9.0)
    hits: int = 6
    effect: float = 2.0


@dataclass(frozen=True, slots=True)
class ScreenParams:
    """A screen to simulate.

    Examples
    --------
    >>> ScreenParams(seed=3, tiles=2).cycles
    9
    """

    seed: int = 0
    wells: tuple[str, ...] = ("A1",)
    tiles: int = 2
    cycles: int = 9
    nuclear_channel: str | None = "DAPI"
    layout: Layout = Layout()
    chemistry: Chemistry = Chemistry()
    camera: Camera = Camera()
    guides: Guides = Guides()
    faults: Faults = Faults()
    phenotype: Phenotype | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of all channels of a sequencing image, in the order of the file."""
        nuclear = (self.nuclear_channel,) if self.nuclear_channel else ()
        return nuclear + self.chemistry.channels


# Milder than a real screen, and calibrated: with these figures SCALLOPS 1.x reaches on the easy
# setting about what it reached on an independent simulator with the same signal-to-noise ratio and
# reads per cell (F1 0.98, there 0.989). With the small cells and unequal exposures of a real screen
# its reads crowd, one in 5 pixels, and its correction of crosstalk by medians fails.
BENCHMARK_CHEMISTRY = Chemistry(
    gains=(1.0, 1.0, 1.0, 1.0),
    phasing=0.01,
    prephasing=0.003,
    read_spread=0.4,
    cycle_spread=0.3,
)
BENCHMARK_LAYOUT = Layout(
    shape=(1024, 1024), nucleus_area=300.0, spacing=20.0, untransduced=0.12, doublets=0.05
)


def preset(name: Literal["default", "clean", "easy", "medium", "hard"]) -> ScreenParams:
    """Named settings: `default` as real data, `clean` for tutorials, three for benchmarks.

    Size of the cells and exposures of the benchmarks were set on the easy one, so that SCALLOPS
    1.x at its best threshold does about as well (F1 0.98) as on an independent simulator with the
    same figures; medium and hard share them.
    """
    if name == "default":
        return ScreenParams()
    if name == "clean":
        return _clean()
    snr, reads, cycles, cells = {
        "easy": (50.0, 9.0, 9, 900),
        "medium": (20.0, 5.0, 12, 1200),
        "hard": (11.0, 4.0, 9, 1400),
    }[name]
    return ScreenParams(
        tiles=1,
        cycles=cycles,
        layout=replace(BENCHMARK_LAYOUT, cells=cells, reads=reads),
        chemistry=BENCHMARK_CHEMISTRY,
        camera=Camera(snr=snr),
        guides=Guides(genes=240, guides_per_gene=4, controls=40),
    )


def in_colours(chemistry: Chemistry, colours: Literal[2, 3, 4]) -> Chemistry:
    """The same reads with the dyes of a kit of two, three or four colours.

    With three, G is dark; with two, A has both dyes, C the first, T the second, and G none.

    Examples
    --------
    >>> in_colours(Chemistry(), 2).channels
    ('red', 'green')
    """
    if colours == 4:
        dyes = Chemistry()
        return replace(chemistry, channels=dyes.channels, code=dyes.code, gains=dyes.gains)
    if colours == 3:
        code: tuple[tuple[float, ...], ...] = ((0, 1, 0), (0, 0, 1), (0, 0, 0), (1, 0, 0))
        return replace(chemistry, channels=("T", "A", "C"), code=code, gains=(0.8, 2.9, 4.4))
    code = ((1, 1), (1, 0), (0, 0), (0, 1))
    mixing = ((1.0, 0.2), (0.1, 1.0))
    names = ("red", "green")
    return replace(chemistry, channels=names, code=code, mixing=mixing, gains=(1.0, 1.6))


def _clean() -> ScreenParams:
    chemistry = Chemistry(
        gains=(1.0, 1.0, 1.0, 1.0),
        phasing=0.0,
        prephasing=0.0,
        decay=(0.0, 0.0),
        exposure_jump=1.0,
        read_spread=0.3,
        cycle_spread=0.2,
    )
    return ScreenParams(
        layout=Layout(reads=4.0, untransduced=0.12, doublets=0.0, spill=0.5, stray=0.0, cells=300),
        chemistry=chemistry,
        camera=Camera(snr=60.0, debris=0, specks=0, drift=4.0),
    )
