"""``seqmem check NAME_or_pkg.module:Class``: the mixer contract, a line per point."""

from __future__ import annotations

import json

from rich.console import Console
from rich.text import Text

from seqmem.testing.contract import PointResult, check_points
from seqmem.testing.subject import Subject

STYLES = {"ok": "green", "FAIL": "bold red", "n/a": "dim"}


def run_check(
    name_or_path: str,
    *,
    width: int = 16,
    as_json: bool = False,
    seed: int = 0,
    examples: int = 0,
    console: Console | None = None,
) -> int:
    """Print what each of the eight points measured, and with ``examples`` so many drawn calls. Returns 0 where all hold
    and 1 where one fails.

    ``as_json`` prints one JSON object instead: mixer, width, points, ok; a point has the fields of PointResult. Raises
    InputError (exit code 2 on the command line) where no layer can be built.
    """
    out = console or Console()
    subject = Subject(name_or_path, width, seed)
    if as_json:
        results = list(check_points(subject, examples=examples))
        report = {"mixer": name_or_path, "width": width, "points": [r.as_dict() for r in results]}
        out.file.write(json.dumps({**report, "ok": all(r.ok for r in results)}, ensure_ascii=False) + "\n")
        return 0 if all(r.ok for r in results) else 1

    forms = f", forms: {', '.join(subject.forms)}" if subject.forms else ""
    out.print(Text(f"{name_or_path}, width {width}, {subject.memory} memory{forms}", "bold"), soft_wrap=True)
    results = []
    told: dict[str, int] = {}
    for result in check_points(subject, examples=examples):
        out.print(_line(result, told.get(result.message)), soft_wrap=True)
        results.append(result)
        if not result.ok:
            told.setdefault(result.message, result.point)
    failing = [f"{r.point} {r.name}" for r in results if not r.ok]
    if failing:
        count = f"{len(failing)} of {len(results)} points {'fails' if len(failing) == 1 else 'fail'}"
        out.print(Text(f"{count}: {', '.join(failing)}"), soft_wrap=True)
        return 1
    out.print(Text(f"all {len(results)} points hold"), soft_wrap=True)
    return 0


def _line(result: PointResult, told_in: int | None) -> Text:
    """The result with its verdict in colour; the same trouble a second time is a reference to the first."""
    message = f"as in point {told_in}" if told_in else result.message
    head = f"{result.point} {result.name:<18}  "
    return Text.assemble(head, (f"{result.verdict:<4}", STYLES[result.verdict]), f"  {message}")
