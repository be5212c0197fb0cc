from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy import ndimage

from poolvox.organoid3d.bodies import split_bodies
from poolvox.organoid3d.cells import cytoplasm_of, find_parents, segment_cells
from poolvox.organoid3d.masks import (
    LumenOptions,
    OrganoidOptions,
    close_by,
    open_by,
    segment_lumens,
    segment_organoids,
)
from poolvox.organoid3d.qc import FLAGS, Saturation, flag_objects, saturated_part
from poolvox.organoid3d.simulate import FieldSpec, OrganoidSpec, simulate_field
from poolvox.shared.errors import InputError
from poolvox.shared.evaluate import evaluate_labels

DATA = Path(__file__).parents[2] / "../shared/data/organoid3d/budding_organoid"
SPACING = (2.0, 0.6, 0.6)


def field(*specs, seed=0):
    return simulate_field(FieldSpec(specs, SPACING), np.random.default_rng(seed))


def iou(a, b):
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


@pytest.fixture(scope="module")
def cyst():
    return field(OrganoidSpec("cyst", 60))


def test_organoid_and_lumen_of_a_cyst(cyst):
    channels = [cyst.image[0], cyst.image[1]]
    organoids = segment_organoids(channels, spacing=SPACING, nuclei=cyst.nuclei)
    lumens = segment_lumens(channels, organoids, spacing=SPACING, nuclei=cyst.nuclei)
    assert organoids.max() == lumens.max() == 1
    assert iou(organoids > 0, cyst.organoids > 0) > 0.88
    assert iou(lumens > 0, cyst.lumens > 0) > 0.6
    assert not (lumens[organoids == 0]).any()


@pytest.mark.parametrize(("kind", "lumens", "least"), [("cyst", 1, 0.78), ("solid", 0, 0.75)])
def test_of_nuclei_alone_the_cytoplasm_is_neither_field_nor_lumen(kind, lumens, least):
    # Without the rim: two thirds of the solid organoid, and a lumen in it.
    made = field(OrganoidSpec(kind, 40))
    nuclear, nuclei = made.image[:1], made.nuclei
    organoids = segment_organoids(
        nuclear, spacing=SPACING, nuclei=nuclei, options=OrganoidOptions(closing=10, rim=2.5)
    )
    found = segment_lumens(
        nuclear, organoids, spacing=SPACING, nuclei=nuclei, options=LumenOptions(rim=2.5)
    )
    assert iou(organoids > 0, made.organoids > 0) > least
    assert found.max() == lumens
    bare = segment_organoids(
        nuclear, spacing=SPACING, nuclei=nuclei, options=OrganoidOptions(closing=10)
    )
    assert iou(bare > 0, made.organoids > 0) < iou(organoids > 0, made.organoids > 0) - 0.05


def lumens_of(made, membrane, *, alone=False):
    channels = [made.image[0]] if alone else [made.image[0], membrane]
    nuclei, rim = made.nuclei, 2.25 if alone else 0.0
    organoids = segment_organoids(
        channels,
        spacing=SPACING,
        nuclei=nuclei,
        options=OrganoidOptions(closing=10.0 if alone else 5.0, rim=rim),
    )
    options = LumenOptions(rim=rim, membrane=None if alone else 1)
    return segment_lumens(channels, organoids, spacing=SPACING, nuclei=nuclei, options=options)


@pytest.mark.parametrize("alone", [False, True])
def test_cytoplasm_of_large_cells_is_no_lumen(alone):
    # By darkness alone: four lumens with membranes, and two of a quarter of the organoid without.
    made = field(OrganoidSpec("solid", 30, 9.0, nuclear_fraction=0.15))
    assert not lumens_of(made, made.image[1], alone=alone).any()


def test_a_lumen_is_found_beside_the_cytoplasm_of_large_cells():
    made = field(OrganoidSpec("cyst", 40, 9.0, nuclear_fraction=0.2))
    found = lumens_of(made, made.image[1])
    assert found.max() == 1
    assert iou(found > 0, made.lumens > 0) > 0.65


def test_a_lumen_filled_with_the_stain_of_membranes_is_found():
    made = field(OrganoidSpec("cyst", 40, 9.0))
    level = np.percentile(made.image[1], 99)
    filled = np.where(made.lumens > 0, level, made.image[1]).astype(np.float32)
    found = lumens_of(made, ndimage.gaussian_filter(filled, (0.6, 0.5, 0.5)))
    assert found.max() == 1
    assert iou(found > 0, made.lumens > 0) > 0.6


def test_a_lumen_without_apical_stain_is_found():
    made = field(OrganoidSpec("cyst", 40, 9.0))
    near = ndimage.distance_transform_edt(made.lumens == 0, SPACING) < 2
    dark = np.percentile(made.image[1], 5)
    found = lumens_of(made, np.where(near, dark, made.image[1]))
    assert found.max() == 1
    assert iou(found > 0, made.lumens > 0) > 0.6


def test_several_organoids_are_told_apart():
    made = field(OrganoidSpec("cyst", 30), OrganoidSpec("solid", 30), OrganoidSpec("cyst", 30))
    found = segment_organoids([made.image[0], made.image[1]], spacing=SPACING, nuclei=made.nuclei)
    assert evaluate_labels(made.organoids, found, threshold=0.7).main.f1 == 1


def balls(*balls, spacing=SPACING, shape=(40, 110, 200)):
    """Union of balls of (z, y, x, radius) in micrometres."""
    grid = np.indices(shape, np.float32) * np.reshape(spacing, (3, 1, 1, 1)).astype(np.float32)
    mask = np.zeros(shape, bool)
    for *center, radius in balls:
        mask |= np.linalg.norm(grid - np.reshape(center, (3, 1, 1, 1)), axis=0) < radius
    return mask


@pytest.mark.parametrize(
    ("bodies", "count"),
    [
        pytest.param([(40, 33, 35, 25), (40, 33, 83, 25)], 2, id="touch"),
        pytest.param([(40, 33, 35, 28), (40, 33, 74, 12)], 2, id="small one at a large one"),
        pytest.param([(40, 33, 35, 25), (40, 33, 65, 18)], 1, id="bud"),
        pytest.param([(40, 33, 35, 25), (40, 33, 62, 12), (40, 33, 78, 12)], 1, id="long bud"),
        pytest.param([(0, 0, 0, 30), (10, 20, 54, 30)], 2, id="cut by the border"),
        pytest.param([(40, 33, 40, 30), (40, 33, 72, 4)], 1, id="a speck"),
        pytest.param([(40, 33, 60, 30)], 1, id="one"),
    ],
)
def test_bodies_are_cut_at_thin_necks(bodies, count):
    mask = balls(*bodies)
    labels = split_bodies(mask, SPACING, neck=0.5, least=2000)
    assert ((labels > 0) == mask).all()
    assert labels.max() == count
    if count == 2:
        sizes = np.bincount(labels.ravel())[1:] * np.prod(SPACING)
        alone = sorted(np.count_nonzero(balls(body)) * np.prod(SPACING) for body in bodies)
        assert sorted(sizes) == pytest.approx(alone, rel=0.1)
    assert split_bodies(mask, SPACING, neck=0, least=2000).max() == 1


def test_debris_is_no_organoid(cyst):
    options = OrganoidOptions(min_volume=1e9)
    assert not segment_organoids([cyst.image[0]], spacing=SPACING, options=options).any()


def test_empty_field_has_no_organoid_with_a_lumen():
    blank = np.full((8, 40, 40), 100.0)
    organoids = segment_organoids([blank], spacing=SPACING)
    assert not organoids.any()
    assert not segment_lumens([blank], organoids, spacing=SPACING).any()


def test_thresholds_are_checked(cyst):
    with pytest.raises(InputError, match="between 0 and 1"):
        segment_organoids([cyst.image[0]], spacing=SPACING, options=OrganoidOptions(threshold=2.0))


@pytest.mark.parametrize("spacing", [(1, 1, 1), (3.0, 1, 1)])
def test_closing_and_opening_are_balls_in_micrometres(spacing):
    mask = np.zeros((20, 40, 40), bool)
    mask[4:16, 5:35, 5:19] = mask[4:16, 5:35, 23:35] = True  # a gap of 4
    closed = close_by(mask, 3, spacing)
    assert closed[10, 20, 20:22].all()
    assert not close_by(mask, 1, spacing)[10, 20, 20:22].any()
    assert (closed & mask == mask).all()
    opened = open_by(closed, 5, spacing)
    assert not open_by(mask, 30, spacing).any()
    assert (closed | opened == closed).all()


def test_closing_leaves_what_touches_the_border_alone():
    mask = np.zeros((6, 20, 20), bool)
    mask[:, :, :8] = True
    assert (close_by(mask, 4, (1, 1, 1)) == mask).all()


def test_cells_meet_at_membranes(cyst):
    mask = (cyst.organoids > 0) & (cyst.lumens == 0)
    with_stain = segment_cells(cyst.nuclei, spacing=SPACING, mask=mask, image=cyst.image[1])
    inside = cyst.nuclei > 0
    assert (with_stain[inside] == cyst.nuclei[inside]).all()
    assert not with_stain[~mask & ~inside].any()
    assert evaluate_labels(cyst.cells, with_stain).main.f1 > 0.9


def test_a_membrane_off_the_middle_is_followed():
    nuclei = np.zeros((3, 9, 30), np.uint8)
    nuclei[:, 3:6, 4:7], nuclei[:, 3:6, 23:26] = 1, 2
    image = np.zeros(nuclei.shape)
    image[..., 18] = 100
    cells = segment_cells(nuclei, spacing=(1, 1, 1), image=image, reach=30)
    assert set(np.unique(cells[..., :17])) == {1}
    assert set(np.unique(cells[..., 20:])) == {2}
    plain = segment_cells(nuclei, spacing=(1, 1, 1), reach=30)
    assert set(np.unique(plain[..., 16:])) == {2}
    filled = segment_cells(nuclei, spacing=(1, 1, 1), image=-image, stain="cytoplasm", reach=30)
    assert (filled == cells).all()


def test_cells_reach_only_so_far():
    nuclei = np.zeros((9, 21, 21), int)
    nuclei[4, 10, 10] = 7
    cells = segment_cells(nuclei, spacing=(2, 1, 1), reach=4)
    away = ndimage.distance_transform_edt(nuclei == 0, (2, 1, 1))
    assert ((cells == 7) == (away <= 4)).all()
    assert cytoplasm_of(cells, nuclei)[4, 10, 10] == 0
    assert not segment_cells(nuclei * 0, spacing=(2, 1, 1)).any()


def test_parents_hold_most_of_their_children():
    parents = np.zeros((2, 4, 10), np.uint16)
    parents[..., :5], parents[..., 5:8] = 4, 9
    children = np.zeros_like(parents)
    children[0, 0, 3:6], children[0, 2, 7:], children[1, 3, 9] = 2, 5, 30
    parent, part = find_parents(children, parents)
    assert parent.to_dict() == {2: 4, 5: 9, 30: 0}
    assert part.round(3).to_dict() == {2: 0.667, 5: 0.333, 30: 0}


def test_flags_name_what_is_wrong():
    labels = np.zeros((10, 60, 60), np.uint16)
    for number, x in enumerate((10, 20, 30, 40), 1):
        labels[3:7, 20:26, x : x + 6] = number
    labels[3:7, 0:6, 30:36] = 5  # side
    labels[0:4, 40:46, 30:36] = 6  # first plane
    labels[5, 40:46, 10:16] = 7  # one plane
    labels[4, 50, 50] = 8  # tiny
    labels[3:5, 50:53, 20:23] = labels[3:5, 56:58, 26:28] = 9  # two parts
    inside = dict.fromkeys(range(1, 10), 1.0) | {4: 0.2}

    flags = flag_objects(labels, spacing=(2, 1, 1), inside=pd.Series(inside))
    raised = {name: flags.index[flags[name]].tolist() for name in FLAGS if name in flags}
    assert raised["QC_BorderXY"] == [5]
    assert raised["QC_BorderZ"] == [6]
    assert raised["QC_Planar"] == [7, 8]
    assert 8 in raised["QC_Size"]
    assert raised["QC_Fragments"] == [9]
    assert raised["QC_Outside"] == [4]
    assert "QC_Empty" not in flags
    held = flag_objects(labels, spacing=(2, 1, 1), held=pd.Series({1: 3, 2: 0}))
    assert held.index[held["QC_Empty"]].tolist() == [2, *range(3, 10)]
    assert flags.loc[1, "QC_Reason"] == ""
    assert FLAGS["QC_BorderXY"] in flags.loc[5, "QC_Reason"]


def test_two_nuclei_in_one_label_are_suspected():
    grid = np.indices((24, 40, 160))
    labels = np.zeros(grid.shape[1:], np.uint8)
    for number, x in enumerate((12, 40, 68, 96, 124), 1):
        labels[np.linalg.norm(grid - np.reshape([12, 12, x], (3, 1, 1, 1)), axis=0) < 8] = number
    labels[np.linalg.norm(grid - np.reshape([12, 27, 12], (3, 1, 1, 1)), axis=0) < 8] = 1
    flags = flag_objects(labels, spacing=(1, 1, 1))
    assert flags.index[flags["QC_Multiple"]].tolist() == [1]


def test_no_objects_no_rows():
    assert flag_objects(np.zeros((3, 4, 4), int), spacing=(1, 1, 1)).empty


def test_saturation_of_integers_only():
    assert saturated_part(np.array([255, 0, 0, 0], np.uint8)) == 0.25
    assert saturated_part(np.ones(4)) == 0
    assert saturated_part(np.zeros((0, 2), np.uint8)) == 0


@pytest.mark.parametrize("top", [1023, 4095, 16383, 65535, 4095 << 4])
def test_saturation_at_the_end_of_the_camera_in_whatever_type(top):
    # 12 bits in 16: no voxel has the largest value of its type.
    image = np.minimum(np.arange(100_000).reshape(4, -1), top).astype(np.uint16)
    part = np.mean(image == top)
    assert part > 0.3
    assert saturated_part(image) == part
    found = Saturation()
    for block in (image[3:], image[:3]):
        found.add(block)
    assert found.part == part
    assert saturated_part(np.minimum(image, top - 5)) == 0


def test_channels_may_be_a_list_or_one_array(cyst):
    found = segment_organoids(cyst.image[:2], spacing=cyst.spacing)
    assert (found == segment_organoids(list(cyst.image[:2]), spacing=cyst.spacing)).all()
    with pytest.raises(InputError, match="at least one channel"):
        segment_organoids(cyst.image[:0], spacing=cyst.spacing)


@pytest.mark.skipif(not DATA.exists(), reason="the public organoid lies beside the checkout")
def test_the_filled_lumen_of_a_real_organoid_is_found():
    # LSTree, MIT licence; its lumen is as bright as membranes.
    spacing, near = (2.0, 0.26, 0.26), np.s_[14:48, 190:390, 195:400]
    nuclear, membrane, nuclei, lumen = (
        tifffile.imread(DATA / f"T0301_{name}.tif")[near]
        for name in ("nuclei", "membrane", "nuclei_labels", "lumen_labels")
    )
    channels = [nuclear, membrane]
    organoids = segment_organoids(channels, spacing=spacing, nuclei=nuclei)
    options = LumenOptions(membrane=1)
    found = segment_lumens(channels, organoids, spacing=spacing, nuclei=nuclei, options=options)
    assert found.max() == 1
    assert iou(found > 0, lumen == 1) > 0.5
