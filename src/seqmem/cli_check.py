"""``seqmem check NAME_or_pkg.module:Class``: the mixer contract, a line per point."""

from __future__ import annotations

from json import dumps
from typing import TYPE_CHECKING

from seqmem.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console


def run_check(
    name_or_path: str, *, width: int = 16, json: bool = False, seed: int = 0, console: Console | None = None
) -> int:
    """Print what each of the eight points measured. Returns 0 where all hold, 1 where one fails, 2 where no layer could be built.

    ``json`` prints one JSON object instead: mixer, width, points (point, name, ok, measured, bound, message, applicable), ok.
    """
    from rich.console import Console
    from rich.text import Text

    from seqmem.testing import check_points
    from seqmem.testing.subject import Subject

    out = console or Console()

    def line(text: str, style: str = "") -> None:
        out.print(Text(text, style), soft_wrap=True)

    try:
        subject = Subject(name_or_path, width, seed)
    except InputError as error:
        (Console(stderr=True) if console is None else console).print(Text(str(error)), soft_wrap=True)
        return 2
    if not json:
        forms = f", forms: {', '.join(subject.forms)}" if subject.forms else ""
        line(f"{name_or_path}, width {width}, {subject.memory} memory{forms}", "bold")
    results, told = [], {}
    for result in check_points(subject):
        results.append(result)
        if json:
            continue
        message = result.message
        if not result.ok:
            message = f"as in point {told[message]}" if message in told else message
            told.setdefault(result.message, result.point)
        row = Text(f"{result.point} {result.name:<18}  ")
        row.append(f"{result.verdict:<4}", {"ok": "green", "FAIL": "bold red", "n/a": "dim"}[result.verdict])
        row.append(f"  {message}")
        out.print(row, soft_wrap=True)
    failing = [f"{r.point} {r.name}" for r in results if not r.ok]
    if json:
        points = [r.as_dict() for r in results]
        line(dumps({"mixer": name_or_path, "width": width, "points": points, "ok": not failing}, ensure_ascii=False))
    elif failing:
        line(f"{len(failing)} of {len(results)} points fail: {', '.join(failing)}")
    else:
        line(f"all {len(results)} points hold")
    return 1 if failing else 0
