"""From a list of results to what a table or a plot shows: means with intervals over seeds, at the learning rate that
validated best.

Plain data in, plain data out.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypedDict

from seqmem.training.schema import Result


class Stat(TypedDict):
    """A figure over seeds. ``half_width``: of the 95 % interval of the mean (Student's t), None from a single seed."""

    mean: float
    half_width: float | None
    n: int
    values: list[float]


class Cell(TypedDict):
    """One mixer at one width on one task, at its best learning rate. ``seeds`` are those that finished;
    ``test[length][slice]`` is as in Metrics. A figure is None when no seed has it."""

    mixer: str
    width: int
    task: str
    learning_rate: float
    experiments: list[str]
    seeds: int
    diverged: int
    failed: int
    parameters: Stat | None
    state_bytes: Stat | None
    train_tokens_per_second: Stat | None
    decode_microseconds: Stat | None
    wall_seconds: Stat | None
    steps: Stat | None
    validation: Stat | None
    test: dict[str, dict[str, Stat | None]]


class GridPoint(TypedDict):
    """One learning rate of one mixer at one width on one task, before the choice."""

    mixer: str
    width: int
    task: str
    learning_rate: float
    validation: Stat | None
    diverged: int
    failed: int
    chosen: bool


class Column(TypedDict):
    """A column of the table. ``better``: "higher", "lower" or None. ``task``: where its figures come from."""

    key: str
    title: str
    unit: str
    better: str | None
    task: str


class Row(TypedDict):
    """A mixer at a width. ``cells[column key]``; ``best``: keys of the columns in which no row has a better mean."""

    mixer: str
    width: int
    cells: dict[str, Stat | None]
    best: list[str]


class TaskInfo(TypedDict):
    """A task of the study, under the name that tells it from the others."""

    name: str
    task: str
    options: dict[str, Any]
    metric: str
    better: str
    chance: float
    test_lengths: list[str]


class Summary(TypedDict):
    """What :func:`aggregate` returns."""

    tasks: list[TaskInfo]
    mixers: dict[str, dict[str, Any]]  # name -> {"mixer", "options"}
    columns: list[Column]
    rows: list[Row]
    cells: list[Cell]
    grid: list[GridPoint]


FINISHED = ("done", "solved")


def aggregate(results: Sequence[Result]) -> Summary:
    """Group by mixer, width and task (each with its options), choose the learning rate, take means over seeds.

    A learning rate is chosen by the mean validation score; one at which more seeds came to an end goes first. In the
    table, a task's column is its score at the training length; parameters, state and speeds are those on the task with
    the longest test length.
    """
    mixer_name = _namer(results, "mixer", "mixer_options")
    task_name = _namer(results, "task", "task_options")
    tasks = {name: _task_info(name, group) for name, group in _grouped(results, task_name).items()}
    mixers = {mixer_name(r): {"mixer": r["mixer"], "options": r["mixer_options"]} for r in results}

    cells: list[Cell] = []
    grid: list[GridPoint] = []
    places = _grouped(results, lambda r: (mixer_name(r), r["study_width"], task_name(r)))
    for (mixer, width, task), group in places.items():
        rates = _grouped(group, lambda r: r["learning_rate"])
        best = best_learning_rate(group)
        cells.append(_cell(mixer, width, task, best, rates[best]))
        for rate, seeds in rates.items():
            point: GridPoint = {
                "mixer": mixer,
                "width": width,
                "task": task,
                "learning_rate": rate,
                "validation": stat(map(_validation, seeds)),
                "diverged": _count(seeds, "diverged"),
                "failed": _count(seeds, "failed"),
                "chosen": rate == best,
            }
            grid.append(point)
    columns = _columns(list(tasks.values()))
    return {
        "tasks": list(tasks.values()),
        "mixers": mixers,
        "columns": columns,
        "rows": _rows(cells, columns, tasks),
        "cells": cells,
        "grid": grid,
    }


def best_learning_rate(results: Sequence[Result]) -> float:
    """Of one mixer's results on one task at several rates: the rate with the fewest unfinished seeds, then the best
    mean validation. Only the seeds that ran at every rate are looked at, where there are any."""
    at: dict[float, set[int]] = {}
    for r in results:
        at.setdefault(r["learning_rate"], set()).add(r["seed"])
    common = set.intersection(*at.values())
    results = [r for r in results if r["seed"] in common] or results
    higher = next((better_of(r["metrics"]["name"]) == "higher" for r in results if r["metrics"]), True)

    def rank(rate: float) -> tuple[int, float]:
        values = [_validation(r) for r in results if r["learning_rate"] == rate]
        known = [value for value in values if value is not None]
        mean = statistics.fmean(known) if known else 0.0
        return len(values) - len(known), -mean if higher else mean

    return min(dict.fromkeys(r["learning_rate"] for r in results), key=rank)


def stat(values: Iterable[float | None]) -> Stat | None:
    """Mean and 95 % interval of the numbers that are there; None when none is."""
    known = [float(value) for value in values if value is not None]
    if not known:
        return None
    n, half_width = len(known), None
    if n > 1:
        half_width = student_t(n - 1) * statistics.stdev(known) / math.sqrt(n)
    return {"mean": statistics.fmean(known), "half_width": half_width, "n": n, "values": known}


def student_t(freedom: int) -> float:
    """The 0.975 quantile of Student's t with ``freedom`` degrees of freedom: a table to 30, then the expansion about
    the normal's."""
    if freedom <= len(_T975):
        return _T975[freedom - 1]
    z = 1.959963985
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


_T975 = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
    2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
)  # fmt: skip


def better_of(metric: str) -> str:
    """Which way a metric is better: "higher" or "lower"."""
    return "higher" if metric == "accuracy" else "lower"


def _cell(mixer: str, width: int, task: str, rate: float, results: list[Result]) -> Cell:
    finished = [r for r in results if r["status"] in FINISHED]
    tests = [r["metrics"]["test"] for r in finished if r["metrics"]]
    lengths = dict.fromkeys(length for test in tests for length in test)
    return {
        "mixer": mixer,
        "width": width,
        "task": task,
        "learning_rate": rate,
        "experiments": [r["experiment"] for r in results],
        "seeds": len(finished),
        "diverged": _count(results, "diverged"),
        "failed": _count(results, "failed"),
        "parameters": stat(r["parameters"] for r in finished),
        "state_bytes": stat(r["state_bytes"] for r in finished),
        "train_tokens_per_second": stat(r["train_tokens_per_second"] for r in finished),
        "decode_microseconds": stat(r["decode_microseconds"] for r in finished),
        "wall_seconds": stat(r["wall_seconds"] for r in finished),
        "steps": stat(r["steps"] for r in finished),
        "validation": stat(map(_validation, finished)),
        "test": {
            length: {
                name: stat(test.get(length, {}).get(name) for test in tests)
                for name in dict.fromkeys(name for test in tests for name in test.get(length, {}))
            }
            for length in lengths
        },
    }


def _columns(tasks: list[TaskInfo]) -> list[Column]:
    if not tasks:
        return []
    longest = max(tasks, key=lambda task: int(task["test_lengths"][-1]) if task["test_lengths"] else 0)["name"]
    alone = len([task for task in tasks if task["metric"] == "bits_per_byte"]) == 1
    columns = [
        _column("parameters", "parameters", "", None, longest),
        _column("state_bytes", "state bytes", "bytes", "lower", longest),
    ]
    for task in tasks:
        if task["metric"] == "accuracy":
            title, unit = ("recall accuracy" if task["name"] == "mqar" else f"{task['name']} accuracy"), ""
        else:
            title, unit = ("bits per byte" if alone else f"{task['name']} bits per byte"), "bits"
        columns.append(_column(f"task:{task['name']}", title, unit, task["better"], task["name"]))
    return [
        *columns,
        _column("train_tokens_per_second", "training tokens/s", "tokens/s", "higher", longest),
        _column("decode_microseconds", "µs per decoded token", "µs", "lower", longest),
    ]


def _column(key: str, title: str, unit: str, better: str | None, task: str) -> Column:
    return {"key": key, "title": title, "unit": unit, "better": better, "task": task}


def _rows(cells: list[Cell], columns: list[Column], tasks: dict[str, TaskInfo]) -> list[Row]:
    found = {(cell["mixer"], cell["width"], cell["task"]): cell for cell in cells}
    rows: list[Row] = []
    for mixer, width in dict.fromkeys((cell["mixer"], cell["width"]) for cell in cells):
        figures: dict[str, Stat | None] = {}
        for column in columns:
            cell = found.get((mixer, width, column["task"]))
            if cell is None:
                figures[column["key"]] = None
            elif column["key"].startswith("task:"):
                lengths = tasks[column["task"]]["test_lengths"]
                figures[column["key"]] = cell["test"].get(lengths[0], {}).get("all") if lengths else None
            else:
                figures[column["key"]] = cell[column["key"]]  # type: ignore[literal-required]
        rows.append({"mixer": mixer, "width": width, "cells": figures, "best": []})
    for column in columns:
        if column["better"] is None or len(rows) < 2:
            continue
        choose = max if column["better"] == "higher" else min
        means = [figure["mean"] for row in rows if (figure := row["cells"][column["key"]])]
        for row in rows:
            figure = row["cells"][column["key"]]
            if figure and figure["mean"] == choose(means):
                row["best"].append(column["key"])
    return rows


def _task_info(name: str, results: list[Result]) -> TaskInfo:
    metrics = next((r["metrics"] for r in results if r["metrics"]), None)
    metric = metrics["name"] if metrics else "accuracy"
    return {
        "name": name,
        "task": results[0]["task"],
        "options": results[0]["task_options"],
        "metric": metric,
        "better": better_of(metric),
        "chance": metrics["chance"] if metrics else math.nan,
        "test_lengths": list(metrics["test"]) if metrics else [],
    }


def task_names(described: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names that the tasks of these results, or experiments' fields, go by."""
    name = _namer(described, "task", "task_options")
    return list(dict.fromkeys(map(name, described)))


def _namer(results: Sequence[Mapping[str, Any]], kind: str, options: str) -> Callable[[Mapping[str, Any]], str]:
    """Names for the mixers (or tasks) of a study: with the options in which those of one name differ,
    ``"local_attention(window=8)"``."""
    variants: dict[str, dict[str, dict[str, Any]]] = {}
    for r in results:
        name, given = r[kind], r[options]
        variants.setdefault(name, {})[json.dumps(given, sort_keys=True)] = given

    def name_of(r: Mapping[str, Any]) -> str:
        name, given = r[kind], r[options]
        others = list(variants[name].values())
        told = [key for key in given if any(key not in other or other[key] != given[key] for other in others)]
        told = [key for key in told if key != "test_lengths"] or told
        return f"{name}({', '.join(f'{key}={_plain(given[key])}' for key in told)})" if told else name

    return name_of


def _plain(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _validation(result: Result) -> float | None:
    if result["status"] not in FINISHED or result["metrics"] is None:
        return None
    return result["metrics"]["validation"]


def _count(results: Iterable[Result], status: str) -> int:
    return sum(r["status"] == status for r in results)


def _grouped(results: Sequence[Result], key: Callable[[Result], Any]) -> dict[Any, list[Result]]:
    groups: dict[Any, list[Result]] = {}
    for r in results:
        groups.setdefault(key(r), []).append(r)
    return groups
