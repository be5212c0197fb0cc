import numpy as np
import pandas as pd
import pytest

from poolvox.shared.errors import InputError
from poolvox.shared.profiles.tables.export import ExportConfig, export_table, to_anndata
from poolvox.shared.profiles.tables.naming import from_pycytominer, to_pycytominer
from poolvox.shared.store import read_table


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    n = 12
    return pd.DataFrame(
        {
            "Metadata_Plate": "P1",
            "Metadata_Well": ["A1"] * 6 + ["B2"] * 6,
            "Metadata_Tile": "3",
            "Metadata_Label": np.r_[1:7, 1:7],
            "Metadata_Gene": ["g1", "", None] * 4,
            "Metadata_Y_um": rng.uniform(0, 9, n),
            "Metadata_X_um": rng.uniform(0, 9, n),
            "QC_Blurred": rng.random(n) < 0.5,
            "Call_Posterior": rng.random(n),
            "Nuclei_Shape_Area_um2": rng.normal(50, 9, n),
            "Cells_Intensity_Mean_DAPI": rng.normal(900, 9, n).astype(np.float32),
            "Organoids_Shape_Volume_um3": rng.normal(5, 9, n),
            "Cells_Embedding_001": rng.normal(size=n).astype(np.float32),
            "Cells_Embedding_002": rng.normal(size=n).astype(np.float32),
            "Embed_1": rng.normal(size=n),
            "Embed_2": rng.normal(size=n),
        }
    )


def test_anndata_is_as_scanpy_expects(cells, tmp_path):
    anndata = pytest.importorskip("anndata")
    (path,) = export_table(
        cells, tmp_path, "objects", ["anndata"], uns={"poolvox": {"version": "1"}}
    )
    found = anndata.read_h5ad(path)
    assert found.X.dtype == np.float32
    assert found.shape == (12, 5)
    assert list(found.obs_names[:2]) == ["P1-A1-3-1", "P1-A1-3-2"]
    assert found.obs_names.is_unique
    assert found.obs["Metadata_Gene"].dtype == "category"
    assert found.obs["Metadata_Gene"].tolist()[:3] == ["g1", "", ""]
    assert found.obs["Call_Posterior"].dtype == float
    assert found.var.loc["Nuclei_Shape_Area_um2", "unit"] == "µm²"
    assert found.var.loc["Cells_Embedding_001", "group"] == "Embedding"
    assert {k: v.shape for k, v in found.obsm.items()} == {
        "X_umap": (12, 2), "X_embedding": (12, 2), "spatial": (12, 2),
    }  # fmt: skip
    np.testing.assert_array_equal(found.obsm["spatial"][:, 0], cells["Metadata_X_um"])
    np.testing.assert_array_equal(
        found[:, "Cells_Intensity_Mean_DAPI"].X[:, 0], cells["Cells_Intensity_Mean_DAPI"]
    )
    assert found.uns["poolvox"]["version"] == "1"
    assert [p.name for p in tmp_path.iterdir()] == ["objects.h5ad"]


def test_units_and_formulas_come_from_the_dictionary(cells):
    pytest.importorskip("anndata")
    told = pd.DataFrame({"name": ["Shape_Volume_um3"], "unit": ["um^3"], "formula": ["n v"]})
    var = to_anndata(cells, dictionary=told).var
    assert var.loc["Organoids_Shape_Volume_um3", ["unit", "formula"]].tolist() == ["um^3", "n v"]


def test_rows_that_keys_do_not_tell_apart_get_numbers(cells):
    pytest.importorskip("anndata")
    genes = cells.drop(columns=["Metadata_Label", "Metadata_Well", "Metadata_Tile"]).fillna("")
    found = to_anndata(genes)
    assert list(found.obs_names[:4]) == ["P1-g1-1", "P1--1", "P1--2", "P1-g1-2"]
    assert to_anndata(genes[["Embed_1", "Embed_2"]].assign(Cells_A_B=1.0)).n_obs == 12


def test_pycytominer_runs_on_the_names_without_being_told(cells, tmp_path):
    pycytominer = pytest.importorskip("pycytominer")
    (path,) = export_table(cells.fillna(""), tmp_path, "wells", ["pycytominer"])
    table = read_table(path)
    found = pycytominer.normalize(
        table, features="infer", meta_features="infer", method="standardize"
    )
    back = from_pycytominer(found)
    assert set(back) == set(cells)
    for name in ("Organoids_Shape_Volume_um3", "Nuclei_Shape_Area_um2"):
        x = cells[name].to_numpy()
        np.testing.assert_allclose(back[name], (x - x.mean()) / x.std(), rtol=1e-5)
    assert back["QC_Blurred"].tolist() == cells["QC_Blurred"].tolist()
    assert back["Call_Posterior"].tolist() == cells["Call_Posterior"].tolist()
    wells = pycytominer.aggregate(table, strata=["Metadata_Well"], features="infer")
    assert len(wells) == 2


def test_names_come_back(cells):
    renamed = to_pycytominer(cells)
    assert list(renamed)[:6] == list(cells)[:6]
    pd.testing.assert_frame_equal(from_pycytominer(renamed)[list(cells)], cells)
    with pytest.raises(InputError, match="both be called"):
        to_pycytominer(cells.assign(Cells_PoolvoxOrganoids_Shape_Volume_um3=1.0))


def test_csv_keeps_every_digit_of_a_float32(cells, tmp_path):
    (path,) = export_table(cells, tmp_path, "objects", ["csv", "csv"])
    found = pd.read_csv(path)
    assert list(found) == list(cells)
    np.testing.assert_array_equal(
        found["Cells_Intensity_Mean_DAPI"].astype(np.float32), cells["Cells_Intensity_Mean_DAPI"]
    )


def test_tables_without_measurements_are_written_as_csv_only(cells, tmp_path):
    hits = cells[["Metadata_Gene", "Call_Posterior"]]
    (path,) = export_table(hits, tmp_path, "hits", ["anndata", "csv", "pycytominer"])
    assert path.name == "hits.csv"


@pytest.mark.parametrize(
    ("config", "table", "wanted"),
    [
        (ExportConfig(), "guides", False),
        (ExportConfig(formats=("csv",)), "guides", True),
        (ExportConfig(formats=("csv",)), "objects", False),
        (ExportConfig(formats=("csv",), tables=("objects",)), "objects", True),
        (ExportConfig(formats=("csv",), tables=("objects",)), "guides", False),
    ],
)
def test_what_is_exported(config, table, wanted):
    assert config.wants(table) == wanted
