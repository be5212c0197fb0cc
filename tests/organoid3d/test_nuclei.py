from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import xarray as xr

import poolvox.organoid3d
from poolvox.organoid3d import segment_nuclei
from poolvox.organoid3d.blobs import estimate_diameter, pool
from poolvox.organoid3d.classical import _clean
from poolvox.organoid3d.joining import join_pieces
from poolvox.organoid3d.nuclei import find_nuclei
from poolvox.organoid3d.simulate import FieldSpec, OrganoidSpec, simulate_field
from poolvox.shared.errors import InputError
from poolvox.shared.evaluate import evaluate_labels, evaluate_points

DATA = Path(__file__).parents[2] / "../shared/data/organoid3d"

pytestmark = [
    pytest.mark.xdist_group("tensorflow"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


@pytest.fixture(params=["classical", "default"])
def method(request):
    return request.param


def made(kind="cyst", nuclei=40, spacing=(2.0, 0.6, 0.6), seed=1, **traits):
    spec = FieldSpec((OrganoidSpec(kind, nuclei, **traits),), spacing)
    return simulate_field(spec, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def cyst():
    return made()


@pytest.mark.parametrize(
    ("kind", "spacing", "diameter", "least"),
    [
        ("cyst", (2.0, 0.6, 0.6), 10.0, 0.8),
        ("solid", (1.0, 0.5, 0.5), 8.0, 0.7),
        ("bud", (2.0, 0.7, 0.7), 12.0, 0.75),
        ("cyst", (5.0, 0.55, 0.55), 12.0, 0.7),
    ],
)
def test_simulated_nuclei_are_found(kind, spacing, diameter, least, method):
    field = made(kind, 40, spacing, diameter=diameter)
    found = find_nuclei(field.image[0], spacing=spacing, model=method)
    assert evaluate_labels(field.nuclei, found.labels).main.f1 > least
    assert found.diameter == pytest.approx(diameter, rel=0.3)


def test_same_result_for_every_type_and_range(cyst, method):
    raw = cyst.image[0]
    expected = segment_nuclei(raw, spacing=cyst.spacing, model=method)
    for other in (raw.astype(np.float64) / 65535, raw.astype(">u2"), raw.astype(np.int32)):
        assert (
            evaluate_labels(
                expected, segment_nuclei(other, spacing=cyst.spacing, model=method)
            ).main.ap
            > 0.97
        )
    eight = np.clip((raw - 90.0) / 2, 0, 255).astype(np.uint8)
    assert (
        evaluate_labels(expected, segment_nuclei(eight, spacing=cyst.spacing, model=method)).main.f1
        > 0.9
    )


def test_deterministic_and_labels_are_sequential(cyst, method):
    first, second = (
        segment_nuclei(cyst.image[0], spacing=cyst.spacing, model=method) for _ in range(2)
    )
    assert (first == second).all()
    assert first.dtype == np.uint32
    assert np.unique(first).tolist() == list(range(int(first.max()) + 1))


def test_inverted_and_broken_stacks(cyst, method):
    raw = cyst.image[0].astype(float)
    expected = segment_nuclei(raw, spacing=cyst.spacing, model=method)
    raw[2:4, 3:9, 3:9] = np.nan
    turned = find_nuclei(2000 - raw, spacing=cyst.spacing, model=method)
    assert any("turned round" in note for note in turned.notes)
    assert any("finite" in note for note in turned.notes)
    assert evaluate_labels(expected, turned.labels).main.f1 > 0.9


@pytest.mark.parametrize("planes", [1, 2])
def test_thin_stacks_are_segmented_in_2d_and_say_so(cyst, planes, method):
    middle = cyst.image.shape[1] // 2
    cut = np.s_[middle : middle + planes]
    found = find_nuclei(cyst.image[0][cut], spacing=cyst.spacing, model=method)
    assert found.labels.shape == cyst.image[0][cut].shape
    assert "2D" in found.notes[-1]
    assert evaluate_labels(cyst.nuclei[cut], found.labels, threshold=0.4).main.recall >= 0.5


def test_a_plane_is_an_image(cyst, method):
    plane = cyst.image[0, cyst.image.shape[1] // 2]
    assert segment_nuclei(plane, spacing=(0.6, 0.6), model=method).shape == plane.shape


@pytest.mark.parametrize("shape", [(20, 64, 64), (3, 5, 5), (1, 1, 1)])
@pytest.mark.parametrize("noise", [0.0, 8.0])
def test_an_empty_field_has_no_nuclei(shape, noise, method):
    image = 100 + noise * np.random.default_rng(0).standard_normal(shape)
    assert segment_nuclei(image, spacing=(2, 0.5, 0.5), model=method).max() == 0


def test_a_single_nucleus(method):
    spec = FieldSpec((OrganoidSpec("solid", 1, 12.0),), (2.0, 0.6, 0.6), shape=(26, 100, 100))
    field = simulate_field(spec, np.random.default_rng(0))
    labels = segment_nuclei(field.image[0], spacing=field.spacing, model=method)
    assert labels.max() == 1
    assert evaluate_labels(field.nuclei, labels).main.f1 == 1


def test_spacing_comes_with_a_dataarray(cyst, method):
    spacing = dict(zip("zyx", cyst.spacing))
    image = xr.DataArray(cyst.image[0], dims=tuple("zyx"), attrs={"spacing": spacing})
    plain = segment_nuclei(cyst.image[0], spacing=cyst.spacing, model=method)
    assert (segment_nuclei(image, model=method) == plain).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spacing": None}, "voxel size is missing"),
        ({"model": "some/folder"}, "'some/folder' is no folder: give default, classical, or"),
        ({"model": "classical", "scale": 1.5}, "give diameter"),
        ({"diameter": -3}, "diameter must be"),
    ],
)
def test_what_cannot_be_done_is_said(cyst, options, message):
    with pytest.raises(InputError, match=message):
        segment_nuclei(cyst.image[0], **({"spacing": cyst.spacing} | options))


def test_package_loads_lazily():
    assert "segment_nuclei" in dir(poolvox.organoid3d)
    with pytest.raises(AttributeError, match="no attribute"):
        poolvox.organoid3d.nothing  # noqa: B018


def test_diameter_of_balls_comes_back_in_spite_of_noise():
    grid = np.indices((30, 100, 100)) * np.reshape([2.0, 0.6, 0.6], (3, 1, 1, 1))
    rng = np.random.default_rng(0)
    image = rng.normal(0, 0.2, grid.shape[1:]).astype(np.float32)
    for z in (15, 45):
        for y in (15, 45):
            for x in (15, 45):
                away = np.linalg.norm(grid - np.reshape([z, y, x], (3, 1, 1, 1)), axis=0)
                image += away < 6
    assert estimate_diameter(image, (2.0, 0.6, 0.6)) == pytest.approx(12, rel=0.2)
    assert np.isnan(estimate_diameter(np.zeros((5, 40, 40), np.float32), (1, 1, 1)))


def test_pooling_keeps_the_mean_and_averages_the_rest():
    stack = np.arange(7, dtype=np.float32).reshape(1, 1, 7)
    pooled = pool(stack, (1, 1, 1), 3)
    assert pooled.factors == (1, 1, 3)
    assert pooled.stack.ravel().tolist() == [1, 4, 6]


def test_halves_of_a_ball_are_joined_and_touching_balls_are_not():
    grid = np.indices((24, 24, 60)) - np.reshape([12, 12, 0], (3, 1, 1, 1))
    labels = np.zeros(grid.shape[1:], np.int32)
    for number, x in enumerate((10, 28, 46), 1):
        labels[np.linalg.norm(grid - np.reshape([0, 0, x], (3, 1, 1, 1)), axis=0) < 9.4] = number
    labels[(labels == 1) & (grid[2] > 10)] = 4
    light = (labels > 0).astype(np.float32)
    joined = join_pieces(labels, light, np.ones(5), spacing=(1, 1, 1), largest=1e6)
    assert len(np.unique(joined)) == 4
    assert len(np.unique(joined[(labels == 1) | (labels == 4)])) == 1


needs_data = pytest.mark.skipif(not DATA.exists(), reason=f"the public data is not at {DATA}")


@needs_data
@pytest.mark.parametrize(("method", "least"), [("classical", 0.93), ("default", 0.9)])
def test_mouse_embryo(method, least):
    # BBBC050 (Tokuoka et al. 2020), CC BY 3.0
    scores = []
    for path in sorted((DATA / "mouse_embryo/images").glob("*t[34]*.tif")):
        truth = tifffile.imread(DATA / "mouse_embryo/labels" / path.name)
        labels = segment_nuclei(tifffile.imread(path), spacing=(1.75, 0.8, 0.8), model=method)
        scores.append(evaluate_labels(truth, labels).main.f1)
    assert np.mean(scores) > least


@needs_data
def test_worm_embryo():
    # itarampoulous/StarDist3D, BSD-3
    table = pd.read_csv(DATA / "worm_embryo/centroids.txt", sep="\t")
    points = table.loc[table["time"] == 90, ["Z", "Y", "X"]].to_numpy(float)
    image = tifffile.imread(DATA / "worm_embryo/WT-EMB01_t90.tif")
    labels = segment_nuclei(image, spacing=(1.0, 0.2, 0.2))
    assert evaluate_points(points, labels, spacing=(1.0, 0.2, 0.2)).score.f1 > 0.85


def test_less_of_a_nucleus_cut_by_a_side_is_no_nucleus():
    basins = np.zeros((8, 40, 40), np.int32)
    basins[2:6, 10:14, 10:14] = 1  # 64 voxels, whole
    basins[2:6, 0:4, 20:24] = 2  # as many, cut by a side
    basins[2:6, 30:38, 32:40] = 3  # 256, cut by the other
    basins[0:2, 20:25, 10:17] = 4  # 70, cut by the first plane: planes are few, and no debris
    basins[3, 30, 4] = 5  # debris
    found = _clean(basins, least=50, sliver=200)
    kept = {int(basins[found == n][0]) for n in range(1, int(found.max()) + 1)}
    assert kept == {1, 3, 4}
    assert np.unique(_clean(basins, least=50, sliver=50)).tolist() == [0, 1, 2, 3, 4]
