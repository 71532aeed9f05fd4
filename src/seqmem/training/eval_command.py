"""What ``seqmem eval`` does: ask, print, write."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape
from rich.table import Table

from seqmem.assets import language_model
from seqmem.errors import InputError
from seqmem.report.eval_page import eval_page, share_text
from seqmem.report.tables import console
from seqmem.tasks import summary_of
from seqmem.tasks.text import TextTask
from seqmem.training.files import to_json, write_json, write_text
from seqmem.training.result import versions
from seqmem.training.store import require_writable
from seqmem.training.text_eval import Cell, evaluate_text, spread, text_task, text_tasks, tokenizer_of


def eval_command(arguments: argparse.Namespace) -> int:
    """Ask what the command line says. Returns the exit code."""
    names = text_tasks() if arguments.tasks is None else arguments.tasks.split(",")
    tasks = {name: text_task(name) for name in map(str.strip, names)}
    lengths = _lengths(arguments.lengths)
    for option, least in (("depths", 1), ("samples", 1), ("seed", 0)):
        if (given := getattr(arguments, option)) < least:
            raise InputError(f"--{option} is {given}, expected {least} or more")
    out = Path(arguments.out).expanduser().absolute()
    model, tokenizer = language_model(arguments.model)
    running = evaluate_text(
        model,
        tokenizer,
        tasks,
        lengths,
        depths=arguments.depths,
        samples=arguments.samples,
        seed=arguments.seed,
        kept=out / "cells",
        progress=lambda cell, reused: console(stderr=True).print(_line(cell, reused), markup=False, soft_wrap=True),
    )
    require_writable(out, "out", "give another with --out")
    cells: list[Cell] = []
    interrupted = False
    try:
        for cell in running:
            cells.append(cell)
    except KeyboardInterrupt:
        interrupted = True
    reads = "its own tokenizer" if tokenizer is not None else _reads(tasks, model.config.vocab_size)
    result = _result(arguments, tasks, lengths, reads, cells)
    write_json(out / "eval.json", result)
    write_text(out / "eval.html", eval_page(result))
    if arguments.json:
        print(to_json(result, indent=1))
    else:
        print_table(result)
        where = f"\nresults  {out / 'eval.json'}\nreport   {out / 'eval.html'}"
        console().print(where, markup=False, soft_wrap=True)
    if interrupted:
        console(stderr=True).print("interrupted; run the same command again to go on")
        return 130
    return 0


def print_table(result: Mapping[str, Any]) -> None:
    """Right answers by task and length, with their intervals."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("task", style="bold", no_wrap=True)
    table.add_column("chance", justify="right")
    for length in result["lengths"]:
        table.add_column(f"{length:,} tokens", justify="right", no_wrap=True)
    found = {(cell["task"], cell["length"]): cell for cell in result["cells"]}
    for task in result["tasks"]:
        cells = [share_text(found.get((task["name"], length))) for length in result["lengths"]]
        table.add_row(escape(task["name"]), f"{task['chance']:.2g}", *cells)
    out = console()
    out.print(table)
    note = "right answers, all tokens of them, by greedy decoding; in brackets the 95 % interval (Wilson)"
    out.print(f"\n[dim]{note}[/dim]")


def _line(cell: Cell, reused: bool) -> str:
    share = f"{cell['right']} of {cell['count']} right"
    when = "as before" if reused else f"{cell['seconds']:.1f} s"
    return f"{cell['task']} at {cell['length']:,} tokens: {share} ({when})"


def _lengths(text: str) -> list[int]:
    """``"256,1024"`` as numbers, in order."""
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        found = []
    if not found or found[0] < 1:
        raise InputError(f"--lengths is {text!r}, expected whole numbers of at least 1, such as 256,1024")
    return found


def _reads(tasks: Mapping[str, TextTask], vocab_size: int) -> str:
    kinds = {type(tokenizer_of(task, vocab_size)).__name__ for task in tasks.values()}
    return "bytes" if kinds == {"ByteTokenizer"} else "the tasks' words"


def _result(
    arguments: argparse.Namespace, tasks: Mapping[str, TextTask], lengths: list[int], reads: str, cells: Sequence[Cell]
) -> dict[str, Any]:
    """What is written, as plain data."""
    return {
        "model": str(arguments.model),
        "reads": reads,
        "tasks": [
            {
                "name": name,
                "summary": summary_of(name).removeprefix("text: "),
                "chance": task.exact_chance,
                "options": {field.name: getattr(task, field.name) for field in fields(task)},
                "example": task.example(torch.Generator().manual_seed(0)),
            }
            for name, task in tasks.items()
        ],
        "lengths": lengths,
        "depths": spread(arguments.depths),
        "samples": arguments.samples,
        "seed": arguments.seed,
        "cells": list(cells),
        "versions": versions(),
    }
