"""Data with a known answer. Every task by name, in one table; :func:`get_task` makes one from its name and options."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

from seqmem.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from seqmem.tasks.base import Task


class TaskEntry(NamedTuple):
    """One row of ``seqmem tasks``."""

    name: str
    class_name: str
    summary: str
    source: str


def _rows(*rows: tuple[str, str, str, str]) -> dict[str, TaskEntry]:
    return {row[0]: TaskEntry(*row) for row in rows}


TASKS: dict[str, TaskEntry] = _rows(
    ("mqar", "MQAR", "multi-query associative recall: key-value pairs, then keys whose values are asked", "Zoology (2023), arXiv 2312.04927"),
    ("copying", "Copying", "repeat a string of symbols after a separator", "Neural Turing Machines (2014), arXiv 1410.5401"),
    ("selective_copying", "SelectiveCopying", "repeat the symbols strewn among blanks, in order", "Mamba (2023), arXiv 2312.00752"),
    ("parity", "Parity", "is the number of ones so far odd?", "Neural Networks and the Chomsky Hierarchy (2022), arXiv 2207.02098"),
    ("bytes", "Bytes", "the next byte of real text", "public-domain prose inside the package, or your own file or folder"),
    ("digits", "Digits", "which digit, from its 8x8 image read pixel by pixel", "Optical Recognition of Handwritten Digits (1998), UCI"),
)  # fmt: skip


def get_task(name: str, **options: Any) -> Task:
    """The task ``name`` with these options. Raises InputError for an unknown name or option (with the nearest known one) or a bad value."""
    if name not in TASKS:
        raise InputError(f"unknown task '{name}'.{did_you_mean(name, TASKS)} Known: {', '.join(TASKS)}")
    cls = getattr(importlib.import_module(f"seqmem.tasks.{name}"), TASKS[name].class_name)
    known = list(cls.__dataclass_fields__)
    for option in options:
        if option not in known:
            raise InputError(f"task '{name}' has no option '{option}'.{did_you_mean(option, known)} Known: {', '.join(known)}")
    return cls(**options)
