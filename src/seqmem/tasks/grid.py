"""Difficulty grids: a task at an easy setting, and harder in one option at a time.

The protocol of Mechanistic Design and Scaling of Hybrid Architectures (2024), arXiv 2403.17844: a mechanism's score is
its mean over the baseline and all changes, so that no single setting decides.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, NamedTuple

from seqmem.errors import InputError
from seqmem.tasks import get_task
from seqmem.tasks.base import Task


class GridPoint(NamedTuple):
    """``label``: "baseline", or the changed option and its value, "keys=16". ``options``: for :func:`get_task`."""

    label: str
    options: dict[str, Any]


def grid(name: str, **options: Any) -> list[GridPoint]:
    """The difficulty grid of the task ``name``, the baseline first; ``options`` hold at every point, and an option that
    is given is not changed.

    Raises InputError for an unknown task or option, and where a point cannot be had with the options given.
    """
    task = get_task(name, **options)
    baseline = {**task.baseline, **options}
    points = [GridPoint("baseline", baseline)]
    for option, values in changes_of(task).items():
        if option not in options:
            points += [GridPoint(f"{option}={value}", {**baseline, option: value}) for value in values]
    for point in points:
        try:
            get_task(name, **point.options)
        except InputError as error:
            raise InputError(f"grid of '{name}', {point.label}: {error}") from error
    return points


def changes_of(task: Task) -> dict[str, list[Any]]:
    """Option -> values from easy to hard, as plain data: the task's own, else two and four times its length."""
    if task.changes:
        return {option: list(values) for option, values in task.changes.items()}
    length = task.baseline.get("length", next((f.default for f in fields(task) if f.name == "length"), None))
    return {"length": [2 * length, 4 * length]} if isinstance(length, int) and length > 0 else {}
