"""``seqmem bench``: what is asked for, the run, one table, one page."""

from __future__ import annotations

import argparse
import datetime
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seqmem.bench.cases import find_cases
from seqmem.bench.machine import describe, load, using
from seqmem.bench.run import run_bench
from seqmem.bench.speed import Record
from seqmem.errors import InputError
from seqmem.mixers import MIXERS, get_mixer
from seqmem.report.bench_findings import findings, line, summary_rows
from seqmem.report.bench_page import bench_page
from seqmem.report.tables import console
from seqmem.tasks import TASKS, task_class
from seqmem.training.engine import cores
from seqmem.training.files import to_json, write_json, write_text
from seqmem.training.store import require_writable

SAVED_EVERY = 20.0  # seconds: what is lost at most when the run is killed


def bench(arguments: argparse.Namespace) -> int:
    """Run what the command line asks for. Returns the exit code: 1 when a peer or an op failed or two differ."""
    ops, chosen = _names("--op", arguments.op), _names("--mixers", arguments.mixers)
    sampled = _names("--tasks", arguments.tasks)
    everything = ops is None and chosen is None and sampled is None
    cases = find_cases(ops) if everything or ops is not None else []
    mixers = list(MIXERS) if everything else _found("--mixers", chosen, get_mixer)
    tasks = list(TASKS) if everything else _found("--tasks", sampled, task_class)
    lengths = _lengths(arguments.lengths)
    threads = min(2, cores()) if arguments.threads is None else arguments.threads
    if threads < 1:
        raise InputError(f"--threads is {threads}, expected at least 1")
    if not 0 < arguments.seconds < float("inf"):
        raise InputError(f"--seconds is {arguments.seconds:g}, expected a number above 0")
    folder = Path(arguments.out).expanduser().absolute()
    require_writable(folder, "out", "give another with --out")

    records: list[Record] = []
    settings = {"lengths": lengths, "threads": threads, "seconds": arguments.seconds, "against": arguments.against}
    document: dict[str, Any] = {"machine": {}, "settings": settings, "interrupted": True, "records": records}
    progress = console(stderr=True)
    saved = time.monotonic()

    def on_record(record: Record) -> None:
        nonlocal saved
        records.append(record)
        progress.print(line(record), markup=False, soft_wrap=True)
        if time.monotonic() - saved > SAVED_EVERY:
            write_json(folder / "bench.json", document)
            saved = time.monotonic()

    interrupted = False
    with using(threads):
        machine = {**describe(), "load_before": load(), "date": f"{datetime.date.today()}"}
        document["machine"] = machine
        try:
            run_bench(
                cases, mixers, tasks, lengths,
                seconds=arguments.seconds, peers=arguments.against == "peers", on_record=on_record,
            )  # fmt: skip
        except KeyboardInterrupt:
            interrupted = True
    machine["load_after"] = load()
    document["interrupted"] = interrupted
    write_json(folder / "bench.json", document)
    write_text(folder / "bench.html", bench_page(document))
    if arguments.json:
        print(to_json(records, indent=2))
    else:
        _print(document, folder)
    if interrupted:
        return 130
    return 1 if any(r["status"] in ("failed", "differs") for r in records) else 0


def _names(option: str, given: str | None) -> list[str] | None:
    if given is None:
        return None
    names = [name.strip() for name in given.split(",") if name.strip()]
    if not names:
        raise InputError(f"{option} is empty, expected names separated by commas")
    return list(dict.fromkeys(names))


def _found(option: str, names: list[str] | None, find: Callable[[str], object]) -> list[str]:
    """The names, each of something that there is."""
    for name in names or ():
        try:
            find(name)
        except InputError as error:
            raise InputError(f"{option}: {error}") from error
    return names or []


def _lengths(given: str) -> list[int]:
    try:
        lengths = [int(word) for word in given.split(",")]
    except ValueError:
        lengths = []
    if not lengths or min(lengths) < 2:
        raise InputError(f"--lengths is '{given}', expected whole numbers of at least 2, separated by commas")
    return sorted(set(lengths))


def _print(document: dict[str, Any], folder: Path) -> None:
    from rich.markup import escape
    from rich.table import Table

    out = console()
    for title, columns, rows in summary_rows(document["records"]):
        table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
        for place, column in enumerate(columns):
            table.add_column(escape(column), justify="left" if place == 0 else "right", no_wrap=place == 0)
        for row in rows:
            table.add_row(*map(escape, row))
        out.print()
        out.print(table)
    out.print()
    for sentence in findings(document["records"]):
        out.print(f"- {sentence}", markup=False, soft_wrap=not out.is_terminal)
    if document["interrupted"]:
        out.print("\nInterrupted: the rest was not measured.", markup=False)
    out.print(f"\nfigures  {folder / 'bench.json'}\nreport   {folder / 'bench.html'}", markup=False, soft_wrap=True)
