"""The pictures that reports are made of: data in, a `Figure` with its caption out.

For anything else use `drawing` and `to_picture` of `poolvox.shared.report.style`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from poolvox.shared.report.section import Figure
from poolvox.shared.report.style import PALETTE, drawing, to_picture, with_unit

__all__ = [
    "CurveStyle",
    "show_curves",
    "show_histogram",
    "show_image",
    "show_montage",
    "show_points",
]

# Pixels that a picture shows along its longer side; more would only make the report heavy.
_MAX_SIDE = 1000
# Pixels along a side up to which an outline of one pixel can be seen.
_THIN_SIDE = 400
_LOW, _HIGH = 1.0, 99.8  # percentiles that become black and white
# Orange, sky blue and green of the palette: visible on black, grey and white.
_OUTLINES = ((230, 159, 0), (86, 180, 233), (0, 158, 115))
_MAX_POINTS = 20_000

# Labels of one kind, or of up to three whose outlines are drawn over each other.
Layers = NDArray[Any] | Sequence[NDArray[Any]]


@dataclass(frozen=True, slots=True)
class CurveStyle:
    """How curves are drawn.

    Parameters
    ----------
    colors : by the name of the curve; others take the palette in turn
    from_zero : the axis of values begins at 0, as that of a share should
    log_x : the other axis is logarithmic
    marks : named values along x to mark by a line
    """

    colors: Mapping[str, str] = field(default_factory=dict)
    from_zero: bool = False
    log_x: bool = False
    marks: Mapping[str, float] = field(default_factory=dict)


def show_image(
    image: NDArray[Any],
    caption: str,
    *,
    labels: Layers | None = None,
    spacing: tuple[float, float] | None = None,
) -> Figure:
    """Show an image, with outlines of labels and a scale bar where they are given.

    Parameters
    ----------
    image : (Y, X) intensities, shown between their 1st and 99.8th percentile
    labels : (Y, X) integers, 0 for background; of several the outlines are orange,
        blue and green, the first on top
    spacing : micrometres per pixel along y and x
    """
    return show_montage(
        [image], caption, labels=None if labels is None else [labels], spacing=spacing
    )


def show_montage(
    images: Sequence[NDArray[Any]],
    caption: str,
    *,
    titles: Sequence[str] = (),
    labels: Sequence[Layers | None] | None = None,
    spacing: tuple[float, float] | Sequence[tuple[float, float]] | None = None,
    columns: int | None = None,
) -> Figure:
    """Show (Y, X) images side by side, each with its own contrast; see `show_image`.

    Parameters
    ----------
    spacing : of the first image, or one of each; the scale bar is on the first
    """
    if not images:
        raise ValueError("a montage needs at least one image")
    for image in images:
        if image.ndim != 2:
            shape = f"got shape {image.shape}"
            raise ValueError(f"a picture is (Y, X), {shape}: take a plane or project")
    across = min(columns or min(4, len(images)), len(images))
    rows = math.ceil(len(images) / across)
    side = (6.4 if across == 1 else 8.0) / across
    height, width = images[0].shape
    tall = side * min(max(height / width, 0.3), 1.5) + (0.25 if titles else 0.0)
    steps = _spacings(spacing, len(images))
    with drawing(width=side * across, height=tall * rows, rows=rows, columns=across) as (fig, axes):
        for place, ax in enumerate(axes.flat):
            ax.set_axis_off()
            if place >= len(images):
                continue
            outlines = labels[place] if labels is not None else None
            _draw_image(ax, images[place], outlines, steps[place], bar=place == 0)
            ax.set_title(titles[place] if place < len(titles) else "")
        return to_picture(fig, caption)


def show_histogram(
    values: ArrayLike | Mapping[str, ArrayLike],
    caption: str,
    *,
    label: str,
    unit: str = "",
    bins: int = 60,
    log: bool = False,
    marks: Mapping[str, float] | None = None,
) -> Figure:
    """Show how values are distributed; several sets are drawn as outlines over the same bins.

    Parameters
    ----------
    values : numbers, or names of sets and their numbers; NaN and infinities are left out
    bins : at most so many; few values get fewer
    log : count on a logarithmic axis
    marks : named values to mark by a line, e.g. a threshold
    """
    sets = values if isinstance(values, Mapping) else {"": values}
    finite = {name: _finite(numbers) for name, numbers in sets.items()}
    pooled = np.concatenate(list(finite.values())) if finite else np.empty(0)
    edges = _edges(pooled, bins)
    with drawing() as (fig, axes):
        ax = axes[0, 0]
        for name, numbers in finite.items():
            style = "stepfilled" if len(finite) == 1 else "step"
            ax.hist(numbers, edges, histtype=style, label=name or None, linewidth=1.5)
        for color, (name, value) in zip(PALETTE[5::-1], (marks or {}).items()):
            ax.axvline(value, color=color, linestyle="--", label=f"{name}: {value:.4g}")
        ax.set_xlabel(with_unit(label, unit))
        ax.set_ylabel("count")
        if log and pooled.size:
            ax.set_yscale("log")
        else:
            ax.locator_params(axis="y", integer=True)
        _legend(ax)
        return to_picture(fig, caption)


def show_curves(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    caption: str,
    *,
    x: str,
    y: str,
    x_unit: str = "",
    y_unit: str = "",
    style: CurveStyle | None = None,
) -> Figure:
    """Show named lines, each (x values, y values), with units on the axes."""
    style = style or CurveStyle()
    with drawing() as (fig, axes):
        ax = axes[0, 0]
        for name, (across, up) in curves.items():
            color = style.colors.get(name)
            ax.plot(np.asarray(across), np.asarray(up), marker="o", label=name, color=color)
        for name, value in style.marks.items():
            ax.axvline(value, color="#444444", linestyle="--", linewidth=1, label=name)
        if style.log_x:
            ax.set_xscale("log")
            ax.xaxis.set_major_formatter("{x:g}")
        if style.from_zero:
            ax.set_ylim(bottom=0)
        ax.set_xlabel(with_unit(x, x_unit))
        ax.set_ylabel(with_unit(y, y_unit))
        _legend(ax)
        return to_picture(fig, caption)


def show_points(
    points: Mapping[str, tuple[ArrayLike, ArrayLike]],
    caption: str,
    *,
    x: str,
    y: str,
    x_unit: str = "",
    y_unit: str = "",
    equal: bool = False,
) -> Figure:
    """Show named clouds of points, each (x values, y values), at most 20,000 of each.

    Parameters
    ----------
    equal : one unit is as long along both axes, as for positions
    """
    with drawing(height=4.2) as (fig, axes):
        ax = axes[0, 0]
        for name, (across, up) in points.items():
            step = max(1, math.ceil(np.size(across) / _MAX_POINTS))
            pair = (np.ravel(side)[::step] for side in (across, up))
            ax.plot(*pair, "o", markersize=2.5, alpha=0.6, markeredgewidth=0, label=name)
        ax.set_xlabel(with_unit(x, x_unit))
        ax.set_ylabel(with_unit(y, y_unit))
        if equal:
            ax.set_aspect("equal", adjustable="datalim")
        _legend(ax)
        return to_picture(fig, caption)


def _spacings(
    spacing: tuple[float, float] | Sequence[tuple[float, float]] | None, count: int
) -> list[tuple[float, float] | None]:
    """One spacing for each of the images; of one alone that of the first."""
    given = np.asarray([] if spacing is None else spacing, float).reshape(-1, 2).tolist()
    return [(given[k][0], given[k][1]) if k < len(given) else None for k in range(count)]


def _draw_image(
    ax: Any,
    image: NDArray[Any],
    labels: Layers | None,
    spacing: tuple[float, float] | None,
    *,
    bar: bool,
) -> None:
    step = max(1, math.ceil(max(image.shape) / _MAX_SIDE))
    grey = _contrast(_binned(image, step))
    shown = np.repeat(grey[..., np.newaxis], 3, axis=2)
    layers = () if labels is None else (labels,) if isinstance(labels, np.ndarray) else labels
    # The first lies on top.
    for layer, color in reversed([*zip(layers, _OUTLINES)]):
        if layer.shape != image.shape:
            raise ValueError(f"labels of shape {layer.shape} do not fit an image of {image.shape}")
        small = layer[step // 2 :: step, step // 2 :: step][: grey.shape[0], : grey.shape[1]]
        shown[: small.shape[0], : small.shape[1]][_thick(_outlines(small), small)] = color
    ax.imshow(shown, interpolation="antialiased", aspect="auto" if spacing is None else "equal")
    ax.set_aspect(spacing[0] / spacing[1] if spacing else "equal")
    if spacing and bar:
        _draw_scale(ax, shown.shape[:2], spacing[1] * step)


def _binned(image: NDArray[Any], step: int) -> NDArray[Any]:
    """Average squares of `step` pixels, so that thin things do not vanish."""
    values = np.asarray(image, dtype=np.float64)
    height, width = (size // step for size in values.shape)
    if step == 1 or not height or not width:
        return values
    cut = values[: height * step, : width * step]
    binned: NDArray[Any] = cut.reshape(height, step, width, step).mean(axis=(1, 3))
    return binned


def _contrast(image: NDArray[Any]) -> NDArray[np.uint8]:
    finite = image[np.isfinite(image)]
    low, high = np.percentile(finite, [_LOW, _HIGH]) if finite.size else (0.0, 1.0)
    if high <= low:
        low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    scaled = (np.nan_to_num(image, nan=low, posinf=high, neginf=low) - low) / ((high - low) or 1.0)
    grey: NDArray[np.uint8] = (scaled.clip(0, 1) * 255).astype(np.uint8)
    return grey


def _outlines(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Mark pixels of objects that touch another label or the background."""
    edge: NDArray[np.bool_] = np.zeros(labels.shape, dtype=bool)
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = labels[one] != labels[other]
        edge[one] |= differs
        edge[other] |= differs
    edge &= labels != 0
    return edge


def _thick(edge: NDArray[np.bool_], labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Widen outlines inwards where the page will show the image smaller than it is."""
    from scipy import ndimage

    for _ in range(max(labels.shape) // _THIN_SIDE):
        edge = ndimage.binary_dilation(edge) & (labels != 0)
    return edge


def _draw_scale(ax: Any, shape: tuple[int, ...], micrometres: float) -> None:
    """Draw a bar of a round length, about a fifth of the width."""
    aim = shape[1] * micrometres / 5
    magnitude = 10.0 ** math.floor(math.log10(aim))
    length = max(n for n in (1, 2, 5) if n * magnitude <= aim) * magnitude
    right, bottom = shape[1] * 0.96, shape[0] * 0.94
    left = right - length / micrometres
    shadow = {"facecolor": "black", "alpha": 0.55, "edgecolor": "none", "pad": 1.5}
    for color, width in (("black", 5.0), ("white", 3.0)):
        ax.plot(
            [left, right], [bottom, bottom], color=color, linewidth=width, solid_capstyle="butt"
        )
    # Flush with the bar's end: a text wider than the bar must not leave the picture.
    above = bottom - shape[0] * 0.025
    text = f"{length:g} µm"
    ax.text(right, above, text, color="white", ha="right", va="bottom", bbox=shadow)


def _edges(values: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Bins that their number of values can fill; whole numbers lie in the middle of theirs."""
    if not values.size:
        return np.linspace(0, 1, 11)
    bins = int(np.clip(2 * np.sqrt(values.size), min(10, most), most))
    low, high = values.min(), values.max()
    if high - low >= 2**53 or not np.array_equal(values, np.round(values)):
        return np.histogram_bin_edges(values, bins)
    width = np.ceil((high - low + 1) / most)
    return np.arange(low - 0.5, high + 0.5 + width, width)


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64).ravel()
    return numbers[np.isfinite(numbers)]


def _legend(ax: Any) -> None:
    if any(not name.startswith("_") for name in ax.get_legend_handles_labels()[1]):
        ax.legend()
