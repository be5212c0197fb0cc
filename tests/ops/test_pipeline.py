"""A tiny screen from raw files to tables, and what happens when something is wrong with it."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml

from poolvox import ops
from poolvox.ops import Screen
from poolvox.ops.calls import load_codebook
from poolvox.ops.cell_sections import cell_tables
from poolvox.ops.config import OpsConfig
from poolvox.ops.folder import Folder
from poolvox.ops.judge import match_cells, score_cells
from poolvox.ops.parts import load_signal, relative_noise
from poolvox.ops.pipeline import pipeline
from poolvox.shared.cli import run_command
from poolvox.shared.config import load_config
from poolvox.shared.engine import Options, run_plan
from poolvox.shared.errors import ConfigError, InputError
from poolvox.shared.report import read_overview
from poolvox.shared.store import open_plate, read_table

KEYS = ["Metadata_Plate", "Metadata_Well", "Metadata_Tile"]
READS = [
    *KEYS,
    "Metadata_Y",
    "Metadata_X",
    "Metadata_Label",
    "Read_Sequence",
    "Read_Barcode",
    "Read_Posterior",
    "Read_QValue",
    "Read_Decoy",
    "Read_Peak",
    *(f"Read_Quality_{k}" for k in range(1, 8)),
]
CELLS = [
    *KEYS,
    "Metadata_Label",
    "Metadata_Y",
    "Metadata_X",
    "Metadata_Y_um",
    "Metadata_X_um",
    "Metadata_Barcode",
    "Metadata_Guide",
    "Metadata_Gene",
    "Call_Posterior",
    "Call_QValue",
    "Call_Doublet",
    "Call_Reads",
    "Call_ReadsTotal",
    "Call_SecondBarcode",
    "Call_SecondReads",
]


def run(path: Path, *overrides: str, **options):
    config = load_config(path, OpsConfig, overrides=overrides)
    return run_plan(pipeline.plan(config), config.output, options=Options(**options))


def tables(path: Path) -> list[bytes]:
    names = ("tables/reads", "tables/cells", "tables/objects", "profiles/genes", "profiles/hits")
    return [(path.parent / "run" / f"{name}.parquet").read_bytes() for name in names]


def raw_file(path: Path, well="A1", tile=1, cycle=1) -> Path:
    return path.parent / "raw" / f"c{cycle}" / f"W-{well}_T-{tile}_C-{cycle}.tif"


def rewrite(file: Path, image: np.ndarray) -> None:
    """Put another image in its place; the file itself is shared with other tests."""
    file.unlink()
    tifffile.imwrite(file, image, photometric="minisblack")


@pytest.fixture(scope="session")
def finished(raw_screen, tmp_path_factory) -> Path:
    """The configuration of a screen that ran; only to be read."""
    folder = tmp_path_factory.mktemp("finished") / "screen"
    shutil.copytree(raw_screen, folder)
    assert run(folder / "config.yaml", workers=1).exit_code == 0
    return folder / "config.yaml"


@pytest.fixture
def ran(finished, tmp_path) -> Path:
    """A copy of a screen that ran, to be changed and run again, in a place of its own."""
    shutil.copytree(finished.parent, tmp_path / "screen", copy_function=shutil.copy2)
    path = tmp_path / "screen" / "config.yaml"
    run(path, workers=1)
    return path


def test_tables_have_the_columns_that_were_promised_keys_first(finished):
    reads, cells = (
        read_table(finished.parent / "run" / "tables" / f"{name}.parquet")
        for name in ("reads", "cells")
    )
    assert [name for name in READS if name not in reads] == []
    assert [name for name in CELLS if name not in cells] == []
    assert list(cells.columns[:4]) == [*KEYS, "Metadata_Label"]
    for table in (reads, cells):
        ordered = [name.startswith("Metadata_") for name in table]
        assert ordered == sorted(ordered, reverse=True)
        assert not np.isinf(table.select_dtypes("number")).any(axis=None)
        text = table.select_dtypes(["object", "string"])
        assert not text.isna().any(axis=None)


def test_every_cell_of_the_labels_has_one_row(finished):
    cells = read_table(finished.parent / "run" / "tables" / "cells.parquet")
    plate = open_plate(finished.parent / "run" / "sbs.zarr")
    for well in plate.wells:
        for tile in plate[well].tiles:
            labels = np.asarray(plate[well][tile].labels("cells"))
            nuclei = np.asarray(plate[well][tile].labels("nuclei"))
            there = cells[(cells["Metadata_Well"] == well) & (cells["Metadata_Tile"] == tile)]
            assert there["Metadata_Label"].tolist() == np.unique(labels)[1:].tolist()
            at = there[["Metadata_Y", "Metadata_X"]].round().astype(int).to_numpy()
            on = nuclei[at[:, 0], at[:, 1]] == there["Metadata_Label"].to_numpy()
            assert on.mean() > 0.97
    assert np.allclose(cells["Metadata_Y_um"], 1.3 * cells["Metadata_Y"])


def test_reads_are_given_the_label_under_them(finished):
    reads = read_table(finished.parent / "run" / "tables" / "reads.parquet")
    plate = open_plate(finished.parent / "run" / "sbs.zarr")
    labels = np.asarray(plate["A1"]["1"].labels("cells"))
    there = reads[(reads["Metadata_Well"] == "A1") & (reads["Metadata_Tile"] == "1")]
    at = there[["Metadata_Y", "Metadata_X"]].round().astype(int).clip(0, 191).to_numpy()
    same = labels[at[:, 0], at[:, 1]] == there["Metadata_Label"].to_numpy()
    assert same.mean() > 0.99


def _score(path) -> dict[str, float]:
    cells = read_table(path.parent / "run" / "tables" / "cells.parquet")
    matched = match_cells(cells, pd.read_parquet(path.parent / "truth" / "cells.parquet"))
    # Found cells that are not in the truth have their centre outside of the tile.
    matched = matched[matched["y"].notna()]
    return {"found": (matched["Metadata_Label"] > 0).mean(), **score_cells(matched)}


def test_the_calls_are_those_that_were_simulated(finished):
    cells = read_table(finished.parent / "run" / "tables" / "cells.parquet")
    score = _score(finished)
    assert score["found"] > 0.95
    assert score["precision"] > 0.97
    assert score["recall"] > 0.85
    library = pd.read_csv(finished.parent / "library.csv").set_index("barcode")
    called = cells[cells["Metadata_Barcode"] != ""]
    named = library.loc[called["Metadata_Barcode"]]
    assert named["sgRNA"].tolist() == called["Metadata_Guide"].tolist()
    assert named["gene_symbol"].tolist() == called["Metadata_Gene"].tolist()


def test_two_workers_and_another_place_give_the_same_bytes(finished, screen):
    assert run(screen, workers=2).exit_code == 0
    assert tables(screen) == tables(finished)


def test_aligned_images_lie_on_the_first_cycle(finished):
    field = open_plate(finished.parent / "run" / "sbs.zarr")["A1"]["1"]
    assert field.axes == "tcyx"
    stack = np.asarray(field.image())
    raw = tifffile.imread(raw_file(finished))
    assert (stack[0, 0] == raw[0]).all()
    inner = np.s_[8:-8, 8:-8]
    for cycle in range(1, 7):
        assert np.corrcoef(stack[0, 0][inner].flat, stack[cycle, 0][inner].flat)[0, 1] > 0.97


def test_another_fdr_runs_the_last_steps_only(ran):
    before = read_table(ran.parent / "run" / "tables" / "cells.parquet")
    summary = run(ran, "decode.fdr=0.2", workers=1)
    assert set(summary.done) == {"calls/plate", "measure/plate", "profiles/plate"}
    after = read_table(ran.parent / "run" / "tables" / "cells.parquet")
    assert (after["Metadata_Barcode"] != "").sum() >= (before["Metadata_Barcode"] != "").sum()
    assert after["Call_QValue"].equals(before["Call_QValue"])


def test_an_added_tile_leaves_the_images_of_the_others(ran):
    for cycle in range(1, 8):
        raw_file(ran, "A1", 3, cycle).write_bytes(raw_file(ran, "B2", 1, cycle).read_bytes())
    summary = run(ran, workers=1)
    images = {key for key in summary.done if key.startswith("images/")}
    assert images == {"images/P1-A1-3"}
    assert summary.exit_code == 0
    cells = read_table(ran.parent / "run" / "tables" / "cells.parquet")
    assert cells.groupby("Metadata_Well")["Metadata_Tile"].nunique().tolist() == [3, 2]


def _cut(path):
    file = raw_file(path, "B2", 2, 4)
    content = file.read_bytes()[:2000]
    file.unlink()
    file.write_bytes(content)


def _zero(path):
    for cycle in range(1, 8):
        file = raw_file(path, "B2", 2, cycle)
        rewrite(file, np.zeros_like(tifffile.imread(file)))


def _shape(path):
    file = raw_file(path, "B2", 2, 3)
    rewrite(file, tifffile.imread(file)[:, :-16])


def _channels(path):
    file = raw_file(path, "B2", 2, 3)
    rewrite(file, tifffile.imread(file)[:-1])


def _missing(path):
    raw_file(path, "B2", 2, 3).unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_cut, r"W-B2_T-2_C-4\.tif"),
        (_zero, "all images of the tile are zero"),
        (_shape, r"176|shape"),
        (_channels, r"channels"),
        (_missing, r"cycle.*3|3.*cycle"),
    ],
)
def test_a_bad_tile_costs_only_itself_and_says_why(ran, damage, reason):
    damage(ran)
    summary = run(ran, workers=1)
    assert summary.exit_code == 1
    assert set(summary.failed) == {"images/P1-B2-2"}
    (message,) = summary.failed.values()
    assert re.search(reason, message), message
    cells = read_table(ran.parent / "run" / "tables" / "cells.parquet")
    places = set(zip(cells["Metadata_Well"], cells["Metadata_Tile"]))
    assert places == {("A1", "1"), ("A1", "2"), ("B2", "1")}


def test_a_tile_that_cannot_be_aligned_is_flagged_and_kept(ran):
    other = tifffile.imread(raw_file(ran, "A1", 1, 4))
    rewrite(raw_file(ran, "B2", 2, 4), other)
    run(ran, workers=1)
    cells = read_table(ran.parent / "run" / "tables" / "cells.parquet")
    there = (cells["Metadata_Well"] == "B2") & (cells["Metadata_Tile"] == "2")
    assert there.any()
    assert cells["QC_Alignment"].equals(there.rename("QC_Alignment"))
    assert set(cells["QC_Reason"][there]) == {"Alignment"}


def test_a_library_that_is_shorter_than_the_cycles_is_refused(screen):
    library = pd.read_csv(screen.parent / "library.csv")
    library["barcode"] = library["barcode"].str[:5]
    library.to_csv(screen.parent / "library.csv", index=False)
    with pytest.raises(InputError, match="shorter than the 7 cycles"):
        run(screen, workers=1)
    assert not (screen.parent / "run").exists(), "images were worked on in vain"


def test_check_says_how_channels_cycles_and_library_are_taken(screen, capsys):
    library = pd.read_csv(screen.parent / "library.csv")
    library.loc[0, "barcode"] = "NNNNNNN"
    library.to_csv(screen.parent / "library.csv", index=False, sep=";")
    assert run_command(["check", str(screen)]) == 0
    out = capsys.readouterr().out
    assert "channels  nuclei DAPI; bases G, T, A, C\n" in out
    assert "cycles    7 (1, 2, 3, 4, 5, 6, 7)\n" in out
    assert "library   27 guides of 13 genes, 4 of them controls; 27 barcodes of 7 bases" in out
    assert "          1 row: left out: letters other than A, C, G, T (row 1)" in out
    assert run_command(["check", str(screen), "--set", "library.controls=scrambled"]) == 0
    assert "no guide or gene is called scrambled" in capsys.readouterr().out
    assert run_command(["check", str(screen), "--set", "library.barcode=code"]) == 2
    assert "no column 'code'; it has sgRNA, gene_symbol, barcode" in capsys.readouterr().err


def test_check_asks_which_bases_were_read_where_a_cycle_is_missing(screen, capsys):
    shutil.rmtree(screen.parent / "raw/c4")
    assert run_command(["check", str(screen)]) == 0
    out = capsys.readouterr().out
    assert "cycle 4 is missing: if its base was not read, give library.cycles: [1, 2, 3, 5" in out
    bases = "library.cycles=[1, 2, 3, 5, 6, 7]"
    assert run_command(["check", str(screen), "--set", bases]) == 0
    assert "is missing" not in capsys.readouterr().out


def test_check_says_where_files_and_configuration_differ_in_the_pixel_size(screen, capsys):
    assert run_command(["check", str(screen), "--set", "raw.sbs.pixel_size=0.65"]) == 0
    out = capsys.readouterr().out
    assert "images    192 x 192 pixels of 0.65 micrometres, uint16" in out
    assert "note      the files say 1.3 micrometres along y, the configuration 0.65, which" in out


def test_a_library_that_is_edited_between_two_runs_is_read_again(finished, tmp_path):
    config = load_config(finished, OpsConfig)
    path = tmp_path / "library.csv"
    shutil.copy(config.library.file, path)
    spec = config.library.model_copy(update={"file": path})
    config = config.model_copy(update={"library": spec})
    assert len(load_codebook(config, 7)[0]) == 28
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-3]))
    assert len(load_codebook(config, 7)[0]) == 25


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        (lambda s: s.str[::-1], "reverse the barcodes"),
        (lambda s: s.str.translate(str.maketrans("ACGT", "TGCA")), "complement the barcodes"),
    ],
)
def test_a_library_that_nothing_matches_names_the_likely_reason(screen, turn, reason):
    library = pd.read_csv(screen.parent / "library.csv")
    library["barcode"] = turn(library["barcode"])
    library.to_csv(screen.parent / "library.csv", index=False)
    summary = run(screen, workers=1)
    assert summary.exit_code == 1
    assert reason in summary.failed["signal/plate"]


def without_names(config):
    """Take the channels' names out of the raw files: otherwise they set the order right."""
    for path in sorted(config.parent.rglob("raw/**/*.tif")):
        image = tifffile.imread(path)
        path.unlink()
        tifffile.imwrite(path, image, metadata={"axes": "CYX"})


def test_channels_in_the_wrong_order_are_named(screen, change):
    without_names(screen)
    change(screen, raw={"sbs": _sbs(screen) | {"channels": ["DAPI", "A", "C", "G", "T"]}})
    summary = run(screen, workers=1)
    assert "order of `channels`" in summary.failed["signal/plate"]


@pytest.mark.parametrize("names", [["auto"] * 4, ["Cy3", "A594", "Cy5", "Cy7"]])
def test_the_order_of_the_channels_is_found(finished, screen, change, names):
    without_names(screen)
    change(screen, raw={"sbs": _sbs(screen) | {"channels": ["DAPI 405", *names]}})
    summary = run(screen, workers=1)
    assert summary.exit_code == 0, summary.failed
    table = "run/tables/cells.parquet"
    found, given = (read_table(path.parent / table) for path in (screen, finished))
    called = given["Metadata_Barcode"] != ""
    same = found["Metadata_Barcode"][called] == given["Metadata_Barcode"][called]
    assert same.mean() > 0.97
    signal = load_signal(screen.parent / "run" / "parts" / "signal" / "plate.json")
    assert signal.chemistry.channels == ("G", "T", "A", "C")
    first = "base 1" if names[0] == "auto" else "Cy3"
    assert signal.order.startswith(f"{first} is G, ")
    assert "confirmed" in signal.order


def test_noise_of_channels_that_are_blank_throughout_is_taken_for_usual(recwarn):
    noise = np.ones((3, 4, 2), np.float32)
    noise[0] = 2
    noise[:, :, 1] = np.nan
    noise[2] = np.nan
    expected = [[2 / 1.5, 1], [1 / 1.5, 1], [1, 1]]
    np.testing.assert_allclose(relative_noise(noise), expected, rtol=1e-6)
    usual = np.random.default_rng(0).gamma(2, 3, (1001, 9, 4)).astype(np.float32)
    usual[::7, 3] = np.nan
    level = np.nanmean(usual, axis=1)
    assert np.array_equal(relative_noise(usual), level / np.nanmedian(level, axis=0))
    assert not recwarn.list


def test_the_published_chain_runs_for_comparison(finished, screen, change):
    change(screen, decode={"method": "classic"})
    summary = run(screen, workers=1)
    assert summary.exit_code == 0, summary.failed
    folder = screen.parent / "run" / "tables"
    cells, reads = (read_table(folder / f"{name}.parquet") for name in ("cells", "reads"))
    assert set(READS) <= set(reads)
    assert set(CELLS) <= set(cells)
    ours = read_table(finished.parent / "run" / "tables" / "cells.parquet")["Metadata_Barcode"]
    both = (cells["Metadata_Barcode"] != "") & (ours != "")
    assert both.sum() > 0.7 * (ours != "").sum()
    assert (cells["Metadata_Barcode"] == ours)[both].mean() > 0.95
    assert cells["Call_QValue"].isna().all()
    assert pipeline.sections(load_config(screen, OpsConfig))


@pytest.mark.parametrize("count", [4, 6])
def test_another_number_of_channels_than_the_files_have_is_refused(screen, change, count):
    names = ["DAPI", "G", "T", "A", "C", "more"][:count]
    change(screen, raw={"sbs": _sbs(screen) | {"channels": names}})
    with pytest.raises((ConfigError, InputError), match="channel"):
        run(screen, workers=1)


@pytest.mark.parametrize("stained", [1, 7])
def test_nuclei_may_be_stained_in_one_cycle_alone(finished, screen, change, stained):
    for cycle in {*range(1, 8)} - {stained}:
        for well, tile in (("A1", 1), ("A1", 2), ("B2", 1), ("B2", 2)):
            file = raw_file(screen, well, tile, cycle)
            rewrite(file, tifffile.imread(file)[1:])
    failed = [text for key, text in run(screen, workers=1).failed.items() if key[:6] == "images"]
    assert len(failed) == 4
    assert all("only_in" in text for text in failed)
    change(screen, raw={"sbs": {**_sbs(screen), "pixel_size": 1.3, "only_in": {"DAPI": [stained]}}})
    assert run(screen, workers=1).exit_code == 0
    assert read_overview(screen.parent / "run").warnings == ()
    before, now = (_score(path)["f1"] for path in (finished, screen))
    assert now > before - 0.02
    objects = read_table(screen.parent / "run" / "tables" / "objects.parquet")
    assert (objects["Nuclei_Intensity_Mean_DAPI"] > 300).mean() > 0.95


def test_only_in_must_leave_the_bases_to_every_cycle(screen, change):
    change(screen, raw={"sbs": {**_sbs(screen), "only_in": {"G": [1]}}})
    with pytest.raises(ConfigError, match="cycle 2 without the base channel G"):
        run(screen)


def _sbs(path):
    return yaml.safe_load(path.read_text())["raw"]["sbs"]


def test_the_report_names_tiles_that_only_other_wells_have(finished, tmp_path):
    config = load_config(finished, OpsConfig)
    assert "Missing tiles" not in [part.title for part in pipeline.sections(config)]
    shutil.copytree(config.output, tmp_path / "run")
    (tmp_path / "run" / "parts" / "images" / "P1-B2-2.parquet").unlink()
    parts = pipeline.sections(config.model_copy(update={"output": tmp_path / "run"}))
    (missing,) = [part for part in parts if part.title == "Missing tiles"]
    assert "well B2" in missing.tables[0].frame.to_string()
    assert "no tile 2" in missing.tables[0].frame.to_string()


def test_the_command_runs_reports_and_reuses(screen, monkeypatch, capsys):
    monkeypatch.chdir(screen.parent)
    assert run_command(["run", "config.yaml", "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "report" in out
    assert (screen.parent / "run" / "report.html").stat().st_size > 10_000
    assert run_command(["run", "config.yaml", "--workers", "1"]) == 0
    assert "0 done, 18 reused" in capsys.readouterr().out


def test_the_command_refuses_an_unknown_key_with_exit_2(screen, change, capsys):
    change(screen, decode={"fdrr": 0.1})
    assert run_command(["run", str(screen)]) == 2
    assert "fdr" in capsys.readouterr().err


def test_a_notebook_runs_a_screen_and_has_its_tables(screen, finished):
    whole = Screen.from_config(screen, overrides=["decode.fdr=0.02"])
    with pytest.raises(InputError, match="call run"):
        whole.cells  # noqa: B018
    assert whole.run(workers=1) is whole
    assert whole.summary.exit_code == 0
    expected = read_table(finished.parent / "run" / "tables" / "reads.parquet")
    pd.testing.assert_frame_equal(whole.reads, expected)
    assert (whole.cells["Metadata_Barcode"] != "").any()
    assert whole.images.wells == ["A1", "B2"]
    assert {"objects", "guides", "genes", "hits"} <= set(whole.profiles)
    left = {path.name for path in whole.output.iterdir()}
    assert {"report.html", "config.yaml", "run.json"} <= left
    assert run_command(["report", str(whole.output)]) == 0
    again = whole.run(steps=["calls"], only=["A1"], exclude=["B2"], quiet=True)
    assert again.summary.done == ()


def test_a_screen_without_tables_says_which_unit_failed(screen, change, capsys):
    without_names(screen)
    change(screen, raw={"sbs": _sbs(screen) | {"channels": ["DAPI", "A", "C", "G", "T"]}})
    screen = Screen.from_config(screen).run(workers=1, quiet=True)
    assert re.search(r"failed signal/plate: .*channels", capsys.readouterr().err)
    with pytest.raises(InputError, match=r"did not get so far; signal/plate failed: .*channels"):
        screen.cells  # noqa: B018


def test_what_completion_shows_is_what_there_is():
    names = [name for name in dir(ops) if not name.startswith("_")]
    assert set(ops.__all__) <= set(names)
    assert "TYPE_CHECKING" not in names
    assert "import_module" not in names
    assert all(callable(getattr(ops, name)) and getattr(ops, name).__doc__ for name in ops.__all__)


def test_the_report_tells_at_a_glance_how_a_screen_went(finished):
    config = load_config(finished, OpsConfig)
    sections = {section.title: section for section in pipeline.sections(config)}
    headline = dict(fact for section in sections.values() for fact in section.headline)
    cells = read_table(finished.parent / "run" / "tables" / "cells.parquet")
    called = cells[cells["Metadata_Barcode"] != ""]
    share = f"({len(called) / len(cells):.1%})"
    assert headline["cells called"] == f"{len(called):,} of {len(cells):,} {share}"
    assert headline["guides seen"] == f"{called['Metadata_Guide'].nunique()} of 28"
    assert float(headline["reads in cells that map"].rstrip("%")) > 50
    wells = sections["Cells"].tables[0].frame
    assert wells["called"].sum() == len(called)
    assert dict(sections["Library"].facts)["barcodes of controls"] == "4"
    # Each base's own light is on the diagonal.
    crosstalk = sections["Signal"].tables[0].frame.set_index("base")
    assert np.diagonal(crosstalk).tolist() == [1, 1, 1, 1]


def test_poor_tiles_are_named_where_there_are_many(finished):
    folder = Folder(load_config(finished, OpsConfig).output)
    cells = read_table(folder.table("cells"))
    many = [cells.assign(Metadata_Tile=f"{k}") for k in range(6)]
    cells = pd.concat(many, ignore_index=True)
    poor = (cells["Metadata_Tile"] == "4") & (cells["Metadata_Well"] == "B2")
    cells.loc[poor, "Metadata_Barcode"] = ""
    cells["called"] = cells["Metadata_Barcode"] != ""
    wells, tiles = (table.frame for table in cell_tables(cells))
    assert wells["well"].tolist() == ["A1", "B2"]
    assert (tiles["well"][0], tiles["tile"][0], tiles["called"][0]) == ("B2", "4", 0)
    assert len(tiles) == 10


def test_objects_join_measurements_and_calls(finished):
    cells, objects = (
        read_table(finished.parent / "run" / "tables" / f"{name}.parquet")
        for name in ("cells", "objects")
    )
    pd.testing.assert_frame_equal(objects[list(CELLS)], cells[list(CELLS)])
    assert objects["Metadata_Control"].equals(objects["Metadata_Gene"] == "nontargeting")
    areas = objects["Nuclei_Shape_Area_um2"]
    assert areas.between(20, 900).mean() > 0.95
    light = objects[[f"Call_Light_{base}" for base in "GTAC"]]
    assert (light > 0).all(axis=None)
    assert objects["QC_Border"].mean() < 0.5


def test_profiles_leave_out_the_light_that_spells_the_barcode(finished):
    folder = finished.parent / "run" / "profiles"
    guides, genes, hits = (
        read_table(folder / f"{name}.parquet") for name in ("guides", "genes", "hits")
    )
    measured = [name for name in guides if name.startswith(("Nuclei_", "Cells_"))]
    assert len(measured) > 20
    assert not [name for name in measured if "Intensity_Mean_" in name and "DAPI" not in name]
    assert not [name for name in guides if "Light" in name]
    assert set(hits["Metadata_Gene"]) == set(genes["Metadata_Gene"]) - {"nontargeting"}
    assert hits["Hit_QValue"].dropna().between(0, 1).all()
    config = load_config(finished, OpsConfig)
    hits_options = config.profiles.hits.model_copy(update={"fdr": 0.2})
    profiles = config.profiles.model_copy(update={"hits": hits_options})
    sections = pipeline.sections(config.model_copy(update={"profiles": profiles}))
    (told,) = [section for section in sections if section.title == "Hits"]
    # At the rate that was asked for, as in the tables.
    assert "hits at a false discovery rate of 20%" in dict(told.facts)
    told = pd.read_csv(folder / "dictionary.csv")
    assert {"Nuclei_Shape_Area_um2", "Nuclei_Intensity_Mean_{channel}"} <= set(told["name"])


def test_without_a_nuclear_stain_the_report_tells_of_all_reads(screen, change):
    change(screen, segment={"channel": "none"})
    assert run(screen, workers=1).exit_code == 0
    config = load_config(screen, OpsConfig)
    sections = {section.title: section for section in pipeline.sections(config)}
    assert "Cells" not in sections
    facts = dict(sections["Reads"].facts)
    assert "reads in cells" not in facts
    assert float(facts["reads that map"].rstrip("%")) > 50
    (frequent,) = sections["Reads"].tables
    library = pd.read_csv(screen.parent / "library.csv").set_index("barcode")
    assert frequent.frame["reads"].is_monotonic_decreasing
    row = frequent.frame.iloc[0]
    known = library[library.index.str.startswith(row["barcode"])].iloc[0]
    assert (row["guide"], row["gene"]) == (known["sgRNA"], known["gene_symbol"])
