"""A table of shares drawn as boxes: the fuller, the darker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from seqmem.report.svg import GRID, INK, series_colour, style, to_svg

FULL = 0.7  # opacity of a box whose share is 1: the number in it stays readable


class Box(NamedTuple):
    """share: 0 to 1, how dark. text: what stands in it. series: what the page's legend highlights it with. tip: what is
    said when it is pointed at."""

    share: float
    text: str
    series: str
    tip: str


def heat_map(
    boxes: Mapping[tuple[int, int], Box],
    columns: Sequence[str],
    rows: Sequence[str],
    title: str,
    *,
    x_label: str = "",
    y_label: str = "",
    size: tuple[float, float],
) -> str:
    """An ``<svg>`` with a box at every (column, row) that has one, row 0 on top. size: in inches."""
    with style():
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        for (x, y), box in boxes.items():
            corner = (x - 0.5, y - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, facecolor="none", edgecolor=GRID, linewidth=0.8))
            fill = axes.add_patch(Rectangle(corner, 1, 1, facecolor=series_colour(0), alpha=FULL * box.share))
            text = axes.text(x, y, box.text, ha="center", va="center", fontsize=9.5, color=INK)
            for part in (fill, text):
                part.set_gid(f"tip|{box.series}|{box.tip}")
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(visible=False)
        axes.tick_params(length=0)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        return to_svg(figure, title)
