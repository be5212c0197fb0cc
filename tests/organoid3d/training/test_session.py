import json
import os
import signal

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy import ndimage

from poolvox.organoid3d.training import TrainOptions, find_sources, session, train_model
from poolvox.organoid3d.training.curves import CurvePoint, Curves
from poolvox.organoid3d.training.loop import Schedule, State, load_state, save_state
from poolvox.organoid3d.training.sources import AnnotatedStack
from poolvox.organoid3d.training.thresholds import Segmented, choose_thresholds
from poolvox.shared.cli.app import run_command
from poolvox.shared.cli.training import _asked_to_stop
from poolvox.shared.errors import EngineError, InputError
from tests.organoid3d.networks import balls_image, write_model

# TensorFlow takes seconds to load: all of this in one process.
pytestmark = [
    pytest.mark.xdist_group("tensorflow"),
    # Keras on numpy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

SHAPE = (12, 40, 40)
VOXEL = (2.0, 1.0, 1.0)
QUIET = ["-q"]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A tiny network that sees small patches."""
    folder = write_model(tmp_path_factory.mktemp("start") / "tiny", filters=4, rays=16)
    path = folder / "config.json"
    config = json.loads(path.read_text()) | {"train_patch_size": (8, 24, 24)}
    path.write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def annotated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("annotated")
    for number in range(3):
        image = balls_image(SHAPE, 6, seed=number)
        labels = np.zeros(SHAPE, np.uint16)
        ndimage.label(image > 0.45, output=labels)
        for kind, array in (("stacks", (1000 * image).clip(0)), ("labels", labels)):
            (folder / kind).mkdir(exist_ok=True)
            tifffile.imwrite(folder / kind / f"s{number}.tif", array.astype(np.uint16))
    return folder


@pytest.fixture(scope="module")
def sources(annotated):
    return find_sources(annotated / "stacks", annotated / "labels", voxel_size=VOXEL)


@pytest.fixture(scope="module")
def whole(start, sources, tmp_path_factory):
    """A training that was never stopped."""
    out = tmp_path_factory.mktemp("whole") / "model"
    return train_model(sources, out, options=options(start))


def options(start, steps=6):
    return TrainOptions(start=str(start), steps=steps, seed=2, threads=1)


def weights(folder):
    return load_state(folder / "training" / "state.npz")


def test_the_folder_holds_a_model_scores_and_curves(whole):
    assert whole.finished
    assert whole.held_out
    names = {path.name for path in whole.folder.iterdir()}
    assert names >= {
        *("config.json", "thresholds.json", "weights_best.h5", "poolvox.json"),
        *("scores.csv", "curves.csv", "curves.png"),
    }
    assert len(whole.scores) == 1
    assert whole.scores["f1"].between(0, 1).all()
    curves = pd.read_csv(whole.folder / "curves.csv")
    assert curves["step"].tolist() == [5, 6]
    assert curves["held_out"].notna().all()
    assert json.loads((whole.folder / "thresholds.json").read_text())["prob"] >= 0.25


def test_stardist_itself_loads_it_and_gives_the_same(whole):
    from stardist.models import StarDist3D

    theirs = StarDist3D(None, name=whole.folder.name, basedir=str(whole.folder.parent))
    state = weights(whole.folder)
    for mine, other in zip(state.averaged, theirs.keras_model.get_weights(), strict=True):
        assert (mine == other).all()
    assert theirs.thresholds.prob == pytest.approx(whole.thresholds.prob)
    labels, details = theirs.predict_instances(balls_image(SHAPE, 6, seed=9))
    assert labels.max() == len(details["prob"])


def test_a_stopped_training_ends_where_one_that_was_not_does(whole, start, sources, tmp_path):
    out = tmp_path / "model"
    calls = iter(range(100))
    first = train_model(sources, out, options=options(start), stop=lambda: next(calls) == 2)
    assert not first.finished
    assert first.step == 3
    assert not (out / "weights_best.h5").exists()
    second = train_model(sources, out, options=options(start))
    assert second.finished
    one, other = weights(whole.folder), weights(out)
    assert one.step == other.step == 6
    for group in ("weights", "averaged", "moments"):
        for a, b in zip(getattr(one, group), getattr(other, group), strict=True):
            assert np.abs(a - b).max() < 1e-6
    ours, theirs = (pd.read_csv(f / "curves.csv") for f in (whole.folder, out))
    # A point's mean loss is over the steps since the point before, or since the stop.
    same = ["step", "held_out", "rate"]
    pd.testing.assert_frame_equal(ours[same], theirs[same], atol=1e-5)


def test_a_killed_training_loses_the_steps_since_its_last_state(
    whole, start, sources, tmp_path, monkeypatch
):
    class Killed(BaseException):
        """As sudden as a signal: nothing is tidied up."""

    def kill(progress):
        if progress.step == 4:
            raise Killed

    # A state after every step; the fourth step's was not begun when the end came.
    monkeypatch.setattr(session, "STATE_SECONDS", 0.0)
    with pytest.raises(Killed):
        train_model(sources, tmp_path, options=options(start), progress=kill)
    work = tmp_path / "training"
    assert weights(tmp_path).step == 3
    # A state that was being written, and an example of which only a part was.
    (work / "state.npz.new").write_bytes(b"PK")
    (work / "examples" / "00001_image.npy").unlink()
    assert train_model(sources, tmp_path, options=options(start)).finished
    one, other = weights(whole.folder), weights(tmp_path)
    assert one.step == other.step
    for a, b in zip(one.averaged, other.averaged, strict=True):
        assert np.abs(a - b).max() < 1e-6


def test_other_data_or_settings_in_the_same_folder_are_refused(whole, start, sources):
    with pytest.raises(InputError, match=r"other seed.*--restart"):
        train_model(
            sources, whole.folder, options=TrainOptions(start=str(start), steps=6, threads=1)
        )
    with pytest.raises(InputError, match="other t"):
        train_model(sources[:2], whole.folder, options=options(start))


def test_one_training_per_folder(start, sources, tmp_path):
    def again(progress):
        if progress.step == 1:
            with pytest.raises(EngineError, match="in use"):
                train_model(sources, tmp_path, options=options(start))
            seen.append(progress)

    seen = []
    train_model(sources, tmp_path, options=options(start), progress=again, stop=lambda: bool(seen))
    assert seen


def test_the_command(annotated, start, tmp_path, capsys):
    command = ["train", str(annotated / "stacks"), str(annotated / "labels")]
    command += ["-o", str(tmp_path / "m"), "--from", str(start), "--voxel-size", "2,1,1"]
    assert run_command([*command, "--steps", "2", *QUIET]) == 0
    told = capsys.readouterr().out
    assert "mean F1 at IoU 0.5" in told
    assert "on stacks kept apart" in told
    for wrong, message in (
        ([*command[:1], "nowhere", "x", "-o", "y"], "there is no nowhere"),
        (command[:3], "--output is missing"),
        ([*command[:5], "--voxel-size", "1,2"], "--voxel-size is '1,2'"),
        ([*command[:3], "-o", str(tmp_path / "n"), "--from", str(tmp_path)], "no config.json"),
    ):
        assert run_command([*wrong, *QUIET]) == 2
        assert message in capsys.readouterr().err


def test_a_signal_asks_to_stop_and_a_second_one_insists():
    before = signal.getsignal(signal.SIGTERM)
    with _asked_to_stop() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_rate_rises_and_falls():
    schedule = Schedule(1000, peak=1e-3)
    rates = [schedule.rate(step) for step in range(1000)]
    assert rates[0] == pytest.approx(1e-5)
    assert max(rates) == pytest.approx(1e-3)
    assert int(np.argmax(rates)) in (99, 100)
    assert rates[-1] == pytest.approx(2e-5, rel=0.1)
    assert np.isfinite(Schedule(1).rate(0))


def test_a_state_comes_back(tmp_path):
    rng = np.random.default_rng(0)
    parts = [[rng.random((3, 2), np.float32) for _ in range(n)] for n in (12, 12, 24)]
    save_state(State(7, *parts), tmp_path / "state.npz")
    found = load_state(tmp_path / "state.npz")
    assert found.step == 7
    for name, part in zip(("weights", "averaged", "moments"), parts, strict=True):
        assert all((a == b).all() for a, b in zip(getattr(found, name), part, strict=True))
    assert [p.name for p in tmp_path.iterdir()] == ["state.npz"]


def test_curves_go_on_from_the_state_that_was_kept(tmp_path):
    curves = Curves(tmp_path / "c.csv", last=0)
    for step in (10, 20, 30):
        curves.add(CurvePoint(step, 1 / step, 0.1, 0.2, float("nan"), 1e-3))
    again = Curves(tmp_path / "c.csv", last=20)
    assert again.table["step"].tolist() == [10, 20]
    again.draw(tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"


def test_thresholds_part_what_is_from_what_is_not():
    labels = np.zeros((4, 8, 40), np.int32)
    for number in range(8):
        labels[1:3, 2:6, 5 * number + 1 : 5 * number + 4] = number + 1
    truth = np.where(labels <= 5, labels, 0)
    sure = np.array([0.9, 0.8, 0.85, 0.7, 0.62, 0.5, 0.4, 0.3], np.float32)
    stack = AnnotatedStack(labels.astype(np.float32), truth, VOXEL)
    asked = []

    def segment(_, overlap):
        asked.append(overlap)
        found = np.where(labels == 5, 0, labels) if overlap != 0.3 else labels
        return Segmented(found.astype(np.uint32), sure)

    chosen, score = choose_thresholds([stack], segment)
    assert chosen.nms == 0.3
    assert 0.5 < chosen.prob <= 0.62
    assert score == 1
    assert sorted(asked) == [0.1, 0.2, 0.3, 0.4]
