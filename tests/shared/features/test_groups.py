"""Planted answers for the groups that look inside or between objects."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import reconstruction

from poolvox.shared.features import find_objects, measure
from poolvox.shared.features.colocalisation import ColocalisationOptions
from poolvox.shared.features.curvature import CurvatureOptions, surface_mesh
from poolvox.shared.features.glcm import steps_at
from poolvox.shared.features.granularity import GranularityOptions
from poolvox.shared.features.granularity import _ball as physical_ball
from poolvox.shared.features.intensity import IntensityOptions
from poolvox.shared.features.isosurface import TRIANGLES, triangulate
from poolvox.shared.features.neighbours import NeighboursOptions
from poolvox.shared.features.ordering import argsort_floats, median_of
from poolvox.shared.features.smoothing import gaussian_kernels
from poolvox.shared.features.spots import SpotsOptions
from poolvox.shared.features.texture import TextureOptions
from poolvox.shared.features.vertices import vertex_curvature


def ball(shape, spacing, radius, centre=None):
    middle = (np.array(shape) - 1) / 2 * spacing if centre is None else np.array(centre)
    axes = [np.arange(n) * s for n, s in zip(shape, spacing)]
    where = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return ((where - middle) ** 2).sum(-1) <= radius**2


def one(labels, images, group, spacing, *options):
    images = images if isinstance(images, dict) else {"i": images}
    table = measure(
        np.asarray(labels).astype(np.uint8),
        images,
        spacing=spacing,
        groups=[group],
        options=options,
    )
    prefix = f"Nuclei_{group.capitalize()}_"
    return table.rename(columns=lambda name: name.removeprefix(prefix)).iloc[0]


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 1, 1), (5, 1, 1), (1, 1)])
def test_even_intensity_has_even_shells(spacing):
    shape = tuple(int(34 / s) for s in spacing)
    mask = ball(shape, spacing, 15)
    row = one(mask, np.full(shape, 7.0), "radial", spacing)
    np.testing.assert_allclose([row[f"MeanFrac_i_{i}of4"] for i in range(1, 5)], 1)
    np.testing.assert_allclose([row[f"RadialCV_i_{i}of4"] for i in range(1, 5)], 0, atol=1e-9)
    assert sum(row[f"FracAtD_i_{i}of4"] for i in range(1, 5)) == pytest.approx(1)
    # The outer shell of a ball holds most of it: 1 - (3/4)^ndim, but for the grid.
    expected = 1 - 0.75 ** len(spacing)
    assert row["FracAtD_i_4of4"] == pytest.approx(expected, abs=0.12 if 5 in spacing else 0.07)


def test_intensity_at_the_border_lies_in_the_last_shell():
    mask = ball((30, 30, 30), (1, 1, 1), 13)
    image = np.where(ball((30, 30, 30), (1, 1, 1), 11), 0.0, 10.0)
    row = one(mask, image, "radial", 1)
    assert row["FracAtD_i_4of4"] == pytest.approx(1)
    assert row["MeanFrac_i_1of4"] == 0


def test_half_a_ball_bright_has_an_uneven_shell():
    mask = ball((31, 31, 31), (1, 1, 1), 13)
    image = np.ones(mask.shape)
    image[:, :, 16:] = 3
    row = one(mask, image, "radial", 1)
    assert row["RadialCV_i_4of4"] == pytest.approx(0.5, abs=0.05)


def test_mass_displacement_and_background():
    labels = np.zeros((1, 12, 40), int)
    labels[0, 3:9, 10:30] = 1
    image = np.full(labels.shape, 20.0)
    image[0, 3:9, 10:20], image[0, 3:9, 20:30] = 120, 320
    row = one(labels, image, "intensity", (1, 2, 0.5), IntensityOptions(background_um=2))
    # Halves weigh 120 and 320, their middles 10 pixels of 0.5 um apart.
    assert row["MassDisplacement_um_i"] == pytest.approx(5 * (320 / 440 - 0.5))
    assert row["Background_i"] == 20
    assert row["MeanCorrected_i"] == 200
    assert row["IntegratedCorrected_i"] == 200 * 120


def test_large_offset_costs_no_digits():
    mask = ball((12, 12, 12), (1, 1, 1), 5)
    noise = np.random.default_rng(0).standard_normal(mask.shape)
    low, high = (one(mask, noise + base, "intensity", 1) for base in (0, 1e7))
    for name in ("Std_i", "Skewness_i", "Kurtosis_i", "EdgeStd_i", "MAD_i"):
        assert high[name] == pytest.approx(low[name], rel=1e-5)


def test_steps_of_co_occurrence_are_physical():
    even = steps_at(1.0, np.ones(3), 3)
    assert len(even) == 13
    assert np.abs(even).max() == 1
    coarse = steps_at(4.0, np.array([2.0, 0.5, 0.5]), 3)
    lengths = np.linalg.norm(coarse * np.array([2.0, 0.5, 0.5]), axis=1)
    assert len(coarse) == 13
    assert np.abs(lengths - 4).max() < 1
    assert (steps_at(1.0, np.array([5.0, 1.0, 1.0]), 3)[:, 0] == 0).all()


def test_stripes_show_in_the_range_over_directions():
    mask = np.zeros((40, 40), int)
    mask[4:36, 4:36] = 1
    stripes = np.tile([0.0, 0.0, 1.0, 1.0], 10)[None] * np.ones((40, 1))
    options = TextureOptions(distances_um=(1.0,), levels=2)
    row = one(mask, stripes, "texture", 0.5, options)
    # Two pixels on, every level is the other one; along the stripes none is.
    assert row["ContrastRange_i_1um"] == pytest.approx(1)
    noise = np.random.default_rng(0).integers(0, 2, mask.shape)
    row = one(mask, noise, "texture", 0.5, options)
    assert row["ContrastRange_i_1um"] < 0.1


def test_patterns_of_flat_and_checkered_cells():
    mask = np.ones((20, 20), int)
    flat = one(mask, np.ones(mask.shape), "texture", 1, TextureOptions(pattern_radius_um=1))
    assert flat["LBP_i_8"] == 1
    y, x = np.indices(mask.shape)
    board = one(mask, (y + x) % 2, "texture", 2, TextureOptions(pattern_radius_um=2))
    assert board["LBP_i_8"] < 0.6
    assert sum(board[f"LBP_i_{i}"] for i in range(10)) == pytest.approx(1)


def test_energy_peaks_at_the_scale_of_the_grains():
    shape, spacing = (24, 60, 60), (1.0, 0.5, 0.5)
    rng = np.random.default_rng(2)
    grains = ndimage.gaussian_filter(rng.standard_normal(shape), 1.0 / np.array(spacing))
    row = one(ball(shape, spacing, 11), grains, "texture", spacing)
    assert row["LoGEnergy_i_1um"] > 1.5 * row["LoGEnergy_i_0.5um"]
    fine = rng.standard_normal(shape)
    row = one(ball(shape, spacing, 11), fine, "texture", spacing)
    assert row["LoGEnergy_i_0.5um"] > 1.5 * row["LoGEnergy_i_2um"]


def test_kernel_has_the_variance_asked_for():
    spacing = np.array([2.0, 0.5, 0.25])
    for half, s in zip(gaussian_kernels(1.0, spacing), spacing):
        steps = np.arange(len(half))
        assert half[0] + 2 * half[1:].sum() == pytest.approx(1, abs=5e-3)
        assert 2 * (half * (steps * s) ** 2).sum() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (2.0, 0.5, 0.5), (0.5, 0.5)])
@pytest.mark.parametrize("radius", [1.5, 3.0])
def test_grains_fall_at_their_physical_radius(spacing, radius):
    """Balls of one radius vanish between that radius and the next, whatever the z step."""
    shape = tuple(int(40 / s) for s in spacing)
    image = np.full(shape, 10.0)
    for corner in np.ndindex(*(2,) * len(shape)):
        image[ball(shape, spacing, radius, centre=12 + 16.0 * np.array(corner))] = 110
    options = GranularityOptions(radii_um=(0.75, 1.2, 2.3, 2.7, 3.6))
    row = one(np.ones(shape), image, "granularity", spacing, options)
    spectrum = np.array([row[f"Spectrum_i_{r:g}um"] for r in options.radii_um])
    assert spectrum.sum() == pytest.approx(100, abs=1e-3)
    assert np.argmax(spectrum) == {1.5: 2, 3.0: 4}[radius]
    assert spectrum.max() > 95


@pytest.mark.parametrize("spacing", [(1.0, 0.5, 0.7), (2.0, 0.5, 0.5), (0.5, 0.7)])
def test_granularity_equals_erosion_and_reconstruction_of_scipy(spacing):
    rng = np.random.default_rng(1)
    shape = (8, 15, 13)[-len(spacing) :]
    labels = ndimage.gaussian_filter(rng.standard_normal(shape), 1.5) > -0.02
    image = rng.integers(0, 60, shape).astype(float)
    radii = (0.5, 1.0, 2.5, 4.0)
    row = one(labels, image, "granularity", spacing, GranularityOptions(radii_um=radii))
    mask = np.where(labels, image - image[labels].min(), 0)
    before = total = mask.sum()
    for radius in radii:
        reach = [int(radius / s + 1e-9) for s in spacing]
        steps = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), -1)
        ball = np.linalg.norm(steps * spacing, axis=-1) <= radius * (1 + 1e-9)
        far = np.where(labels, mask, np.inf)
        eroded = ndimage.grey_erosion(far, footprint=ball, mode="constant", cval=np.inf)
        marker = np.where(labels, np.minimum(eroded, mask), 0)
        faces = ndimage.generate_binary_structure(len(shape), 1)
        here = reconstruction(marker, mask, footprint=faces).sum()
        expected = 100 * (before - here) / total
        assert row[f"Spectrum_i_{radius:g}um"] == pytest.approx(expected, abs=1e-4)
        before = here


def test_granularity_in_z_is_not_that_of_planes():
    """A rod along z is a small spot in every plane, yet thin: it must fall as in the other axes."""
    spacing, shape = (2.0, 0.5, 0.5), (20, 80, 80)
    values = []
    for axis in range(3):
        image = np.zeros(shape)
        span = [slice(int(18 / s), int(22 / s)) for s in spacing]
        span[axis] = slice(int(6 / spacing[axis]), int(34 / spacing[axis]))
        image[tuple(span)] = 1
        row = one(np.ones(shape), image, "granularity", spacing)
        values.append([row[c] for c in row.index if "Spectrum" in c])
    assert np.argmax(values, axis=1).tolist() == [np.argmax(values[0])] * 3


@pytest.mark.parametrize("spacing", [(1.0, 0.25, 0.25), (0.25, 0.25)])
def test_planted_spots(spacing):
    rng = np.random.default_rng(5)
    shape = tuple(int(14 / s) for s in spacing)
    mask = ball(shape, spacing, 6)
    image = 100 + 4 * rng.standard_normal(shape)
    planted = np.array([[0, 0, 0], [0, 2.5, 0], [2, -2, 1.5], [-2, 1, -3]])[:, -len(shape) :]
    middle = (np.array(shape) - 1) / 2 * spacing
    axes = np.stack(
        np.meshgrid(*[np.arange(n) * s for n, s in zip(shape, spacing)], indexing="ij"), axis=-1
    )
    for place in planted:
        image += 200 * np.exp(-((axes - middle - place) ** 2).sum(-1) / (2 * 0.35**2))
    row = one(mask, image, "spots", spacing, SpotsOptions(diameter_um=1.0, snr=8))
    assert row["Count_i"] == 4
    away = np.linalg.norm(planted, axis=1)
    assert row["CentreDistance_um_i"] == pytest.approx(away.mean(), abs=spacing[0])
    assert row["BorderDistance_um_i"] == pytest.approx((6 - away).mean(), abs=0.5)
    assert 50 < row["Contrast_i"] < 200
    quiet = one(mask, 100 + 4 * rng.standard_normal(shape), "spots", spacing)
    assert quiet["Count_i"] <= 1
    assert np.isnan(one(mask, np.ones(shape), "spots", spacing)["Contrast_i"])
    assert one(mask, np.ones(shape), "spots", spacing)["Count_i"] == 0


def test_colocalisation_of_equal_opposite_and_separate_channels():
    mask = np.ones((8, 30, 30), int)
    rng = np.random.default_rng(3)
    a = rng.random(mask.shape)
    row = one(mask, {"a": a, "b": 2 * a + 1}, "colocalisation", 1)
    assert row["Pearson_a_b"] == pytest.approx(1)
    assert row["Slope_a_b"] == pytest.approx(2)
    assert row["RWC_a_b_first"] == pytest.approx(row["Manders_a_b_first"])
    row = one(mask, {"a": a, "b": 1 - a}, "colocalisation", 1)
    assert row["Pearson_a_b"] == pytest.approx(-1)
    assert np.isnan(row["Costes_a_b_first"])
    left = np.zeros(mask.shape)
    left[:, :, :15] = 1
    row = one(mask, {"a": left, "b": 1 - left}, "colocalisation", 1)
    assert row["Manders_a_b_first"] == row["RWC_a_b_second"] == 0


def test_neighbours_stay_out_of_colocalisation():
    """The box of a slanted object is mostly not the object."""
    y, x = np.indices((40, 40))
    labels = (np.abs(y - x) < 4).astype(int)
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 40, 40))
    b = np.where(labels, a, b)
    assert one(labels, {"a": a, "b": b}, "colocalisation", 1)["Pearson_a_b"] == pytest.approx(1)


def test_no_threshold_leaves_every_voxel_in_colocalisation():
    mask = ball((10, 10, 10), (1, 1, 1), 4)
    a, b = np.random.default_rng(0).random((2, *mask.shape))
    found = one(mask, {"a": a, "b": b}, "colocalisation", 1, ColocalisationOptions(threshold=0))
    x, y = a[mask > 0], b[mask > 0]
    assert found["Manders_a_b_first"] == found["Manders_a_b_second"] == 1
    assert found["Overlap_a_b"] == pytest.approx(
        (x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum())
    )


def test_a_range_that_overflows_has_no_entropy():
    mask = ball((10, 10, 10), (1, 1, 1), 4)
    image = np.where(np.arange(10) < 5, 1.7e308, -1.7e308) * np.ones(mask.shape)
    assert np.isnan(one(mask, image, "intensity", 1)["Entropy_i"])


def test_touching_and_closest():
    labels = np.zeros((3, 10, 30), int)
    labels[:, 2:6, 2:6], labels[:, 2:6, 6:10], labels[:, 2:6, 12:16] = 1, 2, 3
    table = measure(labels, spacing=(1, 0.5, 0.5), groups=["neighbours"])
    table.columns = [c.removeprefix("Nuclei_Neighbours_") for c in table]
    assert table["Touching"].tolist() == [1, 1, 0]
    # All voxels of objects three planes thick that reach the border of the image are exposed,
    # but the four in the middle of the middle plane.
    exposed = 3 * 16 - 4
    assert table["FractionTouching"].tolist() == pytest.approx([12 / exposed, 12 / exposed, 0])
    assert table["FirstDistance_um"].tolist() == [2, 2, 3]
    assert table["SecondDistance_um"].tolist() == [5, 3, 5]
    assert table["Angle_degree"].tolist() == pytest.approx([0, 180, 0], abs=1e-5)
    gap = NeighboursOptions(gap_um=1.5)
    wide = measure(labels, spacing=(1, 0.5, 0.5), groups=["neighbours"], options=[gap])
    assert wide["Nuclei_Neighbours_Touching"].tolist() == [1, 2, 1]


def test_alone_and_in_pairs():
    labels = np.zeros((6, 6), int)
    labels[1, 1] = 1
    table = measure(labels, spacing=1, groups=["neighbours"])
    assert table.filter(like="Distance").isna().all(axis=None)
    labels[1, 4] = 2
    table = measure(labels, spacing=2, groups=["neighbours"])
    assert table["Nuclei_Neighbours_FirstDistance_um"].tolist() == [6, 6]
    assert table["Nuclei_Neighbours_SecondDistance_um"].isna().all()


@pytest.mark.parametrize("a", [1, 2, 5])
def test_curvature_of_a_ball_and_a_ring(a):
    spacing = (0.5 * a, 0.5, 0.5)
    shape = tuple(int(24 / s) for s in spacing)
    row = one(ball(shape, spacing, 8), {}, "curvature", spacing)
    assert row["Mean_per_um"] == pytest.approx(1 / 8, rel=0.03)
    assert row["Gaussian_per_um2"] == pytest.approx(1 / 64, rel=0.05)
    assert row["Total"] == pytest.approx(2, abs=1e-6)
    assert row["ConcaveFraction"] < 0.02
    middle = (np.array(shape) - 1) / 2 * spacing
    axes = [np.arange(n) * s - m for n, s, m in zip(shape, spacing, middle)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    ring = (np.hypot(y, x) - 7) ** 2 + z**2 <= 9
    row = one(ring, {}, "curvature", spacing)
    assert row["Total"] == pytest.approx(0, abs=1e-6)
    assert row["Mean_per_um"] == pytest.approx(1 / 6, rel=0.05)


def test_gauss_bonnet_holds_on_any_mesh():
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((24, 24, 24)), 2)
    objects = find_objects((noise > 0.02).astype(int), spacing=1)
    vertices, faces = surface_mesh(objects, 0, sigma=CurvatureOptions().sigma_um)
    _, gauss, area = vertex_curvature(vertices, faces)
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    characteristic = len(np.unique(faces)) - len(np.unique(edges, axis=0)) + len(faces)
    assert (gauss * area).sum() == pytest.approx(2 * np.pi * characteristic, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_a_surface_is_closed_whatever_the_field(seed):
    field = np.full((9, 10, 11), -1, np.float32)
    field[1:-1, 1:-1, 1:-1] = np.random.default_rng(seed).standard_normal((7, 8, 9))
    vertices, faces = triangulate(field, TRIANGLES)
    edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    sides, count = np.unique(edges, axis=0, return_counts=True)
    assert (count == 1).all()
    assert np.array_equal(sides, np.unique(edges[:, ::-1], axis=0))
    corners = vertices[faces]
    volume = np.linalg.det(corners).sum() / 6
    assert 0.3 * (field > 0).sum() < volume < (field > 0).sum()


def test_outline_of_disk_and_bar():
    disk = ball((41, 41), (1, 1), 18)
    row = one(disk, {}, "zernike", 0.5)
    assert row["Magnitude_0_0"] == pytest.approx(1, abs=0.02)
    others = [row[c] for c in row.index if c.startswith("Magnitude") and c != "Magnitude_0_0"]
    assert max(others) < 0.05
    assert max(row[c] for c in row.index if c.startswith("Fourier")) < 0.01
    bar = np.zeros((20, 44), int)
    bar[5:15, 2:42] = 1
    row = one(bar, {}, "zernike", 1.0)
    assert row["Fourier_-1"] > 0.3
    # A ring has the outline of the disk.
    hollow = disk & ~ball((41, 41), (1, 1), 10)
    assert one(hollow, {}, "zernike", 1.0)["Fourier_-1"] < 0.01


@pytest.mark.parametrize("count", [1, 2, 49, 50, 3001])
def test_median_is_exact(count):
    rng = np.random.default_rng(count)
    cases = [rng.standard_normal(count), rng.integers(0, 3, count).astype(float), np.ones(count)]
    cases += [10.0 ** rng.uniform(-300, 300, count), np.repeat([0.0, 1e-320], [count, 1])]
    cases += [np.concatenate([np.zeros(count), np.ones(count)])]
    for values in cases:
        assert median_of(values) == np.median(values)


@pytest.mark.parametrize("count", [0, 1, 5, 200, 3000])
@pytest.mark.parametrize("kind", ["pixels", "floats", "mixed"])
def test_order_of_values(count, kind):
    rng = np.random.default_rng(count)
    values = {
        "pixels": rng.integers(0, 300, count).astype(float),
        "floats": rng.standard_normal(count) * 10.0 ** rng.integers(-30, 30, count),
        "mixed": rng.choice([np.nan, np.inf, -np.inf, -1.5, 0.0, 2.0], count),
    }[kind]
    np.testing.assert_array_equal(argsort_floats(values), np.argsort(values, kind="stable"))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 0.5, 0.5), (0.7, 1.1, 0.3)])
@pytest.mark.parametrize("radius", [0.4, 1.0, 3.0])
def test_ball_of_granularity_holds_every_voxel_within_its_radius(spacing, radius):
    lines = physical_ball(radius, np.array(spacing), 3)
    # Lines off the middle stand for their mirror images in z, in y, or in both.
    images = 2.0 ** (lines[:, 1:] > 0).sum(axis=1)
    size = int(((2 * lines[:, 0] + 1) * images).sum())
    where = np.indices((21, 21, 41)).reshape(3, -1).T - (10, 10, 20)
    expected = np.linalg.norm(where * spacing, axis=1) <= radius * (1 + 1e-9)
    assert size == expected.sum()
