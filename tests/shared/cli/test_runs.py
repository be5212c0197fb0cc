import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from .tiny import TinyPipeline


def cut_short(path: Path):
    path.write_bytes(path.read_bytes()[:60])


def test_check_says_what_a_run_will_cost_and_writes_nothing(config, poolvox):
    code, out, _ = poolvox("check", config)
    assert code == 0
    assert "6 files" in out
    assert "6 tiles" in out
    assert "ready to run" in out
    assert not Path("out").exists()


def test_check_counts_what_a_run_would_do(config, poolvox):
    import json

    poolvox("run", config)

    def done(*options):
        steps = json.loads(poolvox("check", config, "--json", *options)[1])["steps"]
        return {step["step"]: (step["done"], step["units"]) for step in steps}

    assert done() == {"count": (6, 6), "gather": (1, 1)}
    assert done("--set", "threshold=9") == {"count": (0, 6), "gather": (0, 1)}
    (config.parent / "raw" / "A1_1.tif").touch()
    assert done() == {"count": (5, 6), "gather": (0, 1)}
    assert "0 done, 7 reused" in poolvox("run", config)[1], "touched, but of the same content"


def test_a_folder_that_cannot_be_made_is_told(config, poolvox):
    Path("file").write_text("")
    for place in ("file/out", "file", "x" * 300):
        code, _, err = poolvox("run", config, "--set", f"output={place}")
        assert code == 2
        assert "cannot be the folder of a run" in err


def test_run_writes_everything_and_says_where(config, poolvox):
    code, out, _ = poolvox("run", config)
    assert code == 0
    assert "7 units: 7 done, 0 reused" in out
    assert "written to out: config.yaml, parts/, report.html, run.json, tables/" in out
    assert f"report: {Path('out/report.html')}" in out
    resolved = yaml.safe_load(Path("out/config.yaml").read_text())
    assert resolved["threshold"] == 500.0
    assert Path(resolved["raw"]["files"]).is_absolute()
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "Bright pixels &lt;b&gt;per tile&lt;/b&gt;" in page


def test_what_the_command_line_gives_is_known_to_the_plan(config, poolvox):
    poolvox("run", config, "--memory", "3GB", "--workers", "1", "--scheduler", "threads")
    engine = yaml.safe_load(Path("out/config.yaml").read_text())["engine"]
    assert engine == {"workers": 1, "memory": "3GB", "scheduler": "threads"}
    assert "0 done, 7 reused" in poolvox("run", config)[1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--memory", "12"], "memory is '12', a number of bytes: give a unit, as in 12GB"),
        (["--memory", "lots"], "memory is 'lots'"),
        (["--set", "engine.memory=12"], "give a unit"),
        (["--workers", "0"], "greater than or equal to 1. See `poolvox run --help`."),
    ],
)
def test_what_a_run_may_use_is_checked_also_when_all_is_done(config, poolvox, options, said):
    poolvox("run", config)
    code, _, err = poolvox("run", config, *options)
    assert code == 2
    assert said in err


def test_a_second_run_does_nothing_again(config, poolvox):
    poolvox("run", config)
    code, out, _ = poolvox("run", config)
    assert code == 0
    assert "0 done, 7 reused" in out
    assert Path("out/report.html").exists()


def test_what_a_run_resolved_runs_to_the_same(config, poolvox):
    poolvox("run", config)
    code, out, _ = poolvox("run", "out/config.yaml")
    assert code == 0
    assert "0 done, 7 reused" in out


def test_a_broken_tile_costs_itself_and_is_named(config, poolvox):
    cut_short(config.parent / "raw" / "A2_1.tif")
    code, out, _ = poolvox("check", config)
    assert code == 1
    assert "P1-A2-1" in out
    code, out, _ = poolvox("run", config)
    assert code == 1
    assert "6 done, 0 reused, 1 failed" in out
    assert "count/P1-A2-1" in out
    code, out, _ = poolvox("status", "out")
    assert code == 1
    assert "count/P1-A2-1" in out
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "What failed, and why" in page
    assert "count/P1-A2-1" in page


def test_check_names_a_tile_without_any_file(config, poolvox):
    assert "without files" not in poolvox("check", config)[1]
    (config.parent / "raw" / "A2_2.tif").unlink()
    code, out, _ = poolvox("check", config)
    assert code == 0, "nobody knows that it should be there"
    assert "well A2  has no tile 2, which most other wells have" in out
    gaps = json.loads(poolvox("check", config, "--json")[1])["gaps"]
    assert gaps == [["well A2", "has no tile 2, which most other wells have"]]


def test_nothing_can_run_when_all_tiles_are_broken(config, poolvox):
    for path in (config.parent / "raw").iterdir():
        cut_short(path)
    code, out, err = poolvox("check", config)
    assert code == 2
    assert "tif" in out + err


def test_only_and_exclude_and_steps(config, poolvox):
    code, out, _ = poolvox("run", config, "--steps", "count", "--only", "A1,B1", "--json", "-q")
    assert code == 0
    done = json.loads(out)["done"]
    assert done == [f"count/P1-{well}-{tile}" for well in ("A1", "B1") for tile in (1, 2)]
    code, out, _ = poolvox("run", config, "--exclude", "well=A2,tile=2", "--json")
    assert json.loads(out)["done"] == ["count/P1-A2-1", "gather/plate"]
    code, _, err = poolvox("run", config, "--steps", "cont")
    assert code == 2
    assert "did you mean 'count'" in err


def test_a_value_of_the_command_line_comes_before_the_file(config, poolvox):
    poolvox("run", config)
    code, out, _ = poolvox("run", config, "--set", "threshold=2000", "--json")
    assert code == 0
    assert len(json.loads(out)["done"]) == 7
    code, _, err = poolvox("run", config, "--set", "treshold=2000")
    assert code == 2
    assert "--set treshold=2000: treshold: there is no such key; did you mean threshold?" in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pipeline: tinny\noutput: out\n", "bad.yaml:1: pipeline: there is no pipeline 'tinny'"),
        ("output: out\n", "name the kind of experiment; there are broken, tiny"),
        ("pipeline: broken\noutput: out\n", "No module named 'absent'"),
        ("pipeline: tiny\noutput: out\nraw: 3\n", "bad.yaml:3: raw: got the number 3"),
        ("", "the file is empty"),
    ],
)
@pytest.mark.parametrize("command", ["check", "run"])
def test_a_wrong_configuration_is_one_message(tmp_path, poolvox, command, text, said):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    code, out, err = poolvox(command, path)
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert out == ""


def test_a_bug_shows_its_traceback_and_where_to_report_it(config, poolvox):
    code, _, err = poolvox("run", config, "--set", "crash=true")
    assert code == 3
    assert "RuntimeError: planted: the plan has a bug" in err
    assert "poolvox --version" in err
    assert "CONTRIBUTING" in err


def test_a_bug_in_the_sections_does_not_cost_the_report(config, poolvox, monkeypatch):
    def sections(self, config):
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(TinyPipeline, "sections", sections)
    code, _, err = poolvox("run", config)
    assert code == 3
    assert "ZeroDivisionError" in err
    assert "which is a bug: ZeroDivisionError" in Path("out/report.html").read_text("utf-8")
    assert "planted" in Path("out/journal/logs/report.log").read_text()


def test_an_interrupted_run_says_how_to_go_on_and_does(config, poolvox, monkeypatch):
    from poolvox.shared.engine import runners

    real = runners.Threads.outcomes
    calls = []

    def outcomes(self, seconds):
        calls.append(seconds)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, seconds)

    monkeypatch.setattr(runners.Threads, "outcomes", outcomes)
    code, _, err = poolvox("run", config, "--workers", "1")
    assert code == 130
    assert "the same command goes on" in err
    code, out, _ = poolvox("run", config, "--json")
    assert code == 0
    summary = json.loads(out)
    assert summary["reused"]
    assert len(summary["done"]) + len(summary["reused"]) == 7


@pytest.fixture
def plates(config):
    """Two plates in folders, one of them with a broken file."""
    raw = config.parent / "raw"
    for plate in ("Häuser B", "A"):
        shutil.copytree(raw, config.parent / "plates" / plate)
    cut_short(config.parent / "plates" / "A" / "A1_1.tif")
    text = config.read_text().replace("raw/{well}", "plates/{plate}/{well}")
    config.write_text(text.replace("output: out", "output: screen/{plate}"))
    return config


def test_each_plate_is_a_run_in_its_own_folder(plates, poolvox):
    code, out, _ = poolvox("check", plates)
    assert code == 1
    assert out.index("plate A:") < out.index("plate Häuser B:")
    code, out, _ = poolvox("run", plates)
    assert code == 1
    for plate, done in (("A", 6), ("Häuser B", 7)):
        table = pd.read_parquet(f"screen/{plate}/tables/counts.parquet")
        assert set(table["Metadata_Plate"]) == {plate}
        assert len(table) == done - 1
    facts = json.loads(poolvox("run", plates, "--json")[1])
    assert facts["exit_code"] == 1
    assert [len(each["reused"]) for each in facts["plates"].values()] == [6, 7]
    code, out, _ = poolvox("run", "screen/Häuser B/config.yaml")
    assert code == 0
    assert "0 done, 7 reused" in out
    code, _, err = poolvox("status", "screen")
    assert code == 2
    assert "give one of them, A, Häuser B" in err


def test_one_plate_of_several_is_run_alone(plates, poolvox):
    assert poolvox("run", plates, "--set", "plate=Häuser B")[0] == 0
    assert [path.name for path in Path("screen").iterdir()] == ["Häuser B"]
    code, _, err = poolvox("run", plates, "--set", "plate=C")
    assert code == 2
    assert "plate is 'C', the files are of A, Häuser B" in err


def test_a_plate_that_cannot_be_run_costs_itself_alone(plates, poolvox):
    for path in Path("plates/A").iterdir():
        path.write_bytes(b"no image")
    code, _, err = poolvox("run", plates)
    assert code == 2
    assert "plate A: none of the 6 files can be used" in err
    assert Path("screen/Häuser B/report.html").exists()
