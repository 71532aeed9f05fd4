"""``seqmem compare``: a study run, told in one table and one page."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from seqmem.mixers import get_mixer
from seqmem.report.compare_page import cell_text, compare_page
from seqmem.report.findings import findings, label_of
from seqmem.report.tables import console
from seqmem.tasks import get_task, summary_of
from seqmem.training.aggregate import Summary, aggregate
from seqmem.training.compare import StudyOutcome, run_study
from seqmem.training.engines import make_engine
from seqmem.training.files import to_json, write_text
from seqmem.training.progress import StudyProgress
from seqmem.training.search import sentences
from seqmem.training.study import make_study


def compare(arguments: argparse.Namespace) -> int:
    """Run the study that the command line describes and report on it. Returns the exit code."""
    study = make_study(
        arguments.study, mixers=arguments.mixers, tasks=arguments.tasks, seeds=arguments.seeds, budget=arguments.budget
    )
    engine = make_engine(arguments.engine, arguments.address)
    with StudyProgress(console(stderr=True)) as progress:
        outcome = run_study(study, arguments.out, arguments.store, arguments.workers, progress, engine)
    if not outcome.results:
        console(stderr=True).print("interrupted before the first experiment ended; run the same command again to go on")
        return 130
    summary = aggregate(outcome.results)
    memory = {
        name: getattr(get_mixer(entry["mixer"]), "memory", "constant") for name, entry in summary["mixers"].items()
    }
    page = write_report(outcome, summary, memory)
    if arguments.json:
        print(
            to_json(
                {
                    "summary": summary,
                    "search": outcome.searched,
                    "results": str(outcome.out / "results.jsonl"),
                    "report": str(page),
                },
                indent=2,
            )
        )
    else:
        print_summary(summary, memory)
        for sentence in sentences(outcome.searched):
            console().print(f"- {sentence}", markup=False, soft_wrap=True)
        _print_end(outcome, page)
    if outcome.interrupted:
        return 130
    return 1 if any(r["status"] == "failed" for r in outcome.results) else 0


def write_report(outcome: StudyOutcome, summary: Summary, memory: Mapping[str, str]) -> Path:
    """``report.html`` in the study's folder."""
    settings = json.loads((outcome.out / "study.json").read_text("utf-8"))
    described = {key: value for key, value in settings.items() if key not in ("experiments", "versions")}
    described["training"] = _trainings(settings["experiments"])
    text = compare_page(summary, outcome.results, outcome.curves, described, _examples(summary), memory)
    path = outcome.out / "report.html"
    write_text(path, text)
    return path


def _trainings(experiments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The distinct training settings among the experiments, each with the task that it is for."""
    found: dict[str, dict[str, Any]] = {}
    for experiment in experiments.values():
        settings = {
            "task": experiment["task"],
            "options": experiment["task_options"],
            "layers": experiment["layers"],
            "short_conv": experiment["short_conv"],
            **experiment["budget"],
        }
        found[json.dumps(settings, sort_keys=True)] = settings
    return list(found.values())


def _examples(summary: Summary) -> list[dict[str, str]]:
    return [
        {
            "name": task["name"],
            "summary": summary_of(task["task"]),
            "text": get_task(task["task"], **task["options"]).example(torch.Generator().manual_seed(0)),
        }
        for task in summary["tasks"]
    ]


def print_summary(summary: Summary, memory: Mapping[str, str]) -> None:
    """One table, the best of each column marked, and under it what to see."""
    from rich.markup import escape
    from rich.table import Table

    out = console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("mixer", style="bold", no_wrap=True)
    for column in summary["columns"]:
        table.add_column(escape(column["title"]), justify="right")
    for row in summary["rows"]:
        cells = [
            _cell(column, row["cells"].get(column["key"]), column["key"] in row["best"])
            for column in summary["columns"]
        ]
        table.add_row(escape(label_of(row, summary)), *cells)
    out.print()
    out.print(table)
    out.print(
        "\n[dim]* best of its column; ± the 95 % interval over seeds (Student's t); scores at the training length"
        "[/dim]\n"
    )
    for sentence in findings(summary, memory):
        out.print(f"- {sentence}", markup=False, soft_wrap=not out.is_terminal)


def _cell(column: Mapping[str, Any], figure: Any, best: bool) -> str:
    value, interval = cell_text(column, figure)
    text = f"{value} ± {interval}" if interval else value
    return f"[green bold]{text}*[/green bold]" if best else text


def _print_end(outcome: StudyOutcome, page: Path) -> None:
    out = console()
    if outcome.interrupted:
        left = outcome.total - len(outcome.results)
        out.print(f"\nInterrupted: {left} experiments are left; run the same command again to go on.", markup=False)
    out.print(f"\nresults  {outcome.out / 'results.jsonl'}\nreport   {page}", markup=False, soft_wrap=True)
