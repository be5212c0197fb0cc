import dataclasses
import io

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from poolvox.shared.errors import InputError
from poolvox.shared.evaluate import (
    assign,
    draw_errors,
    evaluate_files,
    evaluate_labels,
    evaluate_point_files,
    evaluate_points,
    measure_overlap,
    score_overlap,
)


def balls(rng, count=60, shape=(24, 64, 64), radius=5.0, jitter=0.0):
    """Label voxels by the nearest of random centres within a radius: objects that touch."""
    centers = rng.uniform(0, 1, (count, 3)) * shape
    moved = centers + jitter * rng.standard_normal(centers.shape)
    grid = np.stack(np.indices(shape), -1).reshape(-1, 3)
    best = np.full(len(grid), np.inf)
    labels = np.zeros(len(grid), np.uint16)
    for number, center in enumerate(moved, 1):
        distance = np.linalg.norm((grid - center) * (2, 1, 1), axis=1)
        nearer = (distance < best) & (distance < radius)
        best[nearer], labels[nearer] = distance[nearer], number
    return labels.reshape(shape)


def pair(seed, jitter=1.5):
    first = balls(np.random.default_rng(seed))
    return first, balls(np.random.default_rng(seed), jitter=jitter)


THEIRS = {
    "matched": "tp",
    "invented": "fp",
    "missed": "fn",
    "precision": "precision",
    "recall": "recall",
    "f1": "f1",
    "ap": "accuracy",
    "mean_matched": "mean_matched_score",
    "mean_true": "mean_true_score",
    "panoptic": "panoptic_quality",
}


@pytest.mark.parametrize("criterion", ["iou", "iot", "iop"])
@pytest.mark.parametrize("seed", range(4))
def test_same_as_stardist(seed, criterion):
    matching = pytest.importorskip("stardist.matching").matching
    truth, labels = pair(seed, jitter=1.0 + seed)
    overlap = measure_overlap(truth, labels)
    for threshold in np.arange(0.05, 1.0, 0.05):
        theirs = matching(truth, labels, thresh=threshold, criterion=criterion)
        ours = score_overlap(overlap, threshold, criterion=criterion)
        for name, other in THEIRS.items():
            assert getattr(ours, name) == pytest.approx(getattr(theirs, other), abs=1e-6), name


def test_greedy_would_lose_a_pair():
    # The best single pair (IoU 0.5) stands in the way of two pairs of 0.3 and 0.43.
    truth = np.array([[1] * 6 + [2] * 4 + [0] * 2])
    labels = np.array([[3] * 3 + [4] * 7 + [0] * 2])
    score = score_overlap(measure_overlap(truth, labels), 0.3)
    assert score.matched == 2
    assert score.overlap == pytest.approx(3 / 6 + 4 / 7)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_assignment_is_the_best_there_is(seed):
    rng = np.random.default_rng(seed)
    rows, columns = np.nonzero(rng.random((7, 6)) < 0.4)
    scores = rng.uniform(0.05, 1, len(rows))
    good = scores > 0.4
    edges = assign(rows, columns, scores, good)
    assert len(set(rows[edges])) == len(set(columns[edges])) == len(edges)
    assert good[edges].all()
    costs = np.zeros((7, 6))
    costs[rows, columns] = -(good + scores / 100)
    best = linear_sum_assignment(costs)
    assert len(edges) == (costs[best] < -0.9).sum()


def test_sparse_and_dense_assignment_agree(monkeypatch):
    truth, labels = pair(3, jitter=4)
    overlap = measure_overlap(truth, labels)
    dense = score_overlap(overlap, 0.1)
    # The name `assign` is the function in the package, so the module is asked for by its path.
    import importlib

    monkeypatch.setattr(importlib.import_module("poolvox.shared.evaluate.assign"), "MAX_DENSE", 0)
    sparse = score_overlap(overlap, 0.1)
    assert dataclasses.astuple(sparse) == pytest.approx(dataclasses.astuple(dense))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64, np.uint64])
def test_any_integer_type_and_any_labels(dtype):
    truth, labels = pair(1)
    rng = np.random.default_rng(0)
    ids = np.unique(rng.integers(1, np.iinfo(dtype).max, 400, dtype=dtype, endpoint=True))
    first, second = (np.concatenate([[0], rng.permutation(ids)[:60]]).astype(dtype) for _ in "ab")
    plain, renamed = evaluate_labels(truth, labels), evaluate_labels(first[truth], second[labels])
    pd.testing.assert_frame_equal(plain.table, renamed.table)
    assert (plain.splits, plain.merges) == (renamed.splits, renamed.merges)
    assert renamed.truth["label"].dtype == dtype


def test_swapping_truth_and_labels_swaps_precision_and_recall():
    truth, labels = pair(2)
    forth, back = evaluate_labels(truth, labels), evaluate_labels(labels, truth)
    assert forth.main.precision == back.main.recall
    assert (forth.splits, forth.merges) == (back.merges, back.splits)


def test_2d_labels_are_the_single_plane():
    truth, labels = (stack[12] for stack in pair(0))
    flat, thick = evaluate_labels(truth, labels), evaluate_labels(truth[None], labels[None])
    assert flat.table.equals(thick.table)
    assert flat.by_depth.empty


def line(*parts):
    return np.repeat([label for label, count in parts for _ in range(count)], 4).reshape(-1, 4)


def test_planted_errors_are_named():
    truth = line((1, 8), (0, 2), (2, 8), (0, 2), (3, 5), (4, 5), (0, 3), (5, 4), (0, 6))
    labels = line((1, 8), (0, 2), (2, 4), (3, 4), (0, 2), (4, 10), (0, 3), (0, 4), (0, 2), (9, 4))
    found = evaluate_labels(truth, labels, threshold=0.6)
    assert found.truth["status"].tolist() == ["matched", "split", "merged", "merged", "missed"]
    assert dict(zip(found.predicted["label"], found.predicted["status"])) == {
        1: "matched",
        2: "fragment",
        3: "fragment",
        4: "merge",
        9: "invented",
    }
    assert (found.splits, found.merges) == (1, 1)
    assert found.truth["match"].tolist() == [1, 0, 0, 0, 0]


def test_depth_and_size_breakdown_find_where_objects_are_missed():
    truth = np.zeros((40, 60, 60), np.uint8)
    for number, (z, y) in enumerate([(z, y) for z in (4, 14, 24, 34) for y in (10, 30, 50)], 1):
        truth[z - 2 : z + 2, y - 3 : y + 3, 27:33] = number
    labels = np.where(np.arange(40)[:, None, None] < 20, truth, 0)
    found = evaluate_labels(truth, labels, spacing=(2, 1, 1))
    assert found.by_depth["recall"].tolist() == [1, 1, 0, 0]
    assert found.by_depth["z_to"].iloc[-1] == pytest.approx(2 * 33.5)
    assert found.truth["size"].unique() == pytest.approx(2 * 4 * 6 * 6)


@pytest.mark.parametrize(
    ("truth", "labels", "ap"),
    [
        (np.zeros((3, 4, 4), int), np.zeros((3, 4, 4), int), 0.0),
        (np.ones((3, 4, 4), int), np.zeros((3, 4, 4), int), 0.0),
        (np.zeros((3, 4, 4), int), np.ones((3, 4, 4), int), 0.0),
        (np.ones((3, 4, 4), bool), np.ones((3, 4, 4), bool), 1.0),
    ],
)
def test_empty_images_are_scored(truth, labels, ap):
    found = evaluate_labels(truth, labels)
    assert found.main.ap == ap
    assert len(draw_errors(found, truth, labels)) > 100


@pytest.mark.parametrize(
    ("truth", "labels", "message"),
    [
        (np.ones((2, 3, 3)), np.ones((2, 3, 3), int), "integer labels"),
        (np.ones((2, 3, 3), int), np.ones((3, 3), int), "one shape"),
        (-np.ones((2, 3, 3), int), np.ones((2, 3, 3), int), "negative"),
        (np.ones(3, int), np.ones(3, int), r"\(z, y, x\)"),
    ],
)
def test_wrong_input_says_what_is_wrong(truth, labels, message):
    with pytest.raises(InputError, match=message):
        evaluate_labels(truth, labels)


@pytest.mark.parametrize("threshold", [0, -0.5, 1.1, float("nan")])
def test_impossible_thresholds_are_refused(threshold):
    with pytest.raises(InputError, match="threshold"):
        evaluate_labels(np.ones((3, 3), int), np.ones((3, 3), int), threshold=threshold)


def test_points_within_objects_count_once():
    labels = np.zeros((10, 40, 40), np.uint8)
    labels[2:8, 2:12, 2:12], labels[2:8, 20:30, 2:12] = 1, 2
    points = [(5, 5, 5), (5, 8, 8), (5, 35, 35), (50, 0, 0)]
    found = evaluate_points(points, labels, spacing=(2, 1, 1))
    score = found.score
    assert (score.matched, score.invented, score.missed) == (1, 1, 3)
    assert found.predicted["holds"].tolist() == [2, 0]
    assert found.truth["match"].tolist() in ([1, 0, 0, 0], [0, 1, 0, 0])


def test_centres_that_are_no_numbers_are_refused():
    with pytest.raises(InputError, match="1 of 2 centres"):
        evaluate_points([[1, 1], [np.nan, 2]], np.ones((4, 4), int), spacing=(1, 1))


def test_points_within_a_radius_in_micrometres():
    labels = np.zeros((10, 40, 40), np.uint8)
    labels[4:7, 4:7, 4:7], labels[4:7, 14:17, 4:7] = 1, 2
    points = [(7, 5, 5), (5, 17, 5)]  # 2 planes of 3 um, and 2 voxels of 1 um, away
    scores = {
        radius: evaluate_points(points, labels, spacing=(3, 1, 1), radius=radius).score.matched
        for radius in (1.9, 2.1, 5.9, 6.1)
    }
    assert scores == {1.9: 0, 2.1: 1, 5.9: 1, 6.1: 2}


def test_files_of_labels_and_points(tmp_path):
    truth, labels = pair(0, jitter=0.5)
    tifffile.imwrite(tmp_path / "truth.tif", truth)
    tifffile.imwrite(tmp_path / "labels.tif", labels)
    found = evaluate_files(tmp_path / "labels.tif", tmp_path / "truth.tif", spacing=(2, 1, 1))
    assert found.table.equals(evaluate_labels(truth, labels).table)
    ids = np.unique(truth)[1:]
    centres = np.array(ndimage.center_of_mass(truth > 0, truth, ids))
    pd.DataFrame(centres, columns=list("ZYX")).to_csv(tmp_path / "points.csv", index=False)
    points = evaluate_point_files(
        tmp_path / "labels.tif", tmp_path / "points.csv", spacing=(2, 1, 1), radius=4
    )
    assert points.score.f1 > 0.95
    with pytest.raises(InputError, match="voxel size"):
        evaluate_point_files(tmp_path / "labels.tif", tmp_path / "points.csv")
    with pytest.raises(InputError, match="there is no"):
        evaluate_files(tmp_path / "labels.tif", tmp_path / "missing.tif")
    with pytest.raises(InputError, match="columns"):
        evaluate_point_files(tmp_path / "labels.tif", _text(tmp_path / "x.csv"), spacing=(1, 1, 1))


def test_files_tell_their_voxel_size_and_centres_may_be_in_micrometres(tmp_path):
    truth, labels = pair(0, jitter=0.5)
    tifffile.imwrite(
        tmp_path / "labels.tif",
        labels.astype(np.uint16),
        imagej=True,
        resolution=(2, 2),
        metadata={"axes": "ZYX", "spacing": 2.0, "unit": "um"},
    )
    tifffile.imwrite(tmp_path / "truth.tif", truth)
    found = evaluate_files(tmp_path / "labels.tif", tmp_path / "truth.tif")
    assert found.spacing == (2.0, 0.5, 0.5)
    ids = np.unique(truth)[1:]
    centres = np.array(ndimage.center_of_mass(truth > 0, truth, ids))
    tables = {"voxels": (list("ZYX"), centres)}
    tables["micrometres"] = (["z_um", "y_um", "x_um"], centres * found.spacing)
    scores = []
    for name, (columns, values) in tables.items():
        path = tmp_path / f"{name}.csv"
        pd.DataFrame(values, columns=columns).to_csv(path, index=False)
        scores.append(evaluate_point_files(tmp_path / "labels.tif", path, radius=2).score)
    assert scores[0] == scores[1]
    assert scores[0].f1 > 0.95


def test_labels_that_are_kept_as_floats_are_read(tmp_path):
    truth, labels = pair(0, jitter=1)
    tifffile.imwrite(tmp_path / "truth.tif", truth.astype(np.uint16))
    tifffile.imwrite(tmp_path / "labels.tif", labels.astype(np.float32))
    found = evaluate_files(tmp_path / "labels.tif", tmp_path / "truth.tif")
    assert found.main == evaluate_labels(truth, labels).main
    tifffile.imwrite(tmp_path / "labels.tif", labels.astype(np.float32) / 7)
    with pytest.raises(InputError, match=r"labels.tif: got float32 with fractions"):
        evaluate_files(tmp_path / "labels.tif", tmp_path / "truth.tif")


def _text(path):
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    return path


def test_picture_shows_the_errors_in_their_colours():
    truth, labels = pair(0, jitter=3)
    found = evaluate_labels(truth, labels, spacing=(2, 1, 1))
    picture = np.asarray(Image.open(io.BytesIO(draw_errors(found, truth, labels, truth * 3))))
    assert picture.shape[0] > 400
    missed = np.array([0xD5, 0x5E, 0x00])
    assert (np.abs(picture[..., :3].astype(int) - missed).max(axis=-1) < 6).sum() > 50


def test_hundred_thousand_objects():
    # Cubes on a lattice, shifted by one voxel: each overlaps up to eight, none may be lost.
    side, edge = 47, 4
    cubes = np.arange(1, side**3 + 1, dtype=np.uint32).reshape(side, side, side)
    truth = cubes.repeat(edge, 0).repeat(edge, 1).repeat(edge, 2)
    labels = np.roll(truth, (1, 1, 0), axis=(0, 1, 2))
    found = evaluate_labels(truth, labels, thresholds=(0.1, 0.3))
    # IoU of a cube with its own: 9 of 16 columns shared, 9 / (32 - 9); no other reaches 0.3.
    assert {score.threshold: score.matched for score in found.scores}[0.3] == side**3
    assert len(found.truth) == side**3 > 100_000
