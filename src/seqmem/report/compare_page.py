"""The page of a comparison: one self-contained HTML file that opens offline."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from seqmem.report import matrix, plots, published, speed
from seqmem.report.findings import findings, label_of, listed
from seqmem.report.format import bytes_text, short_number
from seqmem.report.page import LIGHT, render
from seqmem.report.plots import Point, Series


def compare_page(
    summary: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
    study: Mapping[str, Any],
    examples: Sequence[Mapping[str, str]],
    memory: Mapping[str, str],
) -> str:
    """The page as text.

    summary: what ``aggregate`` made of ``results`` (lines of results.jsonl). curves: experiment -> points of its
    learning curve. study: the exact settings. examples: {"name", "summary", "text"} per task. memory: mixer ->
    "constant" or "linear".
    """
    series = _series(summary, memory)
    tasks = listed([task["name"] for task in summary["tasks"]])
    count = len(summary["mixers"])
    said = study.get("study", {})
    theirs = said.get("published") or []
    finished = sum(r["status"] in ("done", "solved") for r in results)
    return render(
        "compare.html.jinja",
        title=said.get("title") or f"{count} memory mechanism{'s' if count > 1 else ''} on {tasks}",
        about=said.get("about") or "",
        notes=said.get("notes") or [],
        lead=f"{finished} of {len(results)} experiments finished. "
        "Figures are means over seeds; ± is the 95 % interval (Student's t).",
        problems=_problems(results, summary),
        findings=findings(summary, memory),
        table=_table(summary, series),
        series=[{"label": s.label, "css": s.slot % len(LIGHT)} for s in series.values()],
        published=[published.table(entry, summary) for entry in theirs],
        sections=[s for s in _sections(summary, results, curves, series, theirs) if s["figures"]],
        examples=examples,
        speeds=speed.table(summary, series),
        grid=_grid(summary, series),
        protocol=_protocol(summary, study),
        settings=settings_text(study),
        experiments=[_experiment(r, summary) for r in results],
        versions=json.dumps(results[0]["versions"] if results else {}, indent=2),
        footer="Made by seqmem compare. "
        "The figures are in results.jsonl, the learning curves in curves.json, beside this page.",
    )


Key = tuple[str, int]  # mixer and width


def _series(summary: Mapping[str, Any], memory: Mapping[str, str]) -> dict[Key, Series]:
    return {
        (row["mixer"], row["width"]): Series(label_of(row, summary), slot, memory.get(row["mixer"]) == "linear")
        for slot, row in enumerate(summary["rows"])
    }


def _label(result: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """The label of the series that a result belongs to."""
    told = (
        name
        for name, of in summary["mixers"].items()
        if (of["mixer"], of["options"]) == (result["mixer"], result["mixer_options"])
    )
    return label_of({"mixer": next(told), "width": result["study_width"]}, summary)


def _task_name(result: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    return next(
        task["name"]
        for task in summary["tasks"]
        if (task["task"], task["options"]) == (result["task"], result["task_options"])
    )


def _problems(results: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> list[str]:
    return [
        f"{_label(r, summary)} on {_task_name(r, summary)}, rate {r['learning_rate']:g}, seed {r['seed']}: "
        f"{r['status']}. {r['status_detail']}"
        for r in results
        if r["status"] not in ("done", "solved")
    ]


def _table(summary: Mapping[str, Any], series: Mapping[Key, Series]) -> dict[str, Any]:
    rows = []
    for row in summary["rows"]:
        cells = [{"value": series[row["mixer"], row["width"]].label, "interval": "", "best": False}]
        for column in summary["columns"]:
            value, interval = cell_text(column, row["cells"].get(column["key"]))
            cells.append({"value": value, "interval": interval, "best": column["key"] in row["best"]})
        rows.append({"label": series[row["mixer"], row["width"]].label, "cells": cells})
    return {
        "columns": [
            {"title": "mixer", "unit": ""},
            *({"title": c["title"], "unit": c["unit"]} for c in summary["columns"]),
        ],
        "rows": rows,
        "note": "The best of each column is marked. Scores are at the training length; state bytes are per sequence "
        "after reading the longest test length, and decoding is timed there, one sequence at a time.",
    }


def cell_text(column: Mapping[str, Any], figure: Mapping[str, Any] | None) -> tuple[str, str]:
    """A figure and its interval as text, in the manner of its column."""
    if figure is None:
        return "–", ""
    key, mean, half = column["key"], figure["mean"], figure["half_width"]
    if key == "parameters":
        return f"{mean:,.0f}", ""
    if key == "state_bytes":
        return bytes_text(mean), ""
    if key.startswith("task:"):
        return f"{mean:.3f}", "" if half is None else f"{half:.3f}"
    return short_number(mean), "" if half is None else short_number(half)


def _sections(
    summary: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
    series: Mapping[Key, Series],
    theirs: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    tasks = [task for task in summary["tasks"] if task["test_lengths"]]
    asked = [task for task in tasks if task["metric"] == "accuracy"]
    overview = matrix.figure(summary, series)
    return [
        {
            "title": "Tasks and mixers",
            "text": "",
            "figures": [] if overview is None else [overview],
        },
        {
            "title": "Recall against state",
            "text": "What a memory holds, against what it costs to hold it. Up and to the left is better.",
            "figures": [figure for task in asked if (figure := _state_figure(task, summary, series, theirs))["svg"]],
        },
        {
            "title": "Length",
            "text": "Trained at one length, tested at others.",
            "figures": [_length_figure(task, summary, series) for task in tasks if len(task["test_lengths"]) > 1],
        },
        {
            "title": "How much is to be remembered",
            "text": "",
            "figures": [figure for task in asked for figure in _slice_figures(task, summary, series)],
        },
        {
            "title": "Learning",
            "text": "Validation score at the chosen learning rate, one line per seed. "
            "A line that ends early was solved.",
            "figures": [_curve_figure(task, summary, results, curves, series) for task in tasks],
        },
        {
            "title": "Speed",
            "text": "On the machine that ran the study, one process.",
            "figures": [*speed.bars(summary, series), *speed.by_length(summary, series)],
        },
    ]


def _cells(task: Mapping[str, Any], summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [cell for cell in summary["cells"] if cell["task"] == task["name"]]


def _point(x: float, figure: Mapping[str, Any], note: str) -> Point:
    half = figure["half_width"]
    spread = "" if half is None else f" ± {half:.3f} ({figure['n']} seeds)"
    return Point(x, figure["mean"], half, f"{note}: {figure['mean']:.3f}{spread}")


def _state_figure(
    task: Mapping[str, Any],
    summary: Mapping[str, Any],
    series: Mapping[Key, Series],
    theirs: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    length = task["test_lengths"][0]
    lines: dict[Series, list[Point]] = {}
    by_mixer: dict[str, list[Mapping[str, Any]]] = {}
    for cell in _cells(task, summary):
        by_mixer.setdefault(cell["mixer"], []).append(cell)
    for cells in by_mixer.values():
        for cell in cells:
            s, score, state = (
                series[cell["mixer"], cell["width"]],
                cell["test"].get(length, {}).get("all"),
                cell["state_bytes"],
            )
            if score and state and state["mean"] > 0:
                lines[s] = [_point(state["mean"], score, f"{s.label}, {bytes_text(state['mean'])}")]
    if not lines:
        return {"title": "", "text": "", "svg": "", "wide": True}
    title = f"{task['name']}: accuracy against state bytes"
    drawn = {
        mixer: of for entry in theirs if entry["task"] == task["name"] for mixer, of in published.points(entry).items()
    }
    svg = plots.score_against_state(lines, title=title, metric=task["metric"], chance=task["chance"], published=drawn)
    return {
        "title": title,
        "text": f"Tested at the training length, {length}.{_budget(task, summary)}",
        "svg": svg,
        "wide": True,
    }


def _budget(task: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """What the figure's points were trained on, at most."""
    steps = [cell["steps"]["mean"] for cell in _cells(task, summary) if cell["steps"]]
    return f" Trained on at most {short_number(max(steps))} steps." if steps else ""


def _length_figure(task: Mapping[str, Any], summary: Mapping[str, Any], series: Mapping[Key, Series]) -> dict[str, Any]:
    lines = {}
    for cell in _cells(task, summary):
        s = series[cell["mixer"], cell["width"]]
        lines[s] = [
            _point(float(length), by_slice["all"], f"{s.label} at {length}")
            for length, by_slice in cell["test"].items()
            if by_slice.get("all")
        ]
    title = f"{task['name']}: {'accuracy' if task['metric'] == 'accuracy' else 'bits per byte'} against test length"
    svg = plots.against(
        lines,
        title=title,
        x_label="test length (tokens)",
        metric=task["metric"],
        chance=task["chance"],
        trained_at=float(task["test_lengths"][0]),
    )
    text = "" if task["metric"] == "accuracy" else f"A guess from letter frequencies alone scores {task['chance']:.2f}."
    return {"title": title, "text": text, "svg": svg, "wide": False}


def _slice_figures(
    task: Mapping[str, Any], summary: Mapping[str, Any], series: Mapping[Key, Series]
) -> list[dict[str, Any]]:
    """Accuracy against the number that a slice's name holds ("pairs=8"), at the training length and at the longest."""
    figures = []
    for length in dict.fromkeys((task["test_lengths"][0], task["test_lengths"][-1])):
        lines: dict[Series, list[Point]] = {}
        quantity = ""
        for cell in _cells(task, summary):
            s = series[cell["mixer"], cell["width"]]
            for name, figure in cell["test"].get(length, {}).items():
                if figure and (match := re.fullmatch(r"(\w+)=(\d+)", name)):
                    quantity = match[1]
                    lines.setdefault(s, []).append(_point(float(match[2]), figure, f"{s.label}, {name}"))
        if lines and max(map(len, lines.values())) > 1:
            title = f"{task['name']}: accuracy against {quantity}, test length {length}"
            svg = plots.against(lines, title=title, x_label=quantity, metric=task["metric"], chance=task["chance"])
            figures.append({"title": title, "text": "", "svg": svg, "wide": False})
    return figures


def _curve_figure(
    task: Mapping[str, Any],
    summary: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
    series: Mapping[Key, Series],
) -> dict[str, Any]:
    lines: dict[Series, list[list[tuple[float, float]]]] = {}
    for cell in _cells(task, summary):
        for experiment in cell["experiments"]:
            points = [
                (float(p["tokens"]), float(p["validation"]))
                for p in curves.get(experiment, ())
                if p["validation"] is not None
            ]
            lines.setdefault(series[cell["mixer"], cell["width"]], []).append(points)
    title = (
        f"{task['name']}: validation {'accuracy' if task['metric'] == 'accuracy' else 'bits per byte'} while training"
    )
    return {
        "title": title, "text": "", "wide": False,
        "svg": plots.curves(lines, title=title, metric=task["metric"], chance=task["chance"]),
    }  # fmt: skip


def _grid(summary: Mapping[str, Any], series: Mapping[Key, Series]) -> dict[str, Any]:
    """Mean validation score of every learning rate; empty when each mixer had a single rate."""
    rates = sorted({point["learning_rate"] for point in summary["grid"]})
    rows: dict[tuple[str, int, str], dict[float, Mapping[str, Any]]] = {}
    for point in summary["grid"]:
        rows.setdefault((point["mixer"], point["width"], point["task"]), {})[point["learning_rate"]] = point
    if max(map(len, rows.values()), default=0) < 2:
        return {"rows": [], "columns": [], "note": ""}
    table = []
    for (mixer, width, task), points in rows.items():
        label = series[mixer, width].label
        cells = [{"value": f"{label}, {task}", "interval": "", "best": False}]
        for rate in rates:
            point = points.get(rate)
            value, interval = cell_text({"key": "task:"}, point["validation"] if point else None)
            if point and (lost := point["diverged"] + point["failed"]):
                interval = f"{interval} ({lost} lost)"
            cells.append({"value": value, "interval": interval, "best": bool(point and point["chosen"])})
        table.append({"label": label, "cells": cells})
    return {
        "rows": table,
        "columns": ["mixer, task", *(f"{rate:g}" for rate in rates)],
        "note": "Validation score at each rate, mean over seeds. "
        "The marked rate was chosen on these data; the test figures above are its own.",
    }


def settings_text(study: Mapping[str, Any]) -> str:
    """The settings as YAML; what the study left to the budget is not repeated as null."""
    said = {key: value for key, value in study.get("study", {}).items() if value is not None}
    return str(
        yaml.safe_dump(
            {**study, "study": said}, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110
        )
    )


def _protocol(summary: Mapping[str, Any], study: Mapping[str, Any]) -> str:
    parts = []
    for width in sorted({row["width"] for row in summary["rows"]}):
        for task in summary["tasks"]:
            own = [c["parameters"]["mean"] for c in _cells(task, summary) if c["width"] == width and c["parameters"]]
            if own:
                spread = 100 * (max(own) / min(own) - 1)
                parts.append(
                    f"{task['name']} at width {width}: {min(own):,.0f} to {max(own):,.0f} parameters "
                    f"({spread:.1f} % apart)"
                )
    convolutions = sorted(
        {training["short_conv"] for training in study.get("training", ()) if training.get("short_conv")}
    )
    in_front = (
        f"A causal convolution over {listed([str(c) for c in convolutions])} positions stands in front of every mixer "
        "that does not begin with one of its own, so that none has to learn to look a few tokens back. "
        if convolutions
        else ""
    )
    return (
        "Every mixer sits in the same residual network, is given the same tokens in the same order, and has the "
        f"parameters of the attention stack of the study's width: its MLP is made wider or narrower to match. "
        f"{in_front}{'; '.join(parts)}{'.' if parts else ''}"
    )


def _experiment(r: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    validation = r["metrics"]["validation"] if r["metrics"] else None
    return {
        "label": _label(r, summary),
        "experiment": r["experiment"],
        "mixer": r["mixer"],
        "task": _task_name(r, summary),
        "width": r["width"],
        "mlp_width": r["mlp_width"],
        "learning_rate": f"{r['learning_rate']:g}",
        "seed": r["seed"],
        "steps": r["steps"],
        "tokens": short_number(r["tokens"]),
        "validation": "–" if validation is None else f"{validation:.3f}",
        "seconds": f"{r['wall_seconds']:.1f}" if r["wall_seconds"] is not None else "–",
        "status": r["status"] + (f": {r['status_detail']}" if r["status_detail"] else ""),
    }
