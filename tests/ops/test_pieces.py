import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolvox.ops.pieces import join_pieces
from poolvox.ops.segment import segment_nuclei
from poolvox.ops.simulate import preset, simulate_tile
from poolvox.shared.imaging.basins import find_basins
from poolvox.shared.imaging.distance import distance_to
from poolvox.shared.imaging.filters import gaussian

RADIUS = 9.0
Y, X = np.mgrid[:80, :80]


def ellipse(y, x, high=RADIUS, wide=RADIUS):
    return ((Y - y) / high) ** 2 + ((X - x) / wide) ** 2 < 1


def cut(mask, relief=None):
    depth = gaussian(distance_to(~mask), 1.0) if relief is None else relief
    pieces = find_basins(depth, mask, depth=0.0)
    return pieces, np.ascontiguousarray(depth, np.float32)


def joined(mask, relief=None, area=np.pi * RADIUS**2):
    return join_pieces(*cut(mask, relief), area)


@pytest.mark.parametrize(
    ("mask", "count"),
    [
        (ellipse(40, 40), 1),
        (ellipse(40, 40, wide=2 * RADIUS), 1),
        (ellipse(40, 40, 1.4 * RADIUS, 1.4 * RADIUS), 1),
        (ellipse(40, 33) | ellipse(40, 47), 2),
        (ellipse(40, 34) | ellipse(40, 46), 2),
        (ellipse(30, 33) | ellipse(30, 47) | ellipse(42, 40), 3),
        (np.zeros((80, 80), bool), 0),
    ],
    ids=["disk", "long", "large", "two", "close", "three", "none"],
)
def test_nuclei_are_told_apart_by_their_shape(mask, count):
    assert len(np.unique(joined(mask))) - 1 == count


def test_texture_does_not_cut_a_nucleus():
    mask = ellipse(40, 40, wide=1.4 * RADIUS)
    bumps = 1 + 0.1 * gaussian(np.random.default_rng(0).random(mask.shape, np.float32), 1.0)
    pieces, relief = cut(mask, bumps * mask)
    assert pieces.max() > 3
    assert join_pieces(pieces, relief, mask.sum()).max() == 1


@given(st.permutations(range(1, 6)))
def test_the_numbers_of_pieces_do_not_matter(order):
    mask = ellipse(20, 20) | ellipse(20, 34) | ellipse(55, 40, wide=1.6 * RADIUS)
    mask |= ellipse(55, 62, 4, 5)
    bumps = gaussian(distance_to(~mask), 1.0) * (1 + 0.05 * np.cos(X))
    pieces, relief = cut(mask, bumps)
    count = int(pieces.max())
    assert count >= 5
    names = np.arange(count + 1)
    names[1:6] = order
    one = join_pieces(pieces, relief, 250.0)
    other = join_pieces(names[pieces].astype(np.int32), relief, 250.0)
    both = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    assert both.shape[1] == len(np.unique(one)) == len(np.unique(other))


def test_few_simulated_nuclei_are_merged_or_split():
    images, truth = simulate_tile(preset("default"), np.random.default_rng(5))
    found = segment_nuclei(images[0, 0]).nuclei
    overlap = np.zeros((found.max() + 1, truth.nuclei.max() + 1), np.int64)
    np.add.at(overlap, (found.ravel(), truth.nuclei.ravel()), 1)
    held = overlap[1:, 1:]
    of_nucleus = held / np.maximum(overlap.sum(axis=0)[None, 1:], 1)
    of_found = held / np.maximum(overlap.sum(axis=1)[1:, None], 1)
    merged = np.sum((of_nucleus > 0.5).sum(axis=1) > 1)
    split = np.sum((of_found > 0.5).sum(axis=0) > 1)
    assert merged <= 3
    assert split <= 3
