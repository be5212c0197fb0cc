"""Pictures of profiles: volcano, ranks, map, and how batches mix."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poolvox.shared.report.section import Figure
from poolvox.shared.report.style import PALETTE, drawing, to_picture

__all__ = [
    "show_calibration",
    "show_map",
    "show_mixing",
    "show_ranks",
    "show_shares",
    "show_volcano",
]

# Names that are written into a picture; more would lie on each other.
NAMED: Final = 12
# Clusters that have a colour of their own.
COLOURS: Final = 7
GREY: Final = "#b5b5b5"
# Letters of a name that fit into a picture.
LONGEST: Final = 18
# Points up to which they are drawn large.
FEW: Final = 300


def show_volcano(hits: pd.DataFrame, names: pd.Series, caption: str, *, fdr: float) -> Figure:
    """Show how large effects are, and how sure: hits lie at the top right.

    Parameters
    ----------
    hits : table with `Hit_Effect`, `Hit_PValue` and `Hit_QValue`, best first
    names : of its rows
    """
    tested = hits["Hit_PValue"].notna()
    hits, names = hits[tested], names[tested]
    # A p-value below what a float holds is 0.
    height = -np.log10(np.maximum(hits["Hit_PValue"].to_numpy(float), 1e-300))
    effect = hits["Hit_Effect"].to_numpy(float)
    active = hits["Hit_QValue"].to_numpy(float) <= fdr
    with drawing(height=4.2) as (fig, axes):
        ax = axes[0, 0]
        _two_kinds(ax, effect, height, active, fdr)
        if active.any() and not active.all():
            # Everything above the line is a hit at this rate.
            limit = (height[active].min() + height[~active].max()) / 2
            ax.axhline(limit, color="#888888", linestyle="--", linewidth=0.8)
        ax.set_xlabel("effect (standard deviations of control cells)")
        ax.set_ylabel("-log10 p-value")
        ax.margins(x=0.14, y=0.08)
        _write_names(ax, effect, height, _best(names, active))
        ax.legend(loc="upper left" if _upper_left_free(effect, height) else "lower right")
        return to_picture(fig, caption)


def show_ranks(hits: pd.DataFrame, names: pd.Series, caption: str, *, fdr: float) -> Figure:
    """Show the normal score of everything that was tested, best first."""
    tested = hits["Hit_Score"].notna()
    hits, names = hits[tested], names[tested]
    score = hits["Hit_Score"].to_numpy(float)
    order = np.argsort(-score, kind="stable")
    score, active = score[order], hits["Hit_QValue"].to_numpy(float)[order] <= fdr
    rank = np.arange(1, len(score) + 1)
    with drawing(height=3.8) as (fig, axes):
        ax = axes[0, 0]
        _two_kinds(ax, rank, score, active, fdr)
        ax.set_xlabel("rank")
        ax.locator_params(axis="x", integer=True)
        ax.set_ylabel("score (all units together)")
        ax.margins(x=0.05, y=0.1)
        _write_names(ax, rank, score, _best(names.iloc[order], active))
        ax.legend(loc="upper right")
        return to_picture(fig, caption)


def show_map(
    places: pd.DataFrame,
    names: pd.Series,
    caption: str,
    *,
    marked: NDArray[np.bool_] | None = None,
) -> Figure:
    """Show profiles on the map, coloured by cluster.

    Parameters
    ----------
    places : `Embed_1`, `Embed_2` and `Metadata_Cluster`
    names : of its rows
    marked : rows, such as hits, whose names are written and that have an edge
    """
    across, up = (places[name].to_numpy(float) for name in ("Embed_1", "Embed_2"))
    cluster = places["Metadata_Cluster"].to_numpy()
    chosen = np.zeros(len(places), dtype=bool) if marked is None else marked
    size = 26 if len(places) <= FEW else 8
    with drawing(height=4.8) as (fig, axes):
        ax = axes[0, 0]
        for label in sorted(set(cluster), key=lambda one: (one < 0, one)):
            rows = cluster == label
            own = 0 <= label < COLOURS
            colour = PALETTE[label] if own else GREY
            first = label == COLOURS or label < 0
            words = f"cluster {label}" if own else ("none" if label < 0 else "smaller clusters")
            style: dict[str, Any] = {"linewidths": np.where(chosen[rows], 1.0, 0.0)}
            ax.scatter(
                across[rows],
                up[rows],
                s=size,
                c=colour,
                edgecolors="#222222",
                label=words if own or first else None,
                **style,
            )
        ax.set_xlabel("map, first axis")
        ax.set_ylabel("map, second axis")
        ax.margins(0.08)
        few = not chosen.any() and len(places) <= NAMED
        _write_names(ax, across, up, _best(names, chosen | few))
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return to_picture(fig, caption)


def show_calibration(bins: pd.DataFrame, caption: str) -> Figure:
    """Show how often calls are right against how sure they are.

    Parameters
    ----------
    bins : `Bin_Stated`, `Bin_Observed` and `Bin_Cells`
    """
    stated, observed = (bins[name].to_numpy(float) for name in ("Bin_Stated", "Bin_Observed"))
    cells = np.maximum(bins["Bin_Cells"].to_numpy(float), 1)
    error = np.sqrt(np.maximum(stated * (1 - stated), 0) / cells)
    with drawing(height=3.8, width=4.6) as (fig, axes):
        ax = axes[0, 0]
        ax.plot([0, 1], [0, 1], color="#888888", linestyle="--", linewidth=0.8, label="as stated")
        ax.errorbar(stated, observed, error, fmt="o", color=PALETTE[0], label="held-out cells")
        ax.set_xlabel("stated probability")
        ax.set_ylabel("share that is right")
        low = min(stated.min(), observed.min(), 0.9)
        ax.set_xlim(low - 0.05, 1.02)
        ax.set_ylim(low - 0.05, 1.04)
        ax.legend(loc="upper left")
        return to_picture(fig, caption)


def show_shares(
    names: pd.Series,
    values: pd.Series,
    caption: str,
    *,
    label: str,
    errors: pd.Series | None = None,
) -> Figure:
    """Show one number of several things as bars, the first on top."""
    places = np.arange(len(names))[::-1]
    with drawing(height=1.0 + 0.28 * len(names)) as (fig, axes):
        ax = axes[0, 0]
        ax.barh(places, values.to_numpy(float), xerr=errors, color=PALETTE[0], height=0.7)
        ax.set_yticks(places, [str(name) for name in names])
        ax.set_xlabel(label)
        ax.grid(visible=False, axis="y")
        return to_picture(fig, caption)


def show_mixing(mixing: pd.DataFrame, caption: str) -> Figure:
    """Show how batches mix, and what is left of the signal, for each table of a comparison.

    Parameters
    ----------
    mixing : `Metadata_Table` and the numbers of `batch_mixing`
    """
    panels = {
        "Mixing_Neighbours": "neighbours from\nother batches (1: mixed)",
        "Mixing_Variance": "variance between\nbatches",
        "Mixing_Precision": "signal (mean average\nprecision)",
    }
    there = [name for name in panels if name in mixing and mixing[name].notna().any()]
    tables = [str(name) for name in mixing["Metadata_Table"]]
    with drawing(width=2.4 * max(len(there), 1) + 0.6, height=3.0, columns=max(len(there), 1)) as (
        fig,
        axes,
    ):
        for ax, name in zip(axes.flat, there):
            values = mixing[name].to_numpy(float)
            colours = [PALETTE[k % len(PALETTE)] for k in range(len(tables))]
            bars = ax.bar(tables, np.nan_to_num(values), color=colours, width=0.6)
            ax.bar_label(bars, [f"{value:.2g}" for value in values], padding=2, fontsize=8)
            ax.set_title(panels[name])
            ax.grid(visible=False, axis="x")
            ax.set_ylim(
                min(0.0, float(np.nanmin(values))), 1.15 * max(float(np.nanmax(values)), 0.1)
            )
            if name == "Mixing_Variance" and mixing["Mixing_Expected"].notna().any():
                ax.axhline(mixing["Mixing_Expected"].mean(), color="#555555", linestyle="--")
                ax.set_xlabel("dashed: by chance")
        return to_picture(fig, caption)


def _two_kinds(
    ax: Any,
    across: NDArray[Any],
    up: NDArray[np.float64],
    active: NDArray[np.bool_],
    fdr: float,
) -> None:
    size = 5.0 if len(across) <= FEW else 2.5
    kinds = ((~active, GREY, "not found"), (active, PALETTE[5], f"hit at {fdr:.0%}"))
    for rows, colour, words in kinds:
        count = int(rows.sum())
        style = {"markersize": size, "markeredgewidth": 0, "color": colour}
        ax.plot(across[rows], up[rows], "o", label=f"{words} ({count:,})", **style)


def _best(names: pd.Series, chosen: NDArray[np.bool_]) -> dict[int, str]:
    """Names of the first chosen rows, by their place."""
    rows = np.flatnonzero(chosen)[:NAMED]
    return {int(row): _short(str(names.iloc[row])) for row in rows}


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _write_names(
    ax: Any, across: NDArray[Any], up: NDArray[np.float64], names: dict[int, str]
) -> None:
    """Write names beside their points; a name that would lie on another one is left out."""
    fig = ax.figure
    fig.canvas.draw()
    taken: list[Any] = []
    for row, name in names.items():
        for offset, side in (((5, 2), "left"), ((-5, 2), "right"), ((5, -9), "left")):
            text = ax.annotate(
                name,
                (across[row], up[row]),
                xytext=offset,
                textcoords="offset points",
                ha=side,
                fontsize=7.5,
            )
            box = text.get_window_extent()
            inside = ax.get_window_extent().expanded(1.02, 1.02)
            clear = not any(box.overlaps(other) for other in taken)
            if clear and inside.x0 <= box.x0 and box.x1 <= inside.x1:
                taken.append(box)
                break
            text.remove()


def _upper_left_free(across: NDArray[np.float64], up: NDArray[np.float64]) -> bool:
    """Whether hardly a point lies where a legend at the upper left would."""
    if not len(across):
        return True
    left = across < across.min() + 0.35 * np.ptp(across)
    high = up > up.min() + 0.7 * np.ptp(up)
    return not (left & high).any()
