import json
from pathlib import Path

import pytest

from .tiny import TinyPipeline


def test_demo_simulates_runs_and_judges(poolvox):
    code, out, _ = poolvox("demo", "tiny", "--out", "demo", "--seed", "3")
    assert code == 0
    assert "tiles counted right" in out
    assert "passed" in out
    assert str(Path("demo/tiny/out/report.html")) in out
    code, out, _ = poolvox("demo", "tiny", "--out", "demo", "--seed", "3")
    assert code == 0
    assert "0 done, 7 reused" in out


def test_a_demo_of_all_names_what_cannot_be_imported(poolvox):
    code, out, err = poolvox("demo")
    assert code == 1
    assert "No module named 'absent'" in err
    assert "tiles counted right" in out
    assert json.loads(Path("poolvox-demo/demo.json").read_text())["seed"] == 0


def test_a_demo_that_misses_the_truth_fails(poolvox, monkeypatch):
    simulate = TinyPipeline.simulate

    def wrong(self, out, *, seed):
        config = simulate(self, out, seed=seed)
        config.write_text(config.read_text() + "threshold: 50\n")
        return config

    monkeypatch.setattr(TinyPipeline, "simulate", wrong)
    code, out, _ = poolvox("demo", "tiny")
    assert code == 1
    assert "FAILED" in out


def test_a_demo_touches_no_other_folder(poolvox):
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("text")
    code, _, err = poolvox("demo", "tiny", "--out", "mine")
    assert code == 2
    assert "is no demo" in err
    assert [path.name for path in Path("mine").iterdir()] == ["thesis.txt"]
    assert poolvox("demo", "tiny", "--out", "demo")[0] == 0
    code, _, err = poolvox("demo", "tiny", "--out", "demo", "--seed", "4")
    assert code == 2
    assert "seed 0, not 4" in err


@pytest.mark.parametrize("which", ["broken", "tinny"])
def test_a_demo_of_something_else_is_wrong_input(poolvox, which):
    code, _, err = poolvox("demo", which)
    assert code == 2
    assert which in err


def test_init_writes_a_configuration_that_runs(config, poolvox):
    code, out, _ = poolvox("init", "tiny", "raw", "-o", "new.yaml")
    assert code == 0
    assert "poolvox check new.yaml" in out
    assert "files: 'raw/{well}" in Path("new.yaml").read_text()
    assert poolvox("check", "new.yaml")[0] == 0
    code, _, err = poolvox("init", "tiny", "raw", "-o", "new.yaml")
    assert code == 2
    assert "is there already" in err


def test_init_tells_what_is_unclear(config, poolvox, monkeypatch):
    text = (
        "pipeline: tiny\n# from 3 files\nraw:\n  sbs:  # an instrument\n"
        "    # the pixel size is not in the files\n    files: a.tif  # 3 files\n"
        "    # pixel_size: ?  # fill in\nnuclei:\n  # diameter: 10\n"
    )
    monkeypatch.setattr(TinyPipeline, "template", lambda self, folder: text)
    code, out, _ = poolvox("init", "tiny", "raw", "-o", "new.yaml")
    assert code == 0
    assert out.splitlines() == [
        "wrote new.yaml; look at these of its lines:",
        "  line 5: the pixel size is not in the files",
        "  line 7: pixel_size: ?  # fill in",
        "then: poolvox check new.yaml",
    ]


def test_init_can_show_it_instead(config, poolvox):
    code, out, _ = poolvox("init", "tiny", "raw", "-o", "-")
    assert code == 0
    assert out.startswith("pipeline: tiny\n")


@pytest.mark.parametrize(
    "arguments", [("tiny", "nowhere"), ("tiny", "raw", "-o", "no/where.yaml"), ("tin", "raw")]
)
def test_init_says_what_is_wrong(config, poolvox, arguments):
    code, _, err = poolvox("init", *arguments)
    assert code == 2
    assert "there is no" in err
