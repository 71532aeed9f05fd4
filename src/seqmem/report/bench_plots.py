"""The figures of a bench: how many times as long each other takes, and one step against what was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.ticker import FuncFormatter, NullLocator

from seqmem.report.bench_findings import name_of, ratio_text
from seqmem.report.format import short_number
from seqmem.report.plots import Lines, Series, doubling_ticks, draw, new_axes
from seqmem.report.svg import FAINT, style, to_svg


def ratios(records: Sequence[Mapping[str, Any]], series: Mapping[str, Series], *, title: str) -> str:
    """A row per peer: its time over ours with quartiles, on a logarithmic axis; right of 1 it is slower."""
    with style():
        figure, axes = new_axes(10.6, 1.0 + 0.27 * len(records))
        labels = []
        for row, record in enumerate(records):
            s = series[name_of(record)]
            if record["ratio_low"] is not None:
                (line,) = axes.plot([record["ratio_low"], record["ratio_high"]], [row, row], color=s.colour)
                line.set_gid(f"series|{s.label}|spread")
            face = "none" if record["yardstick"] else s.colour
            (dot,) = axes.plot([record["ratio"]], [row], s.marker, color=s.colour, markerfacecolor=face)
            dot.set_gid(f"tip|{s.label}|{s.label} against {record['peer']}: {ratio_text(record)}")
            labels.append(f"{s.label}: {record['peer']}")
        axes.axvline(1, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{short_number(value)}×"))
        axes.set_yticks(range(len(records)), labels)
        axes.set_ylim(len(records) - 0.4, -0.6)
        axes.set_xlabel("time over ours (hollow: computes something else from the same inputs)")
        return to_svg(figure, title)


def steps(lines: Lines, cell: float, *, title: str) -> str:
    """Microseconds per step against tokens read; the dashed line is the LSTM cell."""
    with style():
        figure, axes = new_axes(10.6, 4.2)
        for series, points in lines.items():
            draw(axes, series, points, limits=(0.0, float("inf")), hollow=series.grows)
        doubling_ticks(axes, [p.x for points in lines.values() for p in points])
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
        axes.axhline(cell, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        axes.annotate(
            "LSTM cell", (1, cell), xycoords=("axes fraction", "data"), ha="right", va="bottom",
            fontsize=8.5, color=FAINT,
        )  # fmt: skip
        axes.set_xlabel("tokens read before (hollow: memory grows with them)")
        axes.set_ylabel("microseconds per step")
        return to_svg(figure, title)
