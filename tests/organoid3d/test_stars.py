import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull

from poolvox.organoid3d.rays import make_geometry
from poolvox.organoid3d.stars import Stars, measure_stars, overlap_part, paint_stars
from poolvox.organoid3d.suppress import DROPPED, KEPT, OPEN, Judge, judge_all, judge_thinned

AXES = np.vstack([np.eye(3), -np.eye(3)])


def octahedron():
    return make_geometry(AXES, ConvexHull(AXES).simplices)


def sphere(rays=48):
    z = np.linspace(-1, 1, rays)
    turn = np.pi * (3 - np.sqrt(5)) * np.arange(rays)
    flat = np.sqrt(1 - z**2)
    vertices = np.stack([z, flat * np.sin(turn), flat * np.cos(turn)], axis=1)
    return make_geometry(vertices, ConvexHull(vertices).simplices)


def stars_at(points, dist, prob=None):
    points, dist = np.asarray(points, np.float32), np.asarray(dist, np.float32)
    prob = np.linspace(0.9, 0.6, len(points)) if prob is None else prob
    return Stars(points, np.asarray(prob, np.float32), dist)


def crowd(seed, count=60, size=30, rays=48):
    rng = np.random.default_rng(seed)
    dist = rng.uniform(3, 6, (count, 1)) * rng.uniform(0.7, 1.3, (count, rays))
    points = rng.integers(0, size, (count, 3))
    # Rounded, so that some are equally probable.
    return stars_at(points, dist, rng.uniform(0.5, 1, count).round(2)).ordered()


@pytest.mark.parametrize("scale", [(1, 1, 1), (0.5, 1, 1), (2, 1, 0.5)])
def test_an_octahedron_is_drawn_where_it_lies(scale):
    center, radius = np.array([6.0, 9.0, 8.0]), 4.5
    shape = tuple((np.array([14, 20, 18]) / scale).astype(int))
    labels = np.zeros(shape, np.uint32)
    paint_stars(
        labels, (0, 0, 0), stars_at([center], [[radius] * 6]), np.array([7]), octahedron(),
        scale=scale,
    )  # fmt: skip
    grid = np.indices(shape).astype(float).T.reshape(-1, 3)
    away = np.abs((grid + 0.5) * scale - 0.5 - center).sum(axis=1).reshape(shape[::-1]).T
    assert (labels == 7 * (away <= radius)).all()


def test_unequal_rays_give_the_right_volume_and_box():
    stars = stars_at([[0, 0, 0]], [[1, 2, 3, 4, 5, 6]])
    sizes = measure_stars(stars, octahedron())
    # Eight tetrahedra with three rays at right angles.
    assert sizes.volume[0] == pytest.approx((1 + 4) * (2 + 5) * (3 + 6) / 6)
    assert sizes.box[0].tolist() == [-4, -5, -6, 1, 2, 3]


def test_drawing_in_parts_is_drawing_at_once_and_the_first_is_in_front():
    stars, names, geometry = crowd(0), np.arange(1, 61), sphere()
    whole = np.zeros((30, 30, 30), np.uint32)
    paint_stars(whole, (0, 0, 0), stars, names, geometry)
    parts = np.zeros_like(whole)
    for z, z_end in ((0, 13), (13, 30)):
        for x, x_end in ((0, 7), (7, 20), (20, 30)):
            part = parts[z:z_end, :, x:x_end]
            paint_stars(part, (z, 0, x), stars, names, geometry)
    assert (parts == whole).all()
    front = np.zeros_like(whole)
    paint_stars(front, (0, 0, 0), stars.take([0]), names[:1], geometry)
    assert (whole[front == 1] == 1).all()


def test_common_parts_of_balls():
    dist = [[6.0] * 200, [6.0] * 200, [2.0] * 200, [6.0] * 200]
    stars = stars_at([[0, 0, 0], [0, 0, 6], [0, 2, 0], [0, 12.1, 0]], dist)
    geometry = sphere(200)
    part = overlap_part(0, np.array([1, 2, 3]), stars, measure_stars(stars, geometry), geometry)
    # Two balls one radius apart share 5/16; the small one lies inside; the last is apart.
    assert part == pytest.approx([5 / 16, 1, 0], abs=0.02)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6))
def test_thinning_gives_the_same_objects(seed):
    judge = Judge(crowd(seed), sphere(), 0.3)
    peaks = np.random.default_rng(seed).uniform(size=60) < 0.3
    assert (judge_thinned(judge, peaks) == judge_all(judge)).all()


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.integers(5, 40), st.integers(0, 12))
def test_objects_judged_in_two_halves_are_those_judged_at_once(seed, border, margin):
    stars, geometry = crowd(seed, 90, 45), sphere()
    whole = judge_all(Judge(stars, geometry, 0.3)) == KEPT
    left = []
    for side in (-1, 1):
        ahead = side * (stars.points[:, 2] - border)
        there = np.flatnonzero(ahead >= -margin)
        judge = Judge(stars.take(there), geometry, 0.3)
        reach = judge.sizes.radius + judge.sizes.radius.max()
        # Wider than any object of the other side could reach.
        seen = ahead[there] + margin - reach > 8
        states = judge_all(judge, seen=seen)
        mine = ahead[there] >= (0 if side > 0 else 0.5)
        left.append(stars.take(there[(states != DROPPED) & mine]))
        assert (states[~seen] != KEPT).all()
    merged = Stars.joined(left).ordered()
    kept = merged.take(judge_all(Judge(merged, geometry, 0.3)) == KEPT)
    assert {tuple(p) for p in kept.points} == {tuple(p) for p in stars.points[whole]}


def test_what_hangs_on_the_unseen_stays_open():
    stars = stars_at([[0, 0, 0], [0, 0, 2], [0, 0, 20]], [[5.0] * 48] * 3)
    judge = Judge(stars, sphere(), 0.3)
    assert judge_all(judge, seen=np.array([False, True, True])).tolist() == [OPEN, OPEN, KEPT]
    assert judge_all(judge, seen=np.array([True, False, True])).tolist() == [KEPT, DROPPED, KEPT]
