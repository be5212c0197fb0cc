"""Object tables with planted truth: a pooled screen, or a plate whose wells were treated.

A cell is a point in a space of latent factors: where its class lies, plus the shift of its
perturbation, plus its own noise. Features are mixtures of the factors with noise of their own, on
scales and offsets that differ as those of real measurements do. Plates and wells shift the
features; calls are right as often as their posterior says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["ScreenTables", "TableParams", "simulate_plate", "simulate_screen_tables"]

Array = NDArray[np.float64]

CONTROL: Final = "nontargeting"
CLASSES: Final = ("interphase", "mitotic", "apoptotic", "large")
GROUPS: Final = ("Shape", "Intensity", "Texture", "Radial")
COMPARTMENTS: Final = ("Nuclei", "Cells")
# Side of a tile, and of a pixel.
TILE_PIXELS: Final = 1024
PIXEL_UM: Final = 0.65
# Shape of the posteriors of calls: most are near 1.
POSTERIOR: Final = (12.0, 0.6)
# Distance of a phenotype class from the commonest one, in standard deviations of a factor.
CLASS_DISTANCE: Final = 4.0


@dataclass(frozen=True, slots=True)
class TableParams:
    """What is planted.

    Parameters
    ----------
    genes, guides : genes, and guides of each
    controls : guides without a target
    cells : mean number of cells of a guide; they scatter more than a Poisson number does
    active : share of the genes that do something
    effect : length of an active gene's shift, in standard deviations of a cell's latent state
    efficacy : smallest part of the gene's effect that one of its guides has; the largest is 1
    families : active genes fall into so many families; genes of a family shift the same way
    features, factors : measured columns, and latent factors behind them
    shared : part of a feature's variance that comes from the factors
    plates, wells, tiles : plates, wells of each, tiles of each well
    plate_shift, plate_scale : standard deviation of the shift of a feature between plates, in
        standard deviations of the feature, and of the logarithm of its scale
    well_shift : the same between the wells of a plate
    uncalled : share of the cells without a call
    classes : shares of the phenotype classes of untouched cells, at most four
    missing, outliers : share of values that are missing, and of objects that are debris
    constant : columns without any spread that come on top
    """

    genes: int = 30
    guides: int = 4
    controls: int = 12
    cells: float = 60.0
    active: float = 0.3
    effect: float = 1.0
    efficacy: float = 0.6
    families: int = 3
    features: int = 60
    factors: int = 12
    shared: float = 0.7
    plates: int = 2
    wells: int = 6
    tiles: int = 4
    plate_shift: float = 0.5
    plate_scale: float = 0.1
    well_shift: float = 0.1
    uncalled: float = 0.1
    classes: tuple[float, ...] = (0.85, 0.1, 0.05)
    missing: float = 0.0
    outliers: float = 0.0
    constant: int = 0


@dataclass(frozen=True, slots=True)
class ScreenTables:
    """Tables as a run leaves them, and the truth behind them.

    Parameters
    ----------
    objects : one row per cell: keys, positions, guide, gene, calls, features
    library : one row per guide: `Metadata_Guide`, `Metadata_Gene`, `Metadata_Control`
    guides : one row per guide: `guide`, `gene`, `control`, `active`, `effect` (length of the
        shift), `family` (-1 where there is none)
    cells : one row per row of `objects`: `guide` that is really inside, `class`, `outlier`
    shifts : (plates, features) of the plates, in standard deviations of the features
    directions : (families, features) along which each family shifts
    """

    objects: pd.DataFrame
    library: pd.DataFrame
    guides: pd.DataFrame
    cells: pd.DataFrame
    shifts: Array
    directions: Array

    @property
    def features(self) -> list[str]:
        """Names of the columns that vary."""
        return [name for name in map(str, self.objects) if name.split("_")[0] in COMPARTMENTS]

    @property
    def active(self) -> set[str]:
        """Genes that do something."""
        return set(self.guides.loc[self.guides["active"], "gene"])


def simulate_screen_tables(params: TableParams, rng: np.random.Generator) -> ScreenTables:
    """Draw a pooled screen: every guide is on every plate, its cells are anywhere.

    Examples
    --------
    >>> tables = simulate_screen_tables(TableParams(genes=3, plates=1), np.random.default_rng(0))
    >>> sorted(set(tables.objects["Metadata_Gene"]) - {""})
    ['gene001', 'gene002', 'gene003', 'nontargeting']
    """
    space = _Space.draw(params, rng)
    guides = _draw_guides(params, rng)
    inside = _draw_cells(params, len(guides), rng)
    effects = guides["effect"].to_numpy()[:, None] * space.families[guides["family"].to_numpy()]
    place = _places(params, len(inside), rng)
    values, cells = _measure(params, space, effects[inside], place, rng)
    cells.insert(0, "guide", guides["guide"].to_numpy()[inside])
    calls = _draw_calls(params, guides, inside, rng)
    objects = pd.concat([place, calls, values], axis=1)
    library = guides[["guide", "gene", "control"]].set_axis(
        ["Metadata_Guide", "Metadata_Gene", "Metadata_Control"], axis=1
    )
    return _in_order(objects, library, guides, cells, space)


def simulate_plate(
    params: TableParams, rng: np.random.Generator, *, doses: tuple[float, ...] = (1.0,)
) -> ScreenTables:
    """Draw a plate of treated wells: `genes` compounds at each dose, `guides` wells of each.

    The effect grows with the dose as Hill's curve with its middle at the geometric mean of the
    doses. `Metadata_Treatment` and `Metadata_Dose` stand in the place of guide and gene; wells
    without treatment have dose 0.
    """
    space = _Space.draw(params, rng)
    compounds = _draw_guides(params, rng).drop_duplicates("gene", ignore_index=True)
    compounds["guide"] = compounds["gene"] = compounds["gene"].str.replace("gene", "compound")
    compounds.loc[compounds["control"], ["guide", "gene"]] = "vehicle"
    wells = [(row, dose) for row in compounds.index for dose in doses for _ in range(params.guides)]
    vehicle = int(np.flatnonzero(compounds["control"])[0])
    wells = [well for well in wells if well[0] != vehicle]
    wells += [(vehicle, 0.0)] * params.controls
    middle = float(np.exp(np.mean(np.log(doses))))
    which, dose = (np.array(part) for part in zip(*wells))
    response = 2 * dose / (dose + middle) if len(doses) > 1 else (dose > 0).astype(float)
    strength = compounds["effect"].to_numpy()[which] * response
    effects = strength[:, None] * space.families[compounds["family"].to_numpy()[which]]
    return _fill_wells(params, space, compounds, (which, dose, effects), rng)


def _fill_wells(
    params: TableParams,
    space: _Space,
    compounds: pd.DataFrame,
    wells: tuple[NDArray[np.intp], Array, Array],
    rng: np.random.Generator,
) -> ScreenTables:
    """Objects of wells that are spread over the plates at random."""
    which, dose, effects = wells
    seat = np.empty(len(which), dtype=np.intp)
    seat[rng.permutation(len(which))] = np.arange(len(which))
    counts = np.maximum(rng.poisson(params.cells, len(which)), 1)
    row = np.repeat(np.arange(len(which)), counts)
    place = pd.DataFrame(
        {
            "Metadata_Plate": [f"P{k % params.plates + 1}" for k in seat[row]],
            "Metadata_Well": [_well(k // params.plates, 12) for k in seat[row]],
            "Metadata_Organoid": "1",
        }
    )
    place["Metadata_Label"] = place.groupby(["Metadata_Plate", "Metadata_Well"]).cumcount() + 1
    values, cells = _measure(params, space, effects[row], place, rng)
    names = compounds["gene"].to_numpy()[which]
    treated = pd.DataFrame({"Metadata_Treatment": names[row], "Metadata_Dose": dose[row]})
    cells.insert(0, "guide", names[row])
    objects = pd.concat([place, treated, values], axis=1)
    library = compounds[["gene", "control"]].set_axis(
        ["Metadata_Treatment", "Metadata_Control"], axis=1
    )
    return _in_order(objects, library, compounds, cells, space)


def _in_order(
    objects: pd.DataFrame,
    library: pd.DataFrame,
    guides: pd.DataFrame,
    cells: pd.DataFrame,
    space: _Space,
) -> ScreenTables:
    """Tables as a run writes them: plate by plate, well by well."""
    keys = ["Metadata_Plate", "Metadata_Well", "Metadata_Tile", "Metadata_Label"]
    order = objects.sort_values([key for key in keys if key in objects], kind="stable").index
    return ScreenTables(
        objects.loc[order].reset_index(drop=True),
        library,
        guides,
        cells.loc[order].reset_index(drop=True),
        space.plates,
        space.families[:-1] @ space.loadings.T,
    )


@dataclass(frozen=True, slots=True)
class _Space:
    """Latent space and what lies between it and the features.

    `families` has a row of zeros at its end, the family of those that do nothing.
    """

    loadings: Array
    families: Array
    classes: Array
    plates: Array
    scales: Array
    location: Array
    spread: Array
    skewed: NDArray[np.bool_] = field(repr=False)

    @classmethod
    def draw(cls, params: TableParams, rng: np.random.Generator) -> _Space:
        size = (params.features, params.factors)
        families = _unit(rng.standard_normal((params.families, params.factors)))
        classes = CLASS_DISTANCE * _unit(rng.standard_normal((len(CLASSES), params.factors)))
        classes[0] = 0
        return cls(
            loadings=_unit(rng.standard_normal(size)) * np.sqrt(params.shared),
            families=np.vstack([families, np.zeros(params.factors)]),
            classes=classes,
            plates=params.plate_shift * rng.standard_normal((params.plates, params.features)),
            scales=np.exp(params.plate_scale * rng.standard_normal(params.plates)),
            location=rng.uniform(0, 50, params.features),
            spread=10 ** rng.uniform(-1, 2, params.features),
            skewed=rng.random(params.features) < 0.2,
        )


def _unit(rows: Array) -> Array:
    unit: Array = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _draw_guides(params: TableParams, rng: np.random.Generator) -> pd.DataFrame:
    """The first genes are the active ones; the last guides are the controls."""
    busy = round(params.active * params.genes)
    number = np.repeat(np.arange(params.genes), params.guides)
    active = number < busy
    length = params.effect * rng.uniform(params.efficacy, 1.0, len(number)) * active
    targeting = pd.DataFrame(
        {
            "guide": [f"gene{g + 1:03}_{k % params.guides + 1}" for k, g in enumerate(number)],
            "gene": [f"gene{g + 1:03}" for g in number],
            "control": False,
            "active": active,
            "effect": length,
            "family": np.where(active, number % max(params.families, 1), -1),
        }
    )
    controls = pd.DataFrame({"guide": [f"{CONTROL}_{k + 1}" for k in range(params.controls)]})
    controls = controls.assign(gene=CONTROL, control=True, active=False, effect=0.0, family=-1)
    return pd.concat([targeting, controls], ignore_index=True)


def _draw_cells(params: TableParams, guides: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Guide of every cell; a library is never even, so the counts follow a gamma mixture."""
    abundance = rng.gamma(8.0, params.cells / 8.0, guides)
    return rng.permutation(np.repeat(np.arange(guides), rng.poisson(abundance)))


def _well(number: int, columns: int) -> str:
    return f"{chr(ord('A') + number // columns)}{number % columns + 1}"


def _places(params: TableParams, cells: int, rng: np.random.Generator) -> pd.DataFrame:
    plate, well, tile = (
        rng.integers(0, n, cells) for n in (params.plates, params.wells, params.tiles)
    )
    position = rng.uniform(0, TILE_PIXELS, (cells, 2))
    place = pd.DataFrame(
        {
            "Metadata_Plate": np.array([f"P{k + 1}" for k in range(params.plates)])[plate],
            "Metadata_Well": np.array([_well(k, 6) for k in range(params.wells)])[well],
            "Metadata_Tile": np.array([str(k + 1) for k in range(params.tiles)])[tile],
            "Metadata_Y": position[:, 0],
            "Metadata_X": position[:, 1],
            "Metadata_Y_um": position[:, 0] * PIXEL_UM,
            "Metadata_X_um": position[:, 1] * PIXEL_UM,
        }
    )
    label = place.groupby(["Metadata_Plate", "Metadata_Well", "Metadata_Tile"]).cumcount() + 1
    place.insert(3, "Metadata_Label", label)
    return place


def _measure(
    params: TableParams,
    space: _Space,
    effects: Array,
    place: pd.DataFrame,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Features of cells with these shifts at these places, and their classes."""
    cells = len(effects)
    share = np.array(params.classes) / sum(params.classes)
    state = rng.choice(len(share), cells, p=share)
    latent = rng.standard_normal((cells, params.factors)) + effects + space.classes[state]
    own = np.sqrt(1 - params.shared) * rng.standard_normal((cells, params.features))
    values = latent @ space.loadings.T + own
    plate, _ = pd.factorize(place["Metadata_Plate"], sort=True)
    well, wells = pd.factorize(place["Metadata_Plate"] + "/" + place["Metadata_Well"], sort=True)
    drift = params.well_shift * rng.standard_normal((len(wells), params.features))
    values = values * space.scales[plate][:, None] + space.plates[plate] + drift[well]
    values[:, space.skewed] = np.exp(0.5 * values[:, space.skewed])
    outlier = rng.random(cells) < params.outliers
    values[outlier] += 12 * rng.standard_normal((int(outlier.sum()), params.features))
    values = values * space.spread + space.location
    values[rng.random(values.shape) < params.missing] = np.nan
    table = pd.DataFrame(values.astype(np.float32), columns=_names(params.features))
    constant = {f"Cells_Constant_{k + 1}": np.float32(k) for k in range(params.constant)}
    truth = pd.DataFrame({"class": np.array(CLASSES)[state], "outlier": outlier})
    return table.assign(**constant), truth


def _names(count: int) -> list[str]:
    kinds = [f"{one}_{group}" for one in COMPARTMENTS for group in GROUPS]
    return [f"{kinds[k % len(kinds)]}_M{k // len(kinds) + 1:02}" for k in range(count)]


def _draw_calls(
    params: TableParams,
    guides: pd.DataFrame,
    inside: NDArray[np.intp],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Calls that are right with the probability that they state."""
    posterior = rng.beta(*POSTERIOR, len(inside))
    right = rng.random(len(inside)) < posterior
    called = np.where(right, inside, rng.integers(0, len(guides), len(inside)))
    known = rng.random(len(inside)) >= params.uncalled
    names = guides[["guide", "gene"]].to_numpy(dtype=object)[called]
    names[~known] = ""
    posterior[~known] = rng.uniform(0, 0.5, int((~known).sum()))
    return pd.DataFrame(
        {
            "Metadata_Guide": names[:, 0].astype(str),
            "Metadata_Gene": names[:, 1].astype(str),
            "Call_Posterior": posterior,
            "Call_QValue": _running_error(posterior),
        }
    )


def _running_error(posterior: Array) -> Array:
    """Expected share of wrong calls among those that are at least as sure."""
    order = np.argsort(-posterior, kind="stable")
    rate = np.empty_like(posterior)
    rate[order] = np.cumsum(1 - posterior[order]) / np.arange(1, len(posterior) + 1)
    return rate
