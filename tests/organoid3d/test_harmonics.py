"""Harmonics of planted shapes: known power, no change by turning, honest about the rest."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from poolvox.organoid3d.harmonics import (
    HarmonicsOptions,
    cast_rays,
    fit_harmonics,
    golden_sphere,
    power_spectrum,
    rays_in_micrometres,
    real_harmonics,
)
from poolvox.shared.errors import InputError
from poolvox.shared.features import measure

AXES = np.array((10.0, 14.0, 20.0))


def ellipsoid(spacing, turn, offset=0.2):
    frame = Rotation.from_rotvec(turn).as_matrix()
    counts = [int(2 * (AXES.max() + 3) / s) for s in spacing]
    ticks = [(np.arange(n) - n / 2 + offset) * s for n, s in zip(counts, spacing)]
    places = np.stack(np.meshgrid(*ticks, indexing="ij"), -1) @ frame
    return (((places / AXES) ** 2).sum(-1) < 1).astype(np.uint16)


def analytic_power(degree=8):
    directions = golden_sphere(4000)
    radii = 1 / np.linalg.norm(directions / AXES, axis=1)
    return power_spectrum(fit_harmonics(radii[None], directions, degree=degree)[0])[0]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (5.0, 1.0, 1.0)])
@pytest.mark.parametrize("turn", [(0, 0, 0), (0.3, 0.5, 0.9), (1.2, -0.4, 0.1)])
def test_the_power_of_an_ellipsoid_is_known_however_it_is_turned(spacing, turn):
    table = measure(ellipsoid(spacing, turn), spacing=spacing, groups=["harmonics"])
    expected = analytic_power()
    tolerance = 0.05 if spacing[0] < 5 else 0.2
    found = table["Nuclei_Harmonics_Power_l2"][0]
    assert found == pytest.approx(expected[2], rel=tolerance)
    assert table["Nuclei_Harmonics_Power_l4"][0] == pytest.approx(expected[4], abs=0.0025)
    odd = table[[f"Nuclei_Harmonics_Power_l{degree}" for degree in (1, 3, 5, 7)]]
    assert odd.to_numpy().max() < 0.002


def test_harmonics_are_orthonormal():
    basis = real_harmonics(golden_sphere(20_000), 6)
    product = 4 * np.pi / 20_000 * basis.T @ basis
    assert product == pytest.approx(np.eye(49), abs=1e-3)


@pytest.mark.parametrize("count", [64, 96])
def test_a_planted_surface_comes_back_from_few_rays(count):
    rng = np.random.default_rng(2)
    planted = rng.normal(0, 0.3, (3, 25))
    planted[:, 0] = 30
    directions = golden_sphere(count)
    radii = planted @ real_harmonics(directions, 4).T
    coefficients, residual = fit_harmonics(radii, directions, degree=4)
    assert coefficients == pytest.approx(planted, abs=1e-9)
    assert residual == pytest.approx(np.zeros(3), abs=1e-9)


def test_rays_measure_micrometres_in_every_direction():
    labels = np.zeros((9, 21, 41), np.int64)
    labels[2:7, 5:16, 10:31] = 2**40
    directions = np.vstack([np.eye(3), -np.eye(3)])
    radii = cast_rays(labels, spacing=(3.0, 1.0, 0.5), directions=directions)
    assert radii.tolist() == [pytest.approx([7.5, 5.5, 5.25] * 2, abs=0.2)]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 0.5, 0.5)])
def test_the_rays_of_a_network_are_turned_into_micrometres(spacing):
    """A network's rays are steps in voxels: longer along coarse axes, and bent towards them."""
    rng = np.random.default_rng(4)
    vertices = rng.normal(size=(96, 3))
    vertices /= np.linalg.norm(vertices, axis=1)[:, None]
    ends = vertices * spacing
    exact = 1 / np.linalg.norm(ends / np.linalg.norm(ends, axis=1)[:, None] / AXES, axis=1)
    predicted = (exact / np.linalg.norm(ends, axis=1))[None].astype(np.float32)
    radii, directions = rays_in_micrometres(predicted, vertices, spacing=spacing)
    assert radii[0] == pytest.approx(exact, rel=1e-6)
    found = power_spectrum(fit_harmonics(radii, directions, degree=6)[0])[0]
    assert found[[2, 4]] == pytest.approx(analytic_power()[[2, 4]], rel=0.05, abs=1e-3)


def test_a_ray_ends_at_the_neighbour_and_at_the_border():
    labels = np.ones((5, 5, 10), np.uint8)
    labels[:, :, 5:] = 2
    radii = cast_rays(labels, spacing=1, directions=np.array([[0, 0, 1.0], [0, 0, -1.0]]))
    assert radii == pytest.approx(np.array([[2.5, 2.5], [2.5, 2.5]]), abs=0.2)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 6), (1, 6, 6)])
def test_small_and_flat_objects_have_numbers(shape):
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[tuple(slice(1, 1 + n) for n in shape)] = 1
    table = measure(labels, spacing=(2, 1, 1), groups=["harmonics"])
    assert np.isfinite(table.to_numpy()).all()


def test_a_shell_is_not_seen_from_its_centre():
    labels = ellipsoid((1, 1, 1), (0, 0, 0)).astype(int)
    labels[15:31, 15:31, 15:31] = 0
    table = measure(labels, spacing=1, groups=["harmonics"])
    assert table["Nuclei_Harmonics_MeanRadius_um"][0] == 0
    assert np.isnan(table["Nuclei_Harmonics_Power_l2"][0])


def test_coefficients_come_on_request():
    options = [HarmonicsOptions(degree=2, rays=64, coefficients=True)]
    labels = ellipsoid((2, 1, 1), (0, 0, 0))
    table = measure(labels, spacing=(2, 1, 1), groups=["harmonics"], options=options)
    assert "Nuclei_Harmonics_Coefficient_um_l2m-2" in table
    size = table["Nuclei_Harmonics_Coefficient_um_l0m0"][0] / np.sqrt(4 * np.pi)
    assert size == pytest.approx(table["Nuclei_Harmonics_MeanRadius_um"][0], rel=0.01)


def test_too_few_rays_are_refused():
    with pytest.raises(InputError, match="at least 81 rays"):
        fit_harmonics(np.ones((1, 64)), golden_sphere(64), degree=8)
    with pytest.raises(InputError, match="at least 162 rays"):
        HarmonicsOptions(degree=8, rays=100)
