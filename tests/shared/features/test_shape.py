import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import ConvexHull
from skimage import measure as skimage_measure

from poolvox.shared.features import measure

ANISOTROPY = [1, 2, 5]


def shape_of(labels, spacing):
    table = measure(labels, spacing=spacing, groups=["shape"], compartment="N")
    return table.rename(columns=lambda name: name.removeprefix("N_Shape_"))


def blobs(shape, seed, level=0.05):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.7)
    return ndimage.label(noise > level, ndimage.generate_binary_structure(len(shape), len(shape)))[
        0
    ]


def mean_over_offsets(inside, reach, spacing, solid, repeats=6, columns=None):
    rng = np.random.default_rng(3)
    rows = [shape_of(solid(inside, reach, spacing, rng), spacing).iloc[0] for _ in range(repeats)]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0].index}


@pytest.mark.parametrize("a", ANISOTROPY)
@pytest.mark.parametrize("radius", [8, 12])
def test_ball(a, radius, solid):
    found = mean_over_offsets(
        lambda p: (p**2).sum(-1) <= radius**2, radius, (a, 1, 1), solid, repeats=12
    )
    assert found["Volume_um3"] == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.01)
    assert found["Surface_um2"] == pytest.approx(4 * np.pi * radius**2, rel=0.02)
    assert found["Sphericity"] == pytest.approx(1, abs=0.03)
    # The voxel's own extent, which is part of the definition, lengthens an axis of few planes.
    longest = np.sqrt(4 * radius**2 + 20 * a**2 / 12)
    assert 2 * radius * 0.98 < found["MinorAxis_um"]
    assert found["MajorAxis_um"] < longest * 1.03
    assert found["EulerNumber"] == found["Components"] == 1
    assert found["FeretMin_um"] == pytest.approx(2 * radius, abs=a + 0.5)
    assert found["MaxRadius_um"] == pytest.approx(radius, abs=0.6 * a)


@pytest.mark.parametrize("a", ANISOTROPY)
def test_ellipsoid_at_any_angle(a, solid):
    axes = np.array([10.0, 14.0, 20.0])
    found = mean_over_offsets(lambda p: ((p / axes) ** 2).sum(-1) <= 1, 20, (a, 1, 1), solid)
    p = 1.6075
    pairs = [axes[0] * axes[1], axes[0] * axes[2], axes[1] * axes[2]]
    area = 4 * np.pi * np.mean(np.array(pairs) ** p) ** (1 / p)
    assert found["Volume_um3"] == pytest.approx(4 / 3 * np.pi * axes.prod(), rel=0.01)
    assert found["Surface_um2"] == pytest.approx(area, rel=0.02)
    lengths = [found[f"{name}Axis_um"] for name in ("Major", "Middle", "Minor")]
    np.testing.assert_allclose(lengths, [40, 28, 20], rtol=0.01 if a < 5 else 0.03)
    assert found["FeretMax_um"] == pytest.approx(40, abs=a + 1)
    strain = np.log(np.array([40, 28, 20])) - np.log([40, 28, 20]).mean()
    np.testing.assert_allclose([found[f"Strain_{i}"] for i in (1, 2, 3)], strain, atol=0.03)


@pytest.mark.parametrize("a", ANISOTROPY)
def test_ring_and_hollow_ball(a, solid):
    def ring(p):
        return (np.hypot(p[..., 1], p[..., 2]) - 14) ** 2 + p[..., 0] ** 2 <= 36

    found = mean_over_offsets(ring, 20, (a, 1, 1), solid)
    assert found["EulerNumber"] == 0
    assert found["Volume_um3"] == pytest.approx(2 * np.pi**2 * 14 * 36, rel=0.01)
    assert found["Surface_um2"] == pytest.approx(4 * np.pi**2 * 14 * 6, rel=0.02)

    def hollow(p):
        square = (p**2).sum(-1)
        return (square <= 18**2) & (square >= 10**2)

    found = mean_over_offsets(hollow, 18, (a, 1, 1), solid)
    assert found["EulerNumber"] == 2
    assert found["HoleVolume_um3"] == pytest.approx(4 / 3 * np.pi * 1000, rel=0.02)


def test_box_is_exact():
    labels = np.zeros((6, 12, 20), int)
    labels[1:4, 2:9, 3:18] = 1
    found = shape_of(labels, (2, 1, 0.5)).iloc[0]
    sides = np.array([3 * 2, 7 * 1, 15 * 0.5])
    assert found["Volume_um3"] == pytest.approx(sides.prod())
    assert found["Extent"] == found["Solidity"] == pytest.approx(1)
    assert found["FeretMin_um"] == pytest.approx(6)
    assert found["FeretMax_um"] == pytest.approx(np.linalg.norm(sides))
    # With the voxel's own extent the second moments are those of the continuous box.
    axes = np.sqrt(20 / 12) * np.sort(sides)[::-1]
    names = ("MajorAxis_um", "MiddleAxis_um", "MinorAxis_um")
    np.testing.assert_allclose([found[name] for name in names], axes)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 0.5, 0.7)])
def test_hull_and_topology_against_qhull_and_scipy(spacing):
    labels = blobs((16, 34, 34), 5)
    table = shape_of(labels, spacing)
    corners = np.array(list(np.ndindex(2, 2, 2)))
    for row in table.itertuples():
        mask = labels == row.Metadata_Label
        points = (np.argwhere(mask)[:, None] + corners).reshape(-1, 3) * spacing
        hull = ConvexHull(points)
        tips = points[hull.vertices]
        assert row.HullVolume_um3 == pytest.approx(hull.volume)
        assert row.FeretMax_um == pytest.approx(np.linalg.norm(tips[:, None] - tips, axis=2).max())
        widths = [-(tips @ plane[:3] + plane[3]).min() for plane in hull.equations]
        assert row.FeretMin_um == pytest.approx(min(widths))
        assert row.EulerNumber == skimage_measure.euler_number(np.pad(mask, 1), 3)
        filled = ndimage.binary_fill_holes(mask).sum() - mask.sum()
        assert row.HoleVolume_um3 == pytest.approx(filled * np.prod(spacing))
        parts = ndimage.label(mask, np.ones((3, 3, 3)))[1]
        assert row.Components == parts
        distance = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing)
        assert row.MaxRadius_um == pytest.approx(distance.max(), rel=1e-12)
        assert row.MeanRadius_um == pytest.approx(distance[distance > 0].mean(), rel=1e-12)


def test_equal_to_regionprops_where_definitions_agree():
    labels = blobs((80, 80), 6)
    table = shape_of(labels, 1.0)
    for row, region in zip(table.itertuples(), skimage_measure.regionprops(labels)):
        mask = np.pad(labels == region.label, 1)
        assert row.Area_um2 == region.area
        assert row.Perimeter_um == pytest.approx(skimage_measure.perimeter_crofton(mask, 4))
        assert row.Extent == pytest.approx(region.extent)
        assert row.EulerNumber == region.euler_number
        # regionprops takes pixels for points; theirs are 16 / 12 smaller in the square.
        assert row.MajorAxis_um**2 == pytest.approx(region.axis_major_length**2 + 16 / 12)
        assert row.MinorAxis_um**2 == pytest.approx(region.axis_minor_length**2 + 16 / 12)
        if row.Eccentricity > 0.1:
            turn = np.radians(row.Orientation_degree) + region.orientation - np.pi / 2
            assert np.sin(turn) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("shape", "spacing"), [((14, 30, 30), (2, 1, 1)), ((60, 60), (1, 2))])
def test_scaling_laws(shape, spacing):
    labels, factor = blobs(shape, 7), 1.7
    small, large = shape_of(labels, spacing), shape_of(labels, np.array(spacing) * factor)
    powers = {"_um": 1, "_um2": 2, "_um3": 3}
    for name in small.columns:
        if not name.startswith("Metadata"):
            power = next((p for end, p in powers.items() if name.endswith(end)), 0)
            np.testing.assert_allclose(large[name], small[name] * factor**power, atol=1e-9)


@pytest.mark.parametrize(
    "extent", [(1, 1, 1), (1, 1, 7), (7, 1, 1), (1, 5, 6), (5, 6, 1), (1, 1), (1, 7), (7, 1)]
)
@pytest.mark.parametrize("border", [False, True])
def test_points_lines_and_planes_are_measured(extent, border):
    labels = np.zeros(np.array(extent) + (0 if border else 4), np.uint16)
    start = 0 if border else 2
    labels[tuple(slice(start, start + n) for n in extent)] = 9
    row = shape_of(labels, (2.0, 1.0, 0.5)[-len(extent) :]).iloc[0]
    lengths = row.drop([name for name in row.index if "Orientation" in name])
    assert np.isfinite(lengths.to_numpy()).all()
    assert row["Solidity"] == pytest.approx(1)
    assert row["MinorAxis_um"] > 0


def test_orientation_of_a_tilted_rod():
    z, y, x = np.indices((21, 41, 41)) - np.array([10, 20, 20])[:, None, None, None]
    along = (2 * z + 2 * y + x) / 3
    square = z**2 + y**2 + x**2
    row = shape_of(((square - along**2 < 9) & (np.abs(along) < 9)).astype(int), 1.0).iloc[0]
    assert row["OrientationPolar_degree"] == pytest.approx(np.degrees(np.arccos(2 / 3)), abs=1)
    assert row["OrientationAzimuth_degree"] == pytest.approx(np.degrees(np.arctan2(2, 1)), abs=1)


def test_a_ball_has_no_orientation():
    row = shape_of(np.pad(np.ones((3, 3, 3), int), 1), 1.0).iloc[0]
    assert np.isnan(row["OrientationPolar_degree"])
    assert np.isnan(row["OrientationAzimuth_degree"])
