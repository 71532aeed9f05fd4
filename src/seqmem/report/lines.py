"""Plots of what papers measured along an axis: one line per series, thin lines for its seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from seqmem.report.format import short_number
from seqmem.report.plots import Series
from seqmem.report.svg import style, to_svg

Run = tuple[Sequence[float], Sequence[float]]  # x and y of one seed; what is not finite is NaN
LOG_RANGE = 20.0  # an axis of values that grow by factors, over more than this, is logarithmic


def lines(series: Mapping[Series, Sequence[Run]], *, title: str) -> str:
    """One plot. A title "A against B" names the axes. Axes whose values grow by factors are logarithmic."""
    with style():
        figure = Figure(figsize=(5.2, 3.3), layout="constrained")
        axes = figure.add_subplot()
        for kind, runs in series.items():
            _draw(axes, kind, runs)
        everything = [run for runs in series.values() for run in runs]
        xs = sorted({x for x_of, _ in everything for x in x_of if math.isfinite(x)})
        ys = [y for _, y_of in everything for y in y_of if math.isfinite(y)]
        if _geometric(xs):
            axes.set_xscale("log")
            _few_ticks(axes, xs)
            if ys and min(ys) > 0 and max(ys) / min(ys) > LOG_RANGE:
                axes.set_yscale("log")
        number = FuncFormatter(lambda value, _: short_number(value))
        axes.xaxis.set_major_formatter(number)
        axes.yaxis.set_major_formatter(number)
        y_label, against, x_label = title.partition(" against ")
        if against:
            axes.set_xlabel(x_label)
            axes.set_ylabel(y_label)
        return to_svg(figure, title)


def _draw(axes: Axes, kind: Series, runs: Sequence[Run]) -> None:
    mean = _mean(runs)
    for x, y in runs if mean is None or len(runs) > 1 else ():
        (line,) = axes.plot(x, y, color=kind.colour, linewidth=0.9, alpha=0.4 if mean else 0.9)
        line.set_gid(f"series|{kind.label}|seed")
    if mean is not None:
        few = len(mean[0]) <= 20
        (line,) = axes.plot(*mean, color=kind.colour, marker=kind.marker if few else None, zorder=3)
        line.set_gid(f"series|{kind.label}|line")


def _mean(runs: Sequence[Run]) -> Run | None:
    """The mean line; None when the seeds were not measured at the same x."""
    if not runs or any(list(x) != list(runs[0][0]) for x, _ in runs):
        return None
    return runs[0][0], [statistics.fmean(at) for at in zip(*(y for _, y in runs), strict=True)]


def _geometric(xs: Sequence[float]) -> bool:
    """Whether positive values are spaced more evenly by factors than by differences."""
    if len(xs) < 3 or xs[0] <= 0 or xs[-1] / xs[0] < 8:
        return False
    factors = [math.log(b / a) for a, b in pairwise(xs)]
    steps = [b - a for a, b in pairwise(xs)]
    return statistics.pstdev(factors) / statistics.fmean(factors) < statistics.pstdev(steps) / statistics.fmean(steps)


def _few_ticks(axes: Axes, xs: Sequence[float]) -> None:
    """A tick at each value, or at some of many."""
    every = math.ceil(len(xs) / 7)
    axes.xaxis.set_major_locator(FixedLocator(xs[::every]))
    axes.xaxis.set_minor_locator(NullLocator())
