"""The page of a bench: one self-contained HTML file that opens offline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from seqmem.report import bench_plots
from seqmem.report.bench_findings import BOTH, Record, findings, name_of, of_kind, problems, summary_rows
from seqmem.report.format import short_number
from seqmem.report.page import LIGHT, render
from seqmem.report.plots import Point, Series

NOTES = {
    "Speed": "The first row of an op is the op by itself: its median time, and the share of the limit that binds it, "
    "memory traffic or arithmetic, as measured on this machine; what it must move are its inputs, its output and their "
    "gradients, each once. Beneath it, how many times as long each other takes: the median over rounds in which both "
    "were called, and the middle half of them. Before the clock starts every other is given the inputs in the layout "
    "that it wants, and its output and gradients are compared with ours, except where it computes something else and "
    "is there for scale.",
    "One step, batch 1 (µs)": "A whole layer, one token at a time, without gradients, after so many tokens have been "
    "read; over torch's LSTM cell of the same width, timed in the same rounds. An attention layer keeps all it reads.",
    "Sampling of tasks": "Training data with the task's default options, in batches; seconds of processor time, so "
    "that what else runs does not count.",
    "Memory": "The most that a forward and backward pass needs beyond its inputs, its output and their gradients, and "
    "that over the bytes of these. In a process of its own, from the resident set.",
    "First call of a process": "Forward and backward on 64 positions in a process of its own, the import of Numba "
    "included: with an empty cache of machine code, and with one that an earlier process has filled.",
}


def bench_page(document: Mapping[str, Any]) -> str:
    """The page as text. document: what bench.json holds, namely machine, settings, interrupted, records."""
    records = document["records"]
    machine, settings = document["machine"], document["settings"]
    series = _series(records)
    return render(
        "bench.html.jinja",
        title="The recurrences beside others",
        lead=f"{machine['processor']}, {machine['threads']} of {machine['cores']} cores, {machine['date']}. "
        f"Measured: {machine['memory_gb_per_second']:.0f} GB/s of memory, "
        f"{machine['matrix_product_gflops']:.0f} GFLOP/s in a matrix product. Batch 8, width 256, float32.",
        problems=[
            *(["Interrupted: the rest was not measured."] if document["interrupted"] else []),
            *problems(records),
        ],
        findings=findings(records),
        figures=_figures(records, series),
        series=[{"label": s.label, "css": s.slot % len(LIGHT)} for s in series.values()],
        tables=[
            {"title": title, "columns": columns, "rows": [_row(row) for row in rows], "note": _note(title)}
            for title, columns, rows in summary_rows(records)
        ],
        notes=list(dict.fromkeys(r["note"] for r in records if r["note"] and r["status"] in ("ok", "not run"))),
        machine=json.dumps(machine, indent=2, ensure_ascii=False),
        settings=json.dumps(settings, indent=2),
        footer="Made by seqmem bench. The figures are in bench.json beside this page.",
    )


def _note(title: str) -> str:
    return next((note for start, note in NOTES.items() if title.startswith(start)), "")


def _row(cells: Sequence[str]) -> dict[str, Any]:
    return {"inner": cells[0].startswith(" "), "cells": [cells[0].strip(), *cells[1:]]}


def _series(records: Sequence[Record]) -> dict[str, Series]:
    """A colour for every op and every layer."""
    ops = dict.fromkeys(name_of(r) for r in of_kind(records, "time"))
    decodes = of_kind(records, "decode")
    layers = dict.fromkeys(r["mixer"] for r in decodes)
    grows = {name for name in layers if any(r["mixer"] == name and r.get("memory") == "linear" for r in decodes)}
    return {name: Series(name, slot, name in grows) for slot, name in enumerate([*ops, *layers])}


def _figures(records: Sequence[Record], series: Mapping[str, Series]) -> list[dict[str, str]]:
    figures = []
    shown = [r for r in of_kind(records, "time") if r["ratio"] is not None and r["pass"] == BOTH]
    for length in sorted({r["length"] for r in shown}):
        title = f"Forward and backward at {length:,} positions: time over ours"
        rows = [r for r in shown if r["length"] == length]
        figures.append({"title": title, "svg": bench_plots.ratios(rows, series, title=title)})
    steps = [r for r in of_kind(records, "decode") if r["status"] == "ok"]
    if steps:
        lines: dict[Series, list[Point]] = {}
        for r in steps:
            note = f"{r['mixer']} after {r['tokens']:,}: {short_number(r['ours_us'])} µs"
            lines.setdefault(series[r["mixer"]], []).append(Point(r["tokens"], r["ours_us"], None, note))
        cells = sorted(r["cell_us"] for r in steps)
        title = "One step of a layer against what it has read"
        figures.append({"title": title, "svg": bench_plots.steps(lines, cells[len(cells) // 2], title=title)})
    return figures
