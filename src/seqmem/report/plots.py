"""The figures of the comparison report. Each takes plain records and returns one ``<svg>``.

A *series* is what one line shows: a label (the mixer, and its width when there are several) with a colour and a marker
that stay the same on every figure of a page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from seqmem.report.format import bytes_text, short_number
from seqmem.report.svg import FAINT, INK, series_colour, style, to_svg

MARKERS = ("o", "s", "D", "^", "v", "P", "X", "p", "h", "<", ">", "*")


@dataclass(frozen=True)
class Series:
    """How one mixer is drawn everywhere on the page."""

    label: str
    slot: int
    grows: bool = False  # linear memory: drawn hollow where bytes are on an axis

    @property
    def colour(self) -> str:
        return series_colour(self.slot)

    @property
    def marker(self) -> str:
        return MARKERS[self.slot % len(MARKERS)]


@dataclass(frozen=True)
class Point:
    """A mean over seeds at ``x`` with the half-width of its 95 % interval (None with one seed)."""

    x: float
    y: float
    interval: float | None
    note: str  # what the page shows when it is pointed at


Lines = Mapping[Series, Sequence[Point]]


def new_axes(width: float = 5.2, height: float = 3.3) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def doubling_ticks(axes: Axes, values: Sequence[float], text: Any = short_number) -> None:
    """A base-2 axis with a tick at each value that occurs."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(sorted(set(values))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))


def _score_axis(axes: Axes, metric: str, chance: float | None) -> None:
    if metric == "accuracy":
        axes.set_ylim(-0.03, 1.04)
        axes.set_ylabel("accuracy")
    else:
        axes.set_ylabel("bits per byte (lower is better)")
    if chance is not None and metric == "accuracy":
        line = axes.axhline(chance, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        axes.annotate(
            "chance",
            (1, chance),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize=8.5,
            color=FAINT,
        )
        line.set_gid("chance")


def _limits(metric: str) -> tuple[float, float]:
    return (0.0, 1.0) if metric == "accuracy" else (0.0, math.inf)


def draw(
    axes: Axes, series: Series, points: Sequence[Point], *, limits: tuple[float, float], hollow: bool = False
) -> None:
    """A line through the points; intervals are drawn as far as ``limits``, the values that the metric can take."""
    xs, ys = [p.x for p in points], [p.y for p in points]
    if len(points) > 1:
        (line,) = axes.plot(xs, ys, color=series.colour, zorder=2)
        line.set_gid(f"series|{series.label}|line")
    for point in points:
        if point.interval:
            reach = [[min(point.interval, point.y - limits[0])], [min(point.interval, limits[1] - point.y)]]
            container = axes.errorbar(
                [point.x], [point.y], yerr=reach, color=series.colour, elinewidth=1.2, capsize=2.5, zorder=2
            )
            for part in (*container[1], *container[2]):
                part.set_gid(f"series|{series.label}|interval")
        face = "none" if hollow else series.colour
        (dot,) = axes.plot([point.x], [point.y], series.marker, color=series.colour, markerfacecolor=face, zorder=3)
        dot.set_gid(f"tip|{series.label}|{point.note}")


def against(
    lines: Lines,
    *,
    title: str,
    x_label: str,
    metric: str,
    chance: float | None = None,
    trained_at: float | None = None,
    doubling: bool = True,
) -> str:
    """A score against a quantity such as the test length or the number of pairs.

    trained_at: the training value, which is marked.
    """
    with style():
        figure, axes = new_axes()
        for place, (series, points) in enumerate(lines.items()):
            apart = min(0.035, 0.5 / len(lines))
            beside = 2 ** (apart * (place - (len(lines) - 1) / 2)) if doubling else 1.0  # intervals side by side
            moved = [replace(point, x=point.x * beside) for point in points]
            draw(axes, series, moved, limits=_limits(metric))
        values = [p.x for points in lines.values() for p in points]
        if doubling and values and min(values) > 0:
            doubling_ticks(axes, values)
        _score_axis(axes, metric, chance)
        if trained_at is not None and len(set(values)) > 1:
            axes.axvline(trained_at, color=FAINT, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
            axes.annotate(
                "trained here", (trained_at, 0), xycoords=("data", "axes fraction"), xytext=(4, 3),
                textcoords="offset points", ha="left", va="bottom", fontsize=8.5, color=FAINT,
            )  # fmt: skip
        axes.set_xlabel(x_label)
        return to_svg(figure, title)


def speeds(lines: Lines, *, title: str, x_label: str, y_label: str) -> str:
    """A speed against a length, both on doubling axes."""
    with style():
        figure, axes = new_axes()
        for series, points in lines.items():
            draw(axes, series, points, limits=(0.0, math.inf))
        doubling_ticks(axes, [p.x for points in lines.values() for p in points])
        if all(p.y > 0 for points in lines.values() for p in points):
            axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        return to_svg(figure, title)


def score_against_state(
    lines: Lines,
    *,
    title: str,
    metric: str,
    chance: float | None = None,
    published: Mapping[str, Sequence[Point]] | None = None,
) -> str:
    """The trade-off that decides between memory mechanisms: score against state bytes per sequence.

    One point per mixer and width. ``published``: others' figures, grey crosses. Of many series only those on the
    frontier are named: no other holds as much in as little.
    """
    theirs = published or {}
    with style():
        figure, axes = new_axes(10.6, 4.2)
        for series, points in lines.items():
            draw(axes, series, points, limits=_limits(metric), hollow=series.grows)
        for label, points in theirs.items():
            _draw_published(axes, label, points)
        axes.set_xscale("log", base=2)
        values = [p.x for points in (*lines.values(), *theirs.values()) for p in points]
        low, high = math.floor(math.log2(min(values))) - 1.1, math.ceil(math.log2(max(values))) + 0.9
        axes.set_xlim(2**low, 2**high)
        ticks = [2.0**k for k in range(math.ceil(low), math.floor(high) + 1)]
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: bytes_text(value)))
        _score_axis(axes, metric, chance)
        _label_points(axes, lines if len(lines) <= NAMED else _frontier(lines))
        axes.set_xlabel(
            "state bytes per sequence, after reading the longest test length (hollow: grows with what is read"
            + ("; crosses: published)" if theirs else ")")
        )
        return to_svg(figure, title)


NAMED = 16  # so many series still have room for their names


def _frontier(lines: Lines) -> dict[Series, Sequence[Point]]:
    """The series whose score no series of as little state reaches; from the smallest state up."""
    kept: dict[Series, Sequence[Point]] = {}
    best = -math.inf
    for series, points in sorted(lines.items(), key=lambda item: (item[1][0].x, -item[1][0].y)):
        if points[0].y > best:
            kept[series], best = points, points[0].y
    return kept


def _draw_published(axes: Axes, label: str, points: Sequence[Point]) -> None:
    axes.plot([p.x for p in points], [p.y for p in points], color=FAINT, linewidth=0.8, alpha=0.6, zorder=1)
    for point in points:
        (cross,) = axes.plot([point.x], [point.y], "x", color=FAINT, markersize=5, zorder=2)
        cross.set_gid(f"tip|published|{point.note}")
    first = min(points, key=lambda p: p.x)
    axes.annotate(
        label, (first.x, first.y), xytext=(-5, 4), ha="right", textcoords="offset points", fontsize=8, color=FAINT,
        zorder=2,
    )  # fmt: skip


def _label_points(axes: Axes, lines: Lines) -> None:
    """Name each series beside its largest point: on its left when another stands close on its right.

    Names that would still collide are moved apart vertically.
    """
    low, high = axes.get_ylim()
    placed: list[tuple[float, float]] = []  # (log2 x, y as a fraction of the axis)
    ordered = sorted(lines.items(), key=lambda item: -max(p.y for p in item[1]))
    for series, points in ordered:
        point = max(points, key=lambda p: p.x)
        x, y = math.log2(point.x), (point.y - low) / (high - low)
        others = [p for s, ps in lines.items() if s is not series for p in ps]
        crowded = any(0 < math.log2(p.x) - x < 1.15 and abs(p.y - point.y) < 0.25 * (high - low) for p in others)
        while any(abs(x - px) < 1.15 and abs(y - py) < 0.055 for px, py in placed):
            y -= 0.012
        placed.append((x, y))
        text = axes.annotate(
            series.label, (point.x, low + y * (high - low)), xytext=(-8 if crowded else 8, 0),
            textcoords="offset points", va="center", ha="right" if crowded else "left",
            fontsize=9.5, color=series.colour, fontweight="bold",
        )  # fmt: skip
        text.set_gid(f"series|{series.label}|name")


def curves(
    lines: Mapping[Series, Sequence[Sequence[tuple[float, float]]]],
    *,
    title: str,
    metric: str,
    chance: float | None = None,
) -> str:
    """Learning curves: validation score against tokens seen, one thin line per seed."""
    with style():
        figure, axes = new_axes()
        for series, runs in lines.items():
            for run in runs:
                (line,) = axes.plot(
                    [t for t, _ in run], [v for _, v in run], color=series.colour, linewidth=1.3, alpha=0.85
                )
                line.set_gid(f"series|{series.label}|curve")
        _score_axis(axes, metric, chance)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
        axes.set_xlabel("training tokens")
        return to_svg(figure, title)


def bars(values: Sequence[tuple[Series, Point]], *, title: str, x_label: str, lower_is_better: bool) -> str:
    """Horizontal bars, the best on top. ``Point.y`` is the value."""
    ordered = sorted(values, key=lambda item: item[1].y, reverse=not lower_is_better)
    with style():
        figure, axes = new_axes(5.2, 0.75 + 0.34 * len(ordered))
        for row, (series, point) in enumerate(ordered):
            (bar,) = axes.barh([row], [point.y], color=series.colour, height=0.62)
            bar.set_gid(f"tip|{series.label}|{point.note}")
            text = axes.annotate(
                short_number(point.y),
                (point.y, row),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
                color=INK,
            )
            text.set_gid(f"series|{series.label}|value")
        axes.set_yticks(range(len(ordered)), [series.label for series, _ in ordered])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlim(0, 1.14 * max(point.y for _, point in ordered) or 1.0)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
        axes.set_xlabel(x_label)
        return to_svg(figure, title)
