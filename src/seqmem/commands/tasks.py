"""``seqmem tasks``: list the tasks, or tell all there is to know of one."""

from __future__ import annotations

import argparse
import json
from typing import Any

SUMMARY = "list the tasks"
DESCRIPTION = "List the tasks; with a name, what one asks, its options, its difficulty grid and an example."


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="a task, to be told in full")
    parser.add_argument("--json", action="store_true", help="print a JSON list of objects")


def run(arguments: argparse.Namespace) -> int:
    from seqmem.report.tables import print_listing
    from seqmem.tasks import TASKS, describe

    if arguments.name is not None:
        described = _described(arguments.name)
        print(json.dumps(described, indent=2) if arguments.json else _told(described))
    elif arguments.json:
        print(json.dumps([describe(name) for name in TASKS], indent=2))
    else:
        rows = [{"name": t.name, "summary": t.summary, "source": t.source} for t in TASKS.values()]
        print_listing(rows, ("name", "summary", "source"), as_json=False)
    return 0


def _described(name: str) -> dict[str, Any]:
    """As :func:`seqmem.tasks.describe`, with the points of the grid and an example."""
    import torch

    from seqmem.tasks import describe, get_task
    from seqmem.tasks.grid import grid

    example = get_task(name).example(torch.Generator().manual_seed(0))
    return {**describe(name), "grid": [point._asdict() for point in grid(name)], "example": example}


def _told(task: dict[str, Any]) -> str:
    changes = [f"  {option}: {', '.join(map(_plain, values))}" for option, values in task["changes"].items()]
    baseline = ", ".join(f"{option}={_plain(value)}" for option, value in task["baseline"].items())
    lines = [
        f"{task['name']}: {task['summary']}",
        task["source"],
        "",
        f"vocabulary   {task['vocab_size']}",
        f"metric       {task['metric'].replace('_', ' ')}, chance {task['chance']:.4g}",
        f"lengths      trained at {task['train_length']}, tested at {', '.join(map(str, task['test_lengths']))}",
        *([f"slices       {', '.join(task['slices'])}"] if task["slices"] else []),
        *(["readout      from the last vector alone"] if task["readout"] == "last" else []),
        "",
        "options",
        *(f"  {option} = {_plain(value)}" for option, value in task["options"].items()),
        "",
        f"difficulty grid, {len(task['grid'])} points: baseline ({baseline or 'all defaults'}), then one change each",
        *(changes or ["  none"]),
        "",
        "example",
        task["example"],
    ]
    return "\n".join(lines)


def _plain(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
