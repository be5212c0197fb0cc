import numpy as np
import pytest

from poolvox.organoid3d import learned
from poolvox.organoid3d.nuclei import find_nuclei
from poolvox.organoid3d.rays import make_geometry
from poolvox.organoid3d.simulate import FieldSpec, OrganoidSpec, simulate_field
from poolvox.organoid3d.sizing import is_off, lateral_widths
from poolvox.organoid3d.stars import Stars
from poolvox.shared.evaluate import evaluate_labels

pytestmark = [
    pytest.mark.xdist_group("tensorflow"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


@pytest.mark.parametrize(("height", "width"), [(7.0, 14.0), (14.0, 14.0), (20.0, 8.0)])
def test_widths_are_those_of_the_plane(height, width):
    from stardist import Rays_GoldenSpiral

    rays = Rays_GoldenSpiral(96, anisotropy=(2.0, 1.0, 1.0))
    geometry = make_geometry(rays.vertices, rays.faces)
    radii = np.array([height, width, width]) / 2
    lengths = 1 / np.linalg.norm(geometry.vertices / radii, axis=1)
    stars = Stars(np.zeros((1, 3), "f4"), np.ones(1, "f4"), lengths[None].astype("f4"))
    assert lateral_widths(stars, geometry) == pytest.approx([width], rel=0.06)


@pytest.mark.parametrize("wrong", [0.6, 1.0, 1.7])
def test_the_network_puts_a_bad_guess_of_the_size_right(monkeypatch, wrong):
    spec = FieldSpec((OrganoidSpec("solid", 25, 10.0),), (1.6, 0.8, 0.8))
    field = simulate_field(spec, np.random.default_rng(4))
    monkeypatch.setattr(learned, "_estimate", lambda *_: 10.0 * wrong)
    found = find_nuclei(field.image[0], spacing=field.spacing, model="default")
    size = 14 * field.spacing[1] / found.scale[1]
    assert size == pytest.approx(10, rel=0.25)
    assert evaluate_labels(field.nuclei, found.labels).main.f1 > 0.9
    assert wrong < 1 or not any("settle" in note for note in found.notes)


def test_a_factor_and_its_inverse_are_off_alike():
    assert [is_off(factor) for factor in (0.5, 0.8, 0.9, 1.0, 1.1, 1.25, 2.0)] == [
        *(True, True, False, False, False, True, True)
    ]
