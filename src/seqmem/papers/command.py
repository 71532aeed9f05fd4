"""What ``seqmem reproduce`` does: run, print, write pages."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from seqmem.assets import require_language_model
from seqmem.errors import InputError
from seqmem.papers.card import card_of, cards, room_of
from seqmem.papers.evidence import Evidence
from seqmem.papers.paper import Built
from seqmem.papers.run import chosen, load, plan, reproduce
from seqmem.report.format import interval_text, short_number
from seqmem.report.paper_page import index_page, paper_page
from seqmem.report.tables import console
from seqmem.training.engines import make_engine
from seqmem.training.files import to_json, write_text
from seqmem.training.progress import StudyProgress
from seqmem.training.store import open_store, require_writable

COLOURS = {"holds": "green", "holds in part": "yellow", "does not hold here": "magenta"}


def reproduce_command(arguments: argparse.Namespace) -> int:
    """Run what the command line asks for. Returns the exit code."""
    papers = _papers(arguments)
    plan(papers, arguments.budget, arguments.model, arguments.seeds)  # bad input is found before anything is written
    if arguments.model is not None:
        require_language_model(arguments.model)
    if arguments.workers is not None and arguments.workers < 0:
        raise InputError(f"workers is {arguments.workers}, expected 0 (in this process) or more")
    out = Path(arguments.out).expanduser().absolute()
    require_writable(out, "out", "give another with --out")
    engine = make_engine(arguments.engine, arguments.address)
    store = open_store(arguments.store)

    found: list[Evidence] = []
    interrupted = False
    with StudyProgress(console(stderr=True), "parts") as progress:
        running = reproduce(
            papers, store, arguments.budget, arguments.model, arguments.seeds, arguments.workers, progress, engine
        )
        try:
            for evidence in running:
                found.append(evidence)
                write_page(evidence, out)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            running.close()  # type: ignore[attr-defined]
    order = [built.paper.slug for built in papers]
    found.sort(key=lambda evidence: order.index(evidence.slug))
    write_index(out, found)
    if arguments.json:
        print(to_json([evidence.as_dict() for evidence in found], indent=1))
    else:
        for evidence in found:
            print_evidence(evidence)
        console().print(f"\npages  {out / 'index.html'}", markup=False, soft_wrap=True)
    return _exit_code(found, interrupted, arguments)


def _papers(arguments: argparse.Namespace) -> list[Built]:
    """The papers asked for; of a room, or of all, with ``--model`` those that can be given one."""
    if arguments.room is not None:
        room_of(arguments.room)
    papers = chosen(arguments.slugs, arguments.room, arguments.all)
    if arguments.model is None or arguments.slugs:
        return papers
    able = [built for built in papers if built.paper.takes_model]
    if not able:
        raise InputError("none of these papers can be given a model; leave --model out")
    if left := len(papers) - len(able):
        print(f"{left} papers train their own models and are left out with --model", file=sys.stderr)
    return able


def _exit_code(found: Sequence[Evidence], interrupted: bool, arguments: argparse.Namespace) -> int:
    problems = [(evidence, problem) for evidence in found for problem in evidence.problems]
    for evidence, problem in problems:
        where = f"{evidence.slug}, {problem['part']}, seed {problem['seed']}" if problem["part"] else evidence.slug
        print(f"seqmem: {where}: {problem['detail']}", file=sys.stderr)
    if interrupted:
        print("seqmem: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    if arguments.model is not None and any(problem["bad_input"] for _, problem in problems):
        return 2
    return 1 if problems else 0


def write_page(evidence: Evidence, out: Path) -> Path:
    """``SLUG.html``."""
    paper = load(evidence.slug).paper
    own = {"text": paper.own_model, "command": bool(paper.takes_model), "uses": list(paper.uses)}
    path = out / f"{evidence.slug}.html"
    card = card_of(evidence.slug)
    write_text(path, paper_page(evidence.as_dict(), {**card.model_dump(), "link": card.link}, own))
    return path


def write_index(out: Path, found: Sequence[Evidence]) -> Path:
    """``index.html``, with what this run found; pages of earlier runs beside it are linked too."""
    told = {evidence.slug: evidence for evidence in found}
    rows = []
    for card in cards().values():
        if card.slug in told:
            rows.append({**card.model_dump(), "evidence": told[card.slug].as_dict()})
        elif (out / f"{card.slug}.html").exists():
            rows.append({**card.model_dump(), "evidence": None})
    path = out / "index.html"
    write_text(path, index_page(rows))
    return path


def print_evidence(evidence: Evidence) -> None:
    """Title, figures, verdict and rule on the terminal."""
    out = console()
    colour = COLOURS.get(evidence.verdict, "red")
    out.print(f"\n[bold]{escape(evidence.title)}[/bold] [dim]({escape(evidence.slug)}, {evidence.budget})[/dim]")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, justify in (("figure", "left"), ("mean", "right"), ("95 % interval", "right"), ("", "left")):
        table.add_column(column, justify=justify, no_wrap=column != "")  # type: ignore[arg-type]
    for figure in evidence.figures:
        mean = "–" if figure["mean"] is None else short_number(figure["mean"])
        what = figure["what"] + (f" ({figure['unit']})" if figure["unit"] else "")
        table.add_row(escape(figure["name"]), mean, interval_text(figure["low"], figure["high"]), escape(what))
    out.print(table)
    for name, rule in evidence.rule.items():
        if rule["value"] is not None and rule["expression"]:
            words = f"  {name.replace('_', ' '):<8} {rule['expression']}: {str(rule['value']).lower()}"
            out.print(words, markup=False, soft_wrap=True)
    cost = f"{evidence.seeds} seed{'s' if evidence.seeds != 1 else ''}, {evidence.seconds:.0f} s"
    verdict = f"[bold {colour}]{evidence.verdict}[/bold {colour}]"
    out.print(f"{verdict} [dim]{escape(evidence.meaning)} ({cost})[/dim]", soft_wrap=True)
