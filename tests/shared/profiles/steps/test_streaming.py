"""However a table is cut into files, row groups and batches, the answer is the same."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from poolvox.shared.errors import InputError
from poolvox.shared.profiles import (
    ProfilesConfig,
    aggregate,
    combat,
    flag_quality,
    make_profiles,
    normalize,
    normalize_local,
    select_features,
    sphere,
    tvn,
)
from poolvox.shared.profiles.simulate import TableParams, simulate_screen_tables
from poolvox.shared.profiles.tables import datasets as datasets_module
from poolvox.shared.profiles.tables.datasets import ObjectTables
from poolvox.shared.profiles.tables.sources import gather_tables
from poolvox.shared.store import read_table, write_table

PARAMS = TableParams(genes=8, guides=3, controls=6, cells=25, features=30, missing=0.01, constant=1)
CONTROLS = "Metadata_Gene == 'nontargeting'"
# Only what this file is about: hits, maps and their tests are elsewhere.
LEAN = {"hits": {"enabled": False}}


@pytest.fixture(scope="module")
def objects():
    return simulate_screen_tables(PARAMS, np.random.default_rng(4)).objects


def cut(objects, folder, *, files, group):
    """Write the table as several files with small row groups."""
    folder.mkdir()
    edges = np.linspace(0, len(objects), files + 1).astype(int)
    for number, (start, stop) in enumerate(pairwise(edges)):
        part = pa.Table.from_pandas(objects.iloc[start:stop], preserve_index=False)
        pq.write_table(part, folder / f"part{number}.parquet", row_group_size=group)
    return folder


def made(source, out, config, threads=1):
    config = ProfilesConfig(**config, **LEAN)
    paths = make_profiles(source, config, out, threads=threads).paths
    return {name: read_table(path) for name, path in paths.items()}


def measured(frame):
    return [n for n in frame if n.startswith(("Nuclei", "Cells", "Cytoplasm", "Components"))]


@pytest.mark.parametrize("method", ["mad_robustize", "standardize"])
def test_the_folder_holds_what_the_functions_give(objects, tmp_path, method):
    config = {"normalize": method, "samples": "controls"}
    tables = made(cut(objects, tmp_path / "in", files=3, group=100), tmp_path / "out", config)
    flagged = flag_quality(objects)
    passed = ~flagged.filter(regex="^QC_[^R]").any(axis=1)
    reference = (objects.Metadata_Gene == "nontargeting") & passed
    z = normalize(flagged, by="Metadata_Plate", method=method, samples=reference)
    chosen = select_features(z, samples=passed)
    names = measured(chosen)
    found = tables["objects"]
    assert measured(found) == names
    np.testing.assert_array_equal(found[names], chosen[names])
    assert found.QC_Reason.tolist() == flagged.QC_Reason.tolist()
    called = chosen[passed & chosen.Metadata_Guide.ne("")]
    by = ["Metadata_Gene", "Metadata_Guide"]
    guides = aggregate(called, by=by, weights="Call_Posterior")
    np.testing.assert_array_equal(tables["guides"][names], guides[names])
    np.testing.assert_array_equal(
        tables["genes"][names], aggregate(guides, by="Metadata_Gene")[names]
    )
    wells = aggregate(chosen[passed], by=["Metadata_Plate", "Metadata_Well"])
    np.testing.assert_array_equal(tables["wells"][names], wells[names])


@pytest.mark.parametrize(
    "correct", [{}, {"method": "sphering"}, {"method": "tvn"}, {"method": "combat"}]
)
def test_partitions_change_nothing(objects, tmp_path, monkeypatch, correct):
    config = {"correct": correct, "quality": {"isolation": 0.02}}
    one = made(cut(objects, tmp_path / "a", files=1, group=10**6), tmp_path / "one", config)
    # 1 MB leaves room for one or two columns at a time.
    small = config | {"memory": "1MB"}
    monkeypatch.setattr(datasets_module, "_DECODED", 77)
    source = cut(objects, tmp_path / "b", files=7, group=53)
    many = made(source, tmp_path / "many", small, threads=2)
    assert set(one) == set(many)
    for name, table in one.items():
        pd.testing.assert_frame_equal(table, many[name], check_exact=True)
    if not correct:
        for name in ("objects", "guides", "genes", "wells"):
            files = [(tmp_path / run / f"{name}.parquet").read_bytes() for run in ("one", "many")]
            assert files[0] == files[1]


@pytest.mark.parametrize("method", ["sphering", "tvn", "combat"])
def test_corrections_are_those_of_the_functions(objects, tmp_path, method):
    source = cut(objects, tmp_path / "in", files=2, group=300)
    config = {"correct": {"method": method, "shrinkage": 0.1}, "quality": {"rules": "none"}}
    tables = made(source, tmp_path / "out", config)
    chosen = select_features(normalize(objects, by="Metadata_Plate"))
    expected = {
        "sphering": lambda: sphere(chosen, samples=CONTROLS, shrinkage=0.1),
        "tvn": lambda: tvn(chosen, batch="Metadata_Plate", samples=CONTROLS, shrinkage=0.1),
        "combat": lambda: combat(chosen, batch="Metadata_Plate", samples=CONTROLS),
    }[method]()
    names = measured(expected)
    assert measured(tables["objects"]) == names
    np.testing.assert_allclose(tables["objects"][names], expected[names], atol=2e-4, rtol=2e-4)
    mixing = tables["mixing"].set_index("Metadata_Table")
    assert mixing.Mixing_Variance["after"] <= mixing.Mixing_Variance["before"] + 0.05
    assert not list((tmp_path / "out").glob(".*"))


def test_steps_on_the_whole_table(objects, tmp_path):
    source = cut(objects, tmp_path / "in", files=2, group=300)
    near = {"neighbours": 20, "by": "plate"}
    tables = made(source, tmp_path / "out", {"local": near, "quality": {"rules": "none"}})
    expected = normalize_local(objects, neighbours=20, by="Metadata_Plate")
    names = measured(tables["objects"])
    np.testing.assert_array_equal(tables["objects"][names], expected[names])
    with pytest.raises(InputError, match="need the whole table at once"):
        made(source, tmp_path / "out", {"inverse_normal": True, "memory": "100kB"})
    ranks = made(source, tmp_path / "out", {"inverse_normal": True, "quality": {"rules": "none"}})
    scores = normalize(objects, by="Metadata_Plate", rank=True)
    names = measured(ranks["objects"])
    np.testing.assert_allclose(ranks["objects"][names], scores[names], atol=1e-6)


def test_types_that_differ_between_files_meet(tmp_path):
    write_table(
        pd.DataFrame({"Metadata_Well": ["A1"], "Cells_A": np.array([1], "f4")}),
        tmp_path / "a.parquet",
    )
    write_table(pd.DataFrame({"Metadata_Well": [None], "Cells_A": [2.5]}), tmp_path / "b.parquet")
    tables = ObjectTables(gather_tables(tmp_path, tmp_path / "made"))
    assert tables.features == ("Cells_A",)
    assert tables.matrix(["Cells_A"]).tolist() == [[1.0], [2.5]]
    assert tables.frame(["Metadata_Well"]).Metadata_Well.isna().tolist() == [False, True]
    write_table(pd.DataFrame({"Metadata_Well": ["A1"], "Cells_B": [1.0]}), tmp_path / "c.parquet")
    with pytest.raises(
        InputError, match=r"c\.parquet .* differ in the columns \['Cells_A', 'Cells_B'\]"
    ):
        _ = ObjectTables(gather_tables(tmp_path, tmp_path / "made")).schema


def test_what_cannot_be_read_is_told(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        gather_tables(tmp_path / "none.parquet", tmp_path)
    with pytest.raises(InputError, match="no Parquet tables in"):
        gather_tables(tmp_path, tmp_path)
    (tmp_path / "a.parquet").write_text("no table")
    with pytest.raises(InputError, match="not a readable Parquet table"):
        make_profiles(tmp_path, out=tmp_path / "out")


def test_an_interrupted_run_leaves_no_half_files(objects, tmp_path):
    source = cut(objects, tmp_path / "in", files=1, group=500)

    def stop(step, share):
        if step == "write objects":
            raise KeyboardInterrupt

    config = ProfilesConfig(correct={"method": "combat"}, **LEAN)
    with pytest.raises(KeyboardInterrupt):
        make_profiles(source, config, tmp_path / "out", progress=stop)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["counts.parquet"]
