import io
import struct

import numpy as np
import pytest
from PIL import Image

from poolvox.shared.report.figures import (
    _OUTLINES,
    CurveStyle,
    _binned,
    _contrast,
    _draw_scale,
    _edges,
    _outlines,
    show_curves,
    show_histogram,
    show_image,
    show_montage,
    show_points,
)
from poolvox.shared.report.plates import _plate_of, _row_and_column, _row_name, show_plate
from poolvox.shared.report.style import drawing

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(100, 10, (60, 80))
LABELS = np.zeros((60, 80), np.int64)
LABELS[10:20, 10:30] = 1
LABELS[10:20, 30:50] = 2**53 + 1


DRAWINGS = {
    "image": lambda: show_image(IMAGE, "c", labels=LABELS, spacing=(0.5, 0.5)),
    "stretched": lambda: show_image(IMAGE, "c", spacing=(2.0, 0.5)),
    "flat": lambda: show_image(np.zeros((5, 5)), "c"),
    "nan": lambda: show_image(np.full((5, 5), np.nan), "c"),
    "bool": lambda: show_image(LABELS > 0, "c"),
    "one pixel": lambda: show_image(np.ones((1, 1)), "c"),
    "large": lambda: show_image(np.tile(IMAGE, (20, 30)), "c", labels=np.tile(LABELS, (20, 30))),
    "montage": lambda: show_montage(
        [IMAGE] * 5, "c", titles=["a", "b"], labels=[LABELS] + [None] * 4
    ),
    "layers": lambda: show_montage(
        [IMAGE] * 2, "c", labels=[[LABELS, LABELS > 0], None], spacing=[(0.5, 0.5), (0.4, 0.5)]
    ),
    "histogram": lambda: show_histogram(RNG.normal(size=500), "c", label="x", marks={"cut": 0.5}),
    "sets": lambda: show_histogram({"a": [1, 2], "b": [np.nan, 3]}, "c", label="x", unit="µm"),
    "no values": lambda: show_histogram([np.nan], "c", label="x", log=True),
    "curves": lambda: show_curves({"a": ([1, 2], [3, 4])}, "c", x="cycle", y="intensity"),
    "styled curves": lambda: show_curves(
        {"A": ([0.1, 1, 10], [0.3, 0.4, 0.5]), "b": ([0.1, 10], [0.2, 0.1])},
        "c",
        x="rate",
        y="share",
        style=CurveStyle({"A": "#009E73"}, from_zero=True, log_x=True, marks={"chosen": 1}),
    ),
    "points": lambda: show_points({"a": (IMAGE, IMAGE)}, "c", x="x", y="y", equal=True),
    "plate": lambda: show_plate({"A1": 1, "H12": np.nan, "B02": 3}, "c", label="cells"),
    "plate of shares": lambda: show_plate(
        {"A1": 0.5, "B2": 0.51}, "c", label="called", limits=(0.0, 1.0)
    ),
    "large plate": lambda: show_plate({"AF48": 1, "A1": 2}, "c", label="cells"),
    "empty plate": lambda: show_plate({}, "c", label="cells"),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_is_a_png_of_the_same_bytes_each_time(name):
    first = DRAWINGS[name]()
    width, height = struct.unpack(">II", first.png[16:24])
    assert first.caption == "c"
    assert 100 < width < 3000
    assert 100 < height < 3000
    state = RNG.bit_generator.state
    if name != "histogram":  # draws new numbers
        assert DRAWINGS[name]().png == first.png
    RNG.bit_generator.state = state


def test_pyplot_and_its_settings_stay_untouched():
    import matplotlib

    matplotlib.rcParams["font.size"] = 17.0
    try:
        with_style = show_curves({"a": ([1], [2])}, "c", x="x", y="y")
        assert matplotlib.rcParams["font.size"] == 17.0
    finally:
        matplotlib.rcdefaults()
    assert show_curves({"a": ([1], [2])}, "c", x="x", y="y").png == with_style.png


def test_the_text_of_a_scale_bar_stays_within_its_picture():
    with drawing(width=1.6, height=1.6) as (fig, axes):
        ax = axes[0, 0]
        ax.imshow(np.zeros((256, 256)))
        _draw_scale(ax, (256, 256), 1.3)
        fig.canvas.draw()
        (text,) = ax.texts
        assert text.get_window_extent().x1 <= ax.get_window_extent().x1


def test_outlines_lie_inside_objects_and_part_neighbours():
    edge = _outlines(LABELS)
    assert edge[10, 10:50].all()
    assert edge[15, [10, 29, 30, 49]].all()
    assert edge.sum() == 2 * (20 * 10 - 18 * 8)
    assert not edge[LABELS == 0].any()


def test_of_several_labels_each_has_its_colour_and_the_first_lies_on_top():
    inner, outer = np.zeros((2, 60, 80), int)
    outer[10:40, 10:60] = 1
    inner[10:40, 10:30] = 1
    image = np.zeros((60, 80))
    shown = {
        order: np.asarray(Image.open(io.BytesIO(show_image(image, "c", labels=layers).png)))
        for order, layers in (("both", [inner, outer]), ("turned", [outer, inner]))
    }
    parts = {
        order: [(np.abs(picture[..., :3].astype(int) - color).max(axis=-1) < 40).mean()
                for color in _OUTLINES]
        for order, picture in shown.items()
    }  # fmt: skip
    assert parts["both"][0] > 0 < parts["both"][1]
    # The longer outline hides less of the shorter one than it would have to share.
    assert parts["turned"][0] > parts["both"][1]
    assert parts["both"][2] == parts["turned"][2] == 0


def test_the_text_of_a_scale_bar_ends_inside_the_picture():
    with drawing(width=1.2, height=1.2) as (fig, axes):
        ax = axes[0, 0]
        ax.imshow(np.zeros((100, 100)))
        _draw_scale(ax, (100, 100), 0.5)
        fig.canvas.draw()
        assert ax.texts[0].get_window_extent().width > 0.2 * ax.bbox.width
        assert ax.texts[0].get_window_extent().x1 <= ax.bbox.x1


def test_contrast_is_black_and_white_at_its_percentiles():
    grey = _contrast(np.r_[np.linspace(0, 1, 1000), np.nan, np.inf].reshape(2, -1))
    assert grey.min() == 0
    assert grey.max() == 255
    assert grey.flat[500] == pytest.approx(128, abs=2)


def test_large_images_are_averaged():
    assert _binned(np.arange(16.0).reshape(4, 4), 2).tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert _binned(np.ones((5, 7)), 2).shape == (2, 3)


@pytest.mark.parametrize(
    ("well", "place"), [("A1", (0, 0)), ("h012", (7, 11)), ("Z1", (25, 0)), ("AF48", (31, 47))]
)
def test_wells_have_places(well, place):
    assert _row_and_column(well) == place
    assert _row_name(place[0]) == well.rstrip("0123456789").upper()


def test_plates_are_those_that_are_sold():
    assert _plate_of([(1, 2)]) == (2, 3)
    assert _plate_of([(7, 0)]) == (8, 12)
    assert _plate_of([(40, 0)]) == (41, 1)


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda: show_image(np.zeros((2, 3, 4)), "c"), "take a plane or project"),
        (lambda: show_image(IMAGE, "c", labels=LABELS[1:]), "do not fit"),
        (lambda: show_plate({"nowhere": 1}, "c", label="x"), "not the name of a well"),
        (lambda: show_montage([], "c"), "at least one"),
    ],
)
def test_what_cannot_be_drawn_says_why(draw, said):
    with pytest.raises(ValueError, match=said):
        draw()


@pytest.mark.parametrize(
    ("values", "most", "expected"),
    [
        ([], 60, np.linspace(0, 1, 11)),
        ([1, 3, 3], 60, [0.5, 1.5, 2.5, 3.5]),
        ([5], 60, [4.5, 5.5]),
        ([0, 99], 50, np.arange(-0.5, 100, 2)),
        ([0.0, 0.5, 1.0], 20, np.linspace(0, 1, 11)),
        ([0.0, *[0.5] * 2000, 1.0], 20, np.linspace(0, 1, 21)),
    ],
)
def test_bins_follow_the_number_of_values_and_whole_numbers(values, most, expected):
    edges = _edges(np.asarray(values, dtype=float), most)
    np.testing.assert_allclose(edges, expected)
    assert np.histogram(values, edges)[0].sum() == len(values)
