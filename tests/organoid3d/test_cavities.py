import numpy as np
import pytest
from scipy import ndimage

from poolvox.organoid3d.cavities import closed_off, filled_bodies, wider_than_gaps

SPACING = (1.0, 1.0, 1.0)


def ball(*center, radius, shape=(30, 50, 60)):
    grid = np.indices(shape) - np.reshape(center, (3, 1, 1, 1))
    return np.linalg.norm(grid, axis=0) < radius


def shell(inside, *, thick=1.5):
    away = ndimage.distance_transform_edt(~inside)
    return (away > 0) & (away <= thick)


@pytest.mark.parametrize(("gap", "closed"), [(0, True), (2, True), (8, False)])
def test_membranes_with_small_gaps_close_a_cavity_off(gap, closed):
    tissue = ball(15, 25, 30, radius=24)
    cavity, nucleus = ball(15, 25, 22, radius=6), ball(15, 25, 38, radius=4)
    membranes = shell(cavity) & ~ball(15, 25, 29, radius=gap)
    membranes |= tissue & ~ndimage.binary_erosion(tissue, iterations=2)
    stain = ndimage.gaussian_filter(membranes.astype(np.float32), 1)
    found = closed_off(cavity, stain, nucleus, tissue, spacing=SPACING, opening=3.0)
    assert not (found & ~cavity).any()
    part = np.count_nonzero(found) / np.count_nonzero(cavity)
    assert part > 0.9 if closed else part == 0


def test_bodies_thicker_than_membranes_are_filled_cavities():
    tissue, body = ball(15, 25, 30, radius=24), ball(15, 25, 30, radius=8)
    membranes = tissue & (np.indices(tissue.shape)[2] % 12 < 2)
    stain = np.where(body, 1.1, membranes).astype(np.float32)
    nuclei = np.zeros_like(tissue)
    found = filled_bodies(stain, nuclei, tissue, spacing=SPACING, opening=3.0)
    assert not (found & ~body).any()
    assert np.count_nonzero(found) == pytest.approx(4 / 3 * np.pi * 7**3, rel=0.15)
    none = filled_bodies(membranes * 1.0, nuclei, tissue, spacing=SPACING, opening=3.0)
    assert not none.any()


@pytest.mark.parametrize(("usual", "count"), [(3.0, 1), (5.0, 0)])
def test_a_lumen_is_wider_than_the_gaps_of_its_organoid(usual, count):
    width, organoids = np.zeros((30, 50, 120), np.float32), np.zeros((30, 50, 120), int)
    organoids[:, :, :60], organoids[:, :, 60:] = 1, 2
    cavities = np.zeros(width.shape, bool)
    gaps = [(15, y, x, usual) for y in (10, 40) for x in (6, 20, 34, 48)]
    # Those of the other organoid are wider and of no concern.
    others = [(15, y, x, 9.0) for y in (10, 40) for x in (66, 80, 94, 108)]
    for z, y, x, radius in [*gaps, *others, (15, 25, 28, 6.0)]:
        away = ndimage.distance_transform_edt(~ball(z, y, x, radius=1, shape=width.shape))
        width = np.maximum(width, radius - away).astype(np.float32)
        cavities |= away < radius - 3.5
    found = wider_than_gaps(cavities, width, organoids, spacing=SPACING, least=4.0, certain=20.0)
    assert ndimage.label(found)[1] == count
