from dataclasses import replace

import numpy as np
import pytest

from poolvox.ops.qc import inspect_tile
from poolvox.ops.simulate import Guides, Layout, preset, simulate_tile

BASES = [1, 2, 3, 4]


@pytest.fixture(scope="module")
def params():
    layout = Layout(shape=(400, 400), cells=300)
    return replace(preset("default"), cycles=6, layout=layout, guides=Guides(30, 2, 5))


def test_a_good_tile_has_no_flags(params):
    images, _ = simulate_tile(params, np.random.default_rng(0))
    table = inspect_tile(images, bases=BASES, nuclear=0)
    assert (table["reason"] == "").all(), table.to_string()
    assert table["cycle"].tolist() == [1, 2, 3, 4, 5, 6]


def test_blank_and_blurred_cycles_are_named(params):
    images, _ = simulate_tile(params, np.random.default_rng(1), blank=(2,), blurred=(5,))
    table = inspect_tile(images, bases=BASES, nuclear=0).set_index("cycle")
    assert table["blank"].tolist() == [False, True, False, False, False, False]
    assert "out of focus" in table["reason"][5]
    assert (table["reason"][[1, 3, 4, 6]] == "").all()


@pytest.mark.parametrize("full", [255, 4095, 65535])
def test_saturation_is_seen_at_the_end_of_the_scale(params, full):
    images, _ = simulate_tile(params, np.random.default_rng(2))
    images = np.minimum(images // (16 if full == 255 else 1), full)
    images[3, 2, :40] = full
    table = inspect_tile(images, bases=BASES, nuclear=0)
    assert "saturated" in table["reason"][3]
    assert (table["saturated"].drop(3) < 1e-3).all()
