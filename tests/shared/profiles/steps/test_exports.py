"""Exports of a run: what was asked for is there, and genes bring their map."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from poolvox.shared.errors import InputError
from poolvox.shared.profiles import (
    ProfilesConfig,
    TableParams,
    feature_columns,
    make_profiles,
    simulate_screen_tables,
)
from poolvox.shared.profiles.steps.exports import with_map
from poolvox.shared.store import read_table

PARAMS = TableParams(genes=8, guides=2, controls=4, cells=15, features=12, active=0.5, effect=2)


def profiles(folder, **export):
    objects = simulate_screen_tables(PARAMS, np.random.default_rng(1)).objects
    config = ProfilesConfig(map={"method": "pca", "neighbours": 3}, export=export)
    return make_profiles(objects, config, folder)


def test_anndata_holds_objects_and_the_map_of_genes(tmp_path):
    anndata = pytest.importorskip("anndata")
    made = profiles(tmp_path, formats=["anndata"], tables=["objects", "genes", "wells", "hits"])
    objects, genes, wells = (
        anndata.read_h5ad(made.paths[f"{name}.h5ad"]) for name in ("objects", "genes", "wells")
    )
    table = read_table(made.paths["objects"])
    np.testing.assert_array_equal(objects.X, table[feature_columns(table)])
    places = read_table(made.paths["map"])
    assert genes.obs_names.tolist() == places["Metadata_Gene"].tolist()
    np.testing.assert_allclose(genes.obsm["X_pca"], places[["Embed_1", "Embed_2"]], rtol=1e-6)
    assert genes.obs["Metadata_Cluster"].dtype == "category"
    assert "X_pca" not in wells.obsm
    assert "hits.h5ad" not in made.paths


def test_exports_are_no_tables_of_their_own(tmp_path):
    made = profiles(tmp_path, formats=["csv", "pycytominer"])
    assert {"genes.csv", "genes.pycytominer.parquet", "hits.csv"} <= set(made.paths)
    assert "objects.csv" not in made.paths
    # What is told by text stays as the Parquet table has it.
    plain = pd.read_csv(made.paths["genes.csv"])
    assert list(plain) == list(read_table(made.paths["genes"]))
    told = pd.read_csv(tmp_path / "columns.csv", keep_default_na=False)
    assert not [name for name in told["table"] if "pycytominer" in name]


def test_a_table_that_there_is_not_is_told(tmp_path):
    with pytest.raises(InputError, match=r"no table 'gene'; did you mean genes\?"):
        profiles(tmp_path, formats=["csv"], tables=["gene"])


def test_single_objects_that_do_not_fit_are_not_exported(tmp_path):
    params = replace(PARAMS, cells=60)
    objects = simulate_screen_tables(params, np.random.default_rng(1)).objects
    export = {"formats": ["csv"], "tables": ["objects"]}
    config = ProfilesConfig(map={"method": "pca"}, export=export, memory="50KB")
    made = make_profiles(objects, config, tmp_path)
    (told,) = made.facts["skipped"]
    assert told.startswith("export: single objects in other formats need the whole table")
    assert "objects.csv" not in made.paths


def test_other_profiles_than_those_on_the_map_get_no_places():
    places = pd.DataFrame({"Metadata_Gene": ["a", "b"], "Metadata_Cluster": 0, "Embed_1": [1.0, 2]})
    genes = pd.DataFrame({"Metadata_Gene": ["a", "b"], "Cells_A": [1.0, 2.0]})
    assert with_map(genes, places)["Embed_1"].tolist() == [1, 2]
    turned = genes.iloc[::-1].reset_index(drop=True)
    for other in (turned, genes.head(1), genes[["Cells_A"]], places):
        assert with_map(other, places) is other
