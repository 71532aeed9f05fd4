"""Tasks against mixers at a glance: one box each, for studies of several tasks."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from seqmem.report import heat
from seqmem.report.plots import Series

LEAST = 4  # tasks, from which on a matrix says more than the table


def figure(summary: Mapping[str, Any], series: Mapping[tuple[str, int], Series]) -> dict[str, Any] | None:
    """Title, text and ``<svg>``; None for fewer than ``LEAST`` tasks that are scored by accuracy.

    A box is the median over seeds of the mean accuracy over the test lengths beyond the training length (at the
    training length, where a task is tested at no other); it is as dark as that is above chance.
    """
    tasks = [task for task in summary["tasks"] if task["metric"] == "accuracy" and task["test_lengths"]]
    if len(tasks) < LEAST:
        return None
    names = list(series)
    boxes = {}
    for cell in summary["cells"]:
        row = next((y for y, task in enumerate(tasks) if task["name"] == cell["task"]), None)
        if row is None or not (scores := _by_seed(cell, tasks[row])):
            continue
        label = series[cell["mixer"], cell["width"]].label
        median, chance = statistics.median(scores), tasks[row]["chance"]
        share = max(0.0, (median - chance) / (1 - chance))
        boxes[names.index((cell["mixer"], cell["width"])), row] = heat.Box(
            share, f"{median:.2f}".lstrip("0") if median < 1 else "1", label, _tip(label, cell, tasks[row], scores)
        )
    title = "accuracy beyond the training length, median over seeds"
    svg = heat.heat_map(
        boxes,
        [_broken(series[name].label) for name in names],
        [task["name"] for task in tasks],
        title,
        size=(3.0 + 0.62 * len(names), 1.4 + 0.34 * len(tasks)),
    )
    text = "The darker, the further above chance. Every box tells its best seed and its lengths when pointed at."
    return {"title": title, "text": text, "svg": svg, "wide": True}


def _beyond(task: Mapping[str, Any]) -> list[str]:
    return list(task["test_lengths"][1:] or task["test_lengths"][:1])


def _by_seed(cell: Mapping[str, Any], task: Mapping[str, Any]) -> list[float]:
    """Of every seed the mean over the lengths; nothing where a length has not been measured."""
    by_length = [cell["test"].get(length, {}).get("all") for length in _beyond(task)]
    if not all(by_length):
        return []
    return [statistics.fmean(scores) for scores in zip(*(stat["values"] for stat in by_length if stat), strict=True)]


def _tip(label: str, cell: Mapping[str, Any], task: Mapping[str, Any], scores: list[float]) -> str:
    lengths = (f"{length}: {cell['test'][length]['all']['mean']:.2f}" for length in task["test_lengths"])
    seeds = f"{len(scores)} seed{'s' if len(scores) > 1 else ''}"
    return (
        f"{label}, {task['name']}: median {statistics.median(scores):.2f}, best {max(scores):.2f} of {seeds}, chance "
        f"{task['chance']:.2f}; at length {', '.join(lengths)}"
    )


def _broken(label: str) -> str:
    """A mixer's name over several lines, so that columns stay narrow."""
    return label.replace("(", "\n(").replace("_", "_\n").replace("=", "=\n").replace(", ", ",\n")
