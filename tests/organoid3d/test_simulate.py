from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy import ndimage

from poolvox.organoid3d.simulate import (
    Effect,
    FieldSpec,
    Optics,
    OrganoidSpec,
    PlateSpec,
    simulate_field,
    simulate_plate,
)
from poolvox.shared.errors import InputError

COARSE = (3.0, 1.0, 1.0)


def field(kind="cyst", nuclei=20, spacing=COARSE, seed=0, **organoid):
    spec = FieldSpec((OrganoidSpec(kind=kind, nuclei=nuclei, **organoid),), spacing)
    return simulate_field(spec, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", ["solid", "cyst", "bud"])
@pytest.mark.parametrize("nuclei", [4, 60])
def test_every_nucleus_is_drawn_once_and_in_one_piece(kind, nuclei):
    made = field(kind, nuclei)
    assert made.table["label"].tolist() == list(range(1, nuclei + 1))
    boxes = ndimage.find_objects(made.nuclei)
    pieces = [ndimage.label(made.nuclei[box] == n)[1] for n, box in enumerate(boxes, 1)]
    assert max(pieces) <= 2  # thin ones may part where planes lie far from each other
    assert np.mean([p == 1 for p in pieces]) > 0.9


@pytest.mark.parametrize("kind", ["solid", "cyst", "bud"])
def test_compartments_nest(kind):
    made = field(kind, 40)
    inside = made.nuclei > 0
    assert (made.cells[inside] == made.nuclei[inside]).all()
    assert ((made.cells > 0) == ((made.organoids > 0) & (made.lumens == 0))).all()
    assert (made.lumens.max() > 0) == (kind != "solid")


def test_nuclei_have_the_size_asked_for_and_touch():
    made = field("solid", 100, spacing=(1.0, 0.5, 0.5), diameter=8.0, diameter_cv=0.05)
    diameter = np.cbrt(made.table["volume_um3"] * 6 / np.pi)
    assert diameter.median() == pytest.approx(8, rel=0.06)
    grown = ndimage.grey_dilation(made.nuclei, size=3)
    neighbour = np.unique(made.nuclei[(grown != made.nuclei) & (made.nuclei > 0)])
    assert len(neighbour) > 30


def test_larger_lumen_with_the_same_cells():
    plain, treated = (field(nuclei=40, lumen_scale=scale) for scale in (1.0, 1.35))
    assert treated.summary["lumen_um3"][0] > 1.5 * plain.summary["lumen_um3"][0]
    assert len(treated.table) == len(plain.table)


def test_light_is_lost_with_depth_at_the_stated_rate():
    optics = Optics(attenuation=0.02, brightness_cv=0, texture=0, background=0, brightness=2000)
    spec = FieldSpec((OrganoidSpec("solid", 60),), (1.0, 1.0, 1.0), optics=optics)
    made = simulate_field(spec, np.random.default_rng(1))
    labels = made.table["label"]
    bright = ndimage.maximum(made.image[0] - optics.offset, made.nuclei, labels)
    slope = np.polyfit(made.table["z_um"], np.log(bright), 1)[0]
    assert slope == pytest.approx(np.log(1 - 0.02), rel=0.2)


def test_several_organoids_lie_apart():
    specs = tuple(OrganoidSpec(kind, 12) for kind in ("solid", "cyst", "cyst"))
    made = simulate_field(FieldSpec(specs, COARSE), np.random.default_rng(3))
    assert ndimage.label(made.organoids, np.ones((3, 3, 3)))[1] == 3
    assert made.summary["nuclei"].tolist() == [12, 12, 12]


def test_same_seed_same_stack():
    first, second, other = (field(nuclei=6, seed=seed) for seed in (5, 5, 6))
    assert (first.image == second.image).all()
    assert first.image.shape != other.image.shape or (first.image != other.image).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nuclei": 0}, "at least 1 nucleus"),
        ({"nuclear_fraction": 0.9}, "nuclear_fraction"),
        ({"diameter": 0.0}, "diameter"),
    ],
)
def test_impossible_organoids_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        replace(OrganoidSpec(), **change)


def test_too_small_a_stack_says_so():
    spec = FieldSpec((OrganoidSpec(nuclei=200),), COARSE, shape=(10, 40, 40))
    with pytest.raises(InputError, match="does not fit"):
        simulate_field(spec, np.random.default_rng(0))


def test_plate_writes_stacks_with_voxel_size_and_truth(tmp_path):
    spec = PlateSpec(
        wells={"A1": "control", "B1": "treated"},
        effects={"treated": Effect(marker=3.0)},
        organoid=OrganoidSpec(nuclei=8, marker_positive=1.0),
        view=FieldSpec(spacing=COARSE),
    )
    config = simulate_plate(spec, tmp_path, np.random.default_rng(2))
    assert config == tmp_path / "config.yaml"
    with tifffile.TiffFile(tmp_path / "stacks" / "A1_1.ome.tif") as raw:
        assert 'PhysicalSizeZ="3.0"' in raw.ome_metadata
        shape = raw.asarray().shape
    assert tifffile.imread(tmp_path / "truth" / "A1_1_nuclei.tif").shape == (shape[0], *shape[2:])
    nuclei = pd.read_csv(tmp_path / "truth" / "nuclei.csv")
    marker = nuclei.groupby("treatment")["marker"].median()
    assert marker["treated"] > 2 * marker["control"]


def test_stacks_of_a_plate_may_hold_several_organoids(tmp_path):
    spec = PlateSpec(
        wells={"A1": "control"},
        organoids=2,
        organoid=OrganoidSpec("solid", nuclei=5),
        view=FieldSpec(spacing=COARSE),
    )
    simulate_plate(spec, tmp_path, np.random.default_rng(2))
    organoids = pd.read_csv(tmp_path / "truth" / "organoids.csv")
    assert organoids["organoid"].tolist() == [1, 2]
    assert tifffile.imread(tmp_path / "truth" / "A1_1_organoids.tif").max() == 2
