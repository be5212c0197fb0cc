"""The `profiles` block of a configuration: every step's options, with their defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from poolvox.shared.config import ConfigPath, Model
from poolvox.shared.profiles.learn.encoder import EmbeddingsConfig
from poolvox.shared.profiles.learn.phenotypes import LearnConfig
from poolvox.shared.profiles.normalise.judging import SelectionOptions
from poolvox.shared.profiles.normalise.selection import DEFAULT_OPERATIONS
from poolvox.shared.profiles.tables.columns import FIELD
from poolvox.shared.profiles.tables.export import ExportConfig

__all__ = [
    "AggregateConfig",
    "AnnotateConfig",
    "CorrectConfig",
    "HitsConfig",
    "LocalConfig",
    "MapConfig",
    "ProfilesConfig",
    "QualityConfig",
    "SelectConfig",
    "SimilarityConfig",
]

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Operation = Literal[
    "missing", "variance", "frequency", "outliers", "replicates", "blocklist", "correlation"
]

NONE: Final = "none"
_PREFIXES: Final = ("Metadata_", "QC_", "Call_", "Image_", "Read_")


def column_of(name: str) -> str:
    """Column that a short name means: `plate` is `Metadata_Plate`.

    Examples
    --------
    >>> column_of("plate"), column_of("Metadata_Dose")
    ('Metadata_Plate', 'Metadata_Dose')
    """
    if name.startswith(_PREFIXES) or name == NONE:
        return name
    return "Metadata_" + name[:1].upper() + name[1:]


def _listed(value: Any) -> Any:
    """One name is a list of one; `none` is an empty one."""
    if value is None or value == NONE:
        return ()
    return (value,) if isinstance(value, str) else value


def _columns(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(column_of(name) for name in value)


Column = Annotated[str, AfterValidator(column_of)]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Columns = Annotated[Names, AfterValidator(_columns)]


class AnnotateConfig(Model):
    """A table whose columns are added to the objects: a library, a plate map, doses.

    Attributes
    ----------
    table : CSV, TSV or Parquet file
    on : columns by which its rows are found; `{objects: table}` where their names differ
    """

    table: ConfigPath
    on: Names | dict[str, str] = ("Metadata_Well",)


class QualityConfig(Model):
    """What is flagged, and whether flagged objects count.

    Attributes
    ----------
    rules : names of sets that ship with the package, or YAML files of one's own
    by : groups within which a value is judged as far off
    isolation : share of objects that the isolation forest flags as outliers; 0 for none
    seed : of the forest
    keep : flagged objects count in profiles all the same
    """

    rules: Names = ("objects", "fields")
    by: Columns = ("Metadata_Plate",)
    isolation: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    seed: int = 0
    keep: bool = False


class LocalConfig(Model):
    """Normalisation by the neighbours in space.

    Attributes
    ----------
    neighbours : how many
    by : groups that share a frame of positions; columns that the table lacks are left out
    positions : columns of coordinates
    """

    neighbours: Annotated[int, Field(ge=3)] = 100
    by: Columns = FIELD
    positions: Columns = ("Metadata_Y_um", "Metadata_X_um")


class SelectConfig(Model):
    """How features are chosen; see `SelectionOptions`."""

    operations: Annotated[tuple[Operation, ...], BeforeValidator(_listed)] = DEFAULT_OPERATIONS
    missing: Share = 0.05
    variance: Annotated[float, Field(ge=0)] = 1e-6
    frequency: Share = 0.05
    unique: Share = 0.01
    outliers: Positive = 500.0
    correlation: Share = 0.9
    rank_correlation: bool = False
    replicates: Columns = ()
    agreement: Positive = 0.8
    blocklist: Names = ("default",)
    sample: Annotated[int, Field(ge=100)] = 200_000

    @property
    def options(self) -> SelectionOptions:
        """The same for the function."""
        return SelectionOptions(**self.model_dump(exclude={"operations"}))


class CorrectConfig(Model):
    """How differences between batches are removed.

    Attributes
    ----------
    method : `none`, `sphering` on controls, `tvn` (sphering, then the controls of each batch are
        given the same covariances), `combat`, or `harmony` (extra `batch`; gives components). Of
        what normalising by plate has left there is often nothing to correct, and all of them cost
        signal then: `mixing.parquet` and the report tell
    by : what a batch is
    shrinkage : of covariances, between 0 and 1; `auto` estimates it (Ledoit and Wolf)
    components : at most so many, for `tvn` and `harmony`
    ridge : of the whitening of `tvn`, in variances of one feature; 0 whitens in full
    """

    method: Literal["none", "sphering", "tvn", "combat", "harmony"] = "none"
    by: Columns = ("Metadata_Plate",)
    shrinkage: Share | Literal["auto"] = "auto"
    components: Count = 200
    ridge: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 2.0
    seed: int = 0


class AggregateConfig(Model):
    """How objects become profiles, and profiles of guides those of genes.

    Attributes
    ----------
    method : of objects
    weights : column by which objects of a guide count; `auto` is `Call_Posterior` where there is
        one, `none` counts all alike
    consensus : of profiles: guides to genes, organoids to wells, wells to treatments
    bootstrap : samples for confidence intervals of genes; 0 for none
    """

    method: Literal["median", "mean", "robust"] = "median"
    weights: str = "auto"
    consensus: Literal["median", "mean", "robust", "modz"] = "median"
    bootstrap: Annotated[int, Field(ge=0)] = 0
    seed: int = 0


class HitsConfig(Model):
    """How active guides and genes are found.

    Attributes
    ----------
    enabled : look for them at all
    fdr : share of false ones among those called active
    cells : at most so many objects of each guide are looked at
    controls : at most so many objects of the controls
    dose : column of doses or times, numbers; every dose of a treatment is then tested by itself
    seed : of the samples and permutations
    """

    enabled: bool = True
    fdr: Annotated[float, Field(gt=0, lt=1)] = 0.05
    cells: Count = 500
    controls: Count = 20_000
    dose: Column = NONE
    seed: int = 0


class SimilarityConfig(Model):
    """Which genes look alike: the nearest neighbours of each."""

    metric: Literal["cosine", "correlation", "mahalanobis"] = "cosine"
    count: Count = 10


class MapConfig(Model):
    """The map of genes and its clusters."""

    method: Literal["auto", "pca", "umap"] = "auto"
    neighbours: Annotated[int, Field(ge=2)] = 15
    resolution: Positive = 1.0
    seed: int = 0


class ProfilesConfig(Model):
    """From object tables to profiles; `profiles: {normalize: mad_robustize, by: plate}` is enough.

    Attributes
    ----------
    normalize : `mad_robustize`, `robustize`, `standardize` or `none`
    by : groups that are normalised apart: `plate`, `well`, any columns, or `none`
    samples : reference of the normalisation: `all`, `controls`, or a query on keys
    inverse_normal : ranks to normal scores first
    local : normalise by neighbours in space instead
    features : wildcards of the columns to use; all measurements if empty
    image : use measurements of whole images, `Image_…`, too
    guide, gene : columns of the perturbation and what it aims at (a treatment is a gene without
        guides); `none` where there is none
    controls : values of the gene column that are controls, or a query on keys
    gene_sets : GMT files in which clusters are looked for
    learn : classes of phenotypes from a few labelled objects
    embeddings : features that a network learns from the images, beside the measured ones
    export : formats beside Parquet
    memory : up to which tables are worked on at once; larger ones are streamed
    """

    annotate: tuple[AnnotateConfig, ...] = ()
    features: Names = ()
    image: bool = False
    guide: Column = "Metadata_Guide"
    gene: Column = "Metadata_Gene"
    controls: Names = ("nontargeting",)
    quality: QualityConfig = QualityConfig()
    normalize: Literal["mad_robustize", "robustize", "standardize", "none"] = "mad_robustize"
    by: Columns = ("Metadata_Plate",)
    samples: str = "all"
    inverse_normal: bool = False
    local: LocalConfig | None = None
    select: SelectConfig = SelectConfig()
    correct: CorrectConfig = CorrectConfig()
    aggregate: AggregateConfig = AggregateConfig()
    hits: HitsConfig = HitsConfig()
    similarity: SimilarityConfig = SimilarityConfig()
    map: MapConfig = MapConfig()
    gene_sets: Annotated[tuple[ConfigPath, ...], BeforeValidator(_listed)] = ()
    learn: LearnConfig | None = None
    embeddings: EmbeddingsConfig | None = None
    export: ExportConfig = ExportConfig()
    memory: str = "8GB"

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that profiles depend on beside the tables: annotations, gene sets, labels."""
        found = [*(one.table for one in self.annotate), *self.gene_sets]
        if self.learn is not None:
            found.append(self.learn.labels)
        if self.embeddings is not None and isinstance(self.embeddings.model, Path):
            # A SavedModel is a folder: its graph stands for it.
            model = self.embeddings.model
            found.append(model / "saved_model.pb" if model.is_dir() else model)
        return tuple(found)
