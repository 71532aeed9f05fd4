"""How fast the memories of a study read and write: bars; by length too, where a task was trained at several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seqmem.report import plots
from seqmem.report.format import short_number
from seqmem.report.plots import Point, Series

Key = tuple[str, int]  # mixer and width

#: the figures of a cell that are speeds: key, title, unit, whether lower is better, and which length they belong to
SPEEDS = (
    ("train_tokens_per_second", "training tokens/s", "tokens/s", False, 0),
    ("decode_microseconds", "µs per decoded token", "µs", True, -1),
)


def bars(summary: Mapping[str, Any], series: Mapping[Key, Series]) -> list[dict[str, Any]]:
    """A figure per speed, on the task that the table's columns speak of."""
    figures = []
    for column in summary["columns"]:
        if column["key"] not in [key for key, *_ in SPEEDS]:
            continue
        values = []
        for row in summary["rows"]:
            if figure := row["cells"].get(column["key"]):
                s = series[row["mixer"], row["width"]]
                note = f"{s.label}: {short_number(figure['mean'])} {column['unit']}"
                values.append((s, Point(0, figure["mean"], None, note)))
        if values:
            lower = column["better"] == "lower"
            title = f"{column['title']}, on {column['task']}"
            svg = plots.bars(values, title=title, x_label=column["unit"], lower_is_better=lower)
            text = "Shorter is better." if lower else "Longer is better."
            figures.append({"title": title, "text": text, "svg": svg, "wide": False})
    return figures


def lengths_of(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The tasks that are one task at several training lengths, shortest first; empty when there is no such."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for task in summary["tasks"]:
        if task["test_lengths"]:
            groups.setdefault(task["task"], []).append(task)
    most: Sequence[Mapping[str, Any]] = max(groups.values(), key=len, default=[])
    ordered = sorted(most, key=lambda task: int(task["test_lengths"][0]))
    return ordered if len({task["test_lengths"][0] for task in ordered}) == len(ordered) > 1 else []


def by_length(summary: Mapping[str, Any], series: Mapping[Key, Series]) -> list[dict[str, Any]]:
    """A figure per speed, against the length that was read."""
    tasks = lengths_of(summary)
    cells = _cells(summary, tasks)
    figures = []
    for key, title, unit, lower, place in SPEEDS if tasks else ():
        lines: dict[Series, list[Point]] = {}
        for (mixer, width, name), cell in cells.items():
            if figure := cell[key]:
                length = next(int(task["test_lengths"][place]) for task in tasks if task["name"] == name)
                s = series[mixer, width]
                note = f"{s.label} at {length}: {short_number(figure['mean'])} {unit}"
                lines.setdefault(s, []).append(Point(length, figure["mean"], None, note))
        if lines:
            what = "tokens read before" if place else "training length (tokens)"
            svg = plots.speeds(lines, title=f"{title} by length", x_label=what, y_label=unit)
            text = "Lower is better." if lower else "Higher is better."
            figures.append({"title": f"{title} by length", "text": text, "svg": svg, "wide": False})
    return figures


def table(summary: Mapping[str, Any], series: Mapping[Key, Series]) -> dict[str, Any]:
    """Both speeds of every mixer at every length; without rows when there is one length only."""
    tasks = lengths_of(summary)
    cells = _cells(summary, tasks)
    if not tasks:
        return {"columns": [], "rows": []}
    columns = ["mixer"]
    columns += [f"{title}, {task['test_lengths'][place]}" for _, title, _, _, place in SPEEDS for task in tasks]
    rows = []
    for row in summary["rows"]:
        key = row["mixer"], row["width"]
        told = [series[key].label]
        for speed, *_ in SPEEDS:
            found = [cells.get((*key, task["name"])) for task in tasks]
            told += [short_number(cell[speed]["mean"]) if cell and cell[speed] else "–" for cell in found]
        rows.append(told)
    return {"columns": columns, "rows": rows}


def _cells(summary: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int, str], Any]:
    """(mixer, width, task) -> cell, of these tasks, in their order."""
    names = [task["name"] for task in tasks]
    cells = sorted((cell for cell in summary["cells"] if cell["task"] in names), key=lambda c: names.index(c["task"]))
    return {(cell["mixer"], cell["width"], cell["task"]): cell for cell in cells}
