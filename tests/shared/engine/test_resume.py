"""What is done again, and what is not, counted by calls."""

import os
import shutil
from dataclasses import replace

import pytest
from tests.shared.engine.small import calls, contents, plan, write_raw

from poolvox.shared.engine import Options, Unit, read_records, read_status, run_plan, verify_run

THREE = ["align/0", "align/1", "align/2", "gather", "measure/0", "measure/1", "measure/2"]


@pytest.fixture
def first(raw, out):
    summary = run_plan(plan(raw, out), out, options=Options(workers=2))
    assert (summary.exit_code, calls(out)) == (0, THREE)
    return out


def test_nothing_changed_runs_nothing(raw, first):
    before = contents(first)
    summary = run_plan(plan(raw, first), first)
    assert (calls(first), len(summary.reused), summary.done) == ([], 7, ())
    assert contents(first) == before
    assert verify_run(first) == []
    assert read_status(first).complete


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"threshold": 1800.0}, ["gather", "measure/0", "measure/1", "measure/2"]),
        ({"gain": 3.0}, THREE),
        ({"tiles": (0, 1, 2, 3)}, ["align/3", "gather", "measure/3"]),
        ({"tiles": (0, 2)}, ["gather"]),
    ],
)
def test_only_what_depends_on_a_change_runs(raw, first, change, again):
    run_plan(plan(raw, first, **change), first)
    assert calls(first) == again
    fresh = first.with_name("fresh")
    run_plan(plan(raw, fresh, **change), fresh)
    made, kept = contents(fresh), contents(first)
    assert {name: kept[name] for name in made} == made


def test_a_changed_input_runs_its_tile(raw, first):
    (raw / "1.raw").write_bytes((raw / "0.raw").read_bytes())
    run_plan(plan(raw, first), first)
    assert calls(first) == ["align/1", "gather", "measure/1"]


def test_copied_and_touched_files_are_the_same_files(raw, first):
    os.utime(raw / "1.raw", ns=(1, 1))
    assert run_plan(plan(raw, first), first).done == ()
    moved = raw.with_name("moved")
    shutil.copytree(raw, moved, copy_function=shutil.copyfile)
    assert run_plan(plan(moved, first), first).done == ()


def test_a_removed_output_is_made_again(raw, first):
    before = contents(first)
    shutil.rmtree(first / "images.zarr/1")
    (first / "tables/spots.parquet").unlink()
    assert [p.split(" of ")[0] for p in verify_run(first)] == [
        "images.zarr/1",
        "tables/spots.parquet",
    ]
    run_plan(plan(raw, first), first)
    assert calls(first) == ["align/1", "gather"]
    assert contents(first) == before


def test_a_changed_output_is_found(raw, first):
    table = first / "tables/spots.parquet"
    data = bytearray(table.read_bytes())
    data[10] ^= 1
    table.write_bytes(data)
    (problem,) = verify_run(first)
    assert "other content of the same size" in problem


@pytest.mark.parametrize("harm", ["shorter", "gone", "empty"])
def test_a_damaged_part_of_a_store_is_found(first, harm):
    chunk = sorted((first / "images.zarr/1/c").glob("*/*"))[3]
    if harm == "gone":
        chunk.unlink()
    else:
        chunk.write_bytes(chunk.read_bytes()[:-1] if harm == "shorter" else b"")
    (problem,) = verify_run(first)
    assert problem.startswith("images.zarr/1 of align/1 was changed: ")


def test_what_others_add_to_the_metadata_of_a_store_is_no_damage(first):
    (first / "images.zarr/1/zarr.json").write_text("{ }")
    assert verify_run(first) == []


def test_force_runs_everything(raw, first):
    run_plan(plan(raw, first), first, options=Options(force=True))
    assert calls(first) == THREE


def test_orphans_are_named_and_kept(raw, first):
    summary = run_plan(plan(raw, first, (0, 1)), first)
    assert summary.orphans == ("align/2", "measure/2")
    assert (first / "tables/parts/2.parquet").exists()
    assert read_status(first).orphans == summary.orphans
    assert run_plan(plan(raw, first), first).done == ("gather",)


def test_orphans_are_forgotten_where_others_write(raw, first):
    units = [
        replace(unit, key=unit.key.replace("align", "image"), needs=("image/1",) * bool(unit.needs))
        for unit in plan(raw, first)
        if unit.key in ("align/1", "measure/1")
    ]
    summary = run_plan(units, first)
    # The new unit replaced the store of the old one, so nobody may take it for the old one's.
    assert "align/1" not in summary.orphans
    assert {"align/0", "measure/0"} <= set(summary.orphans)
    assert read_status(first).orphans == summary.orphans
    assert run_plan(plan(raw, first), first).done == ("align/1", "measure/1")
    assert verify_run(first) == []


def test_failed_need_skips_and_mended_one_goes_on(raw, out):
    data = (raw / "1.raw").read_bytes()
    (raw / "1.raw").write_bytes(data[:100])
    summary = run_plan(plan(raw, out), out)
    assert summary.exit_code == 1
    assert list(summary.failed) == ["align/1"]
    assert "cannot reshape" in summary.failed["align/1"]
    assert summary.skipped == {"measure/1": "needs align/1, which failed"}
    assert read_records(out / "journal")["gather"].result == {"tiles": 2}
    assert not (out / "images.zarr/1").exists()
    status = read_status(out)
    assert status.failed == dict(summary.failed)
    assert "Traceback" in (out / status.logs["align/1"]).read_text()
    calls(out)
    # Failed again the same way: the reduction over the rest still holds.
    assert run_plan(plan(raw, out), out).done == ()
    assert calls(out) == ["align/1"]
    (raw / "1.raw").write_bytes(data)
    assert run_plan(plan(raw, out), out).exit_code == 0
    assert calls(out) == ["align/1", "gather", "measure/1"]
    fresh = out.with_name("fresh")
    run_plan(plan(raw, fresh), fresh)
    assert contents(out) == contents(fresh)


def test_files_of_units_whose_need_now_fails_do_not_linger(raw, first):
    (raw / "1.raw").write_bytes(b"")
    run_plan(plan(raw, first), first)
    assert not (first / "tables/parts/1.parquet").exists()
    assert read_records(first / "journal")["gather"].result == {"tiles": 2}


def test_an_unreadable_input_is_no_crash(raw, out):
    (raw / "1.raw").unlink()
    summary = run_plan(plan(raw, out), out)
    assert "FileNotFoundError" in summary.failed["align/1"]


def test_results_do_not_depend_on_order_or_workers(raw, tmp_path):
    made = []
    for name, workers, turn in (("a", 1, 1), ("b", 2, -1), ("c", 4, 1)):
        out = tmp_path / name / "out"
        units = plan(raw, out)[::turn]
        assert run_plan(units, out, options=Options(workers=workers)).exit_code == 0
        made.append((contents(out), {k: r.token for k, r in read_records(out / "journal").items()}))
    assert made[0] == made[1] == made[2]


def test_an_outer_folder_made_again_takes_the_inner_with_it(tmp_path):
    def write(name: str):
        path = tmp_path / "out" / name
        path.mkdir(parents=True)
        (path / "data").write_text(name)

    out = tmp_path / "out"

    def units(gain: float) -> list[Unit]:
        return [
            Unit("image", "s", lambda: write("img"), {"gain": gain}, outputs=(out / "img",)),
            Unit(
                "labels",
                "s",
                lambda: write("img/labels"),
                needs=("image",),
                outputs=(out / "img/labels",),
            ),
        ]

    run_plan(units(1), out)
    shutil.rmtree(out / "img")
    assert run_plan(units(1), out).done == ("image", "labels")
    assert (out / "img/labels/data").exists()


@pytest.mark.parametrize("other", [{"params": {"gain": 2.5}}, {"step": "b"}, {"call": list}])
def test_tokens_see_function_step_and_parameters(tmp_path, other):
    unit = Unit("u", "a", dict, {"gain": 2})
    run_plan([unit], tmp_path)
    assert run_plan([replace(unit)], tmp_path).reused == ("u",)
    assert run_plan([replace(unit, **other)], tmp_path).done == ("u",)


def test_an_input_that_changes_meanwhile_fails_its_unit(tmp_path):
    raw, out = tmp_path / "x.raw", tmp_path / "out"
    raw.write_text("one")
    unit = Unit("u", "s", lambda: raw.write_text("three") and None, inputs=(raw,))
    assert "changed while it was read" in run_plan([unit], out).failed["u"]


def test_a_tile_added_to_a_sibling_folder_changes_no_other(tmp_path, out):
    write_raw(tmp_path / "raw/day1", (0, 1))
    write_raw(tmp_path / "raw/day2", (2,))
    one = [Unit(f"u/{i}", "s", dict, inputs=(tmp_path / f"raw/day1/{i}.raw",)) for i in (0, 1)]
    run_plan(one, out)
    two = [*one, Unit("u/2", "s", dict, inputs=(tmp_path / "raw/day2/2.raw",))]
    assert run_plan(two, out).done == ("u/2",)
