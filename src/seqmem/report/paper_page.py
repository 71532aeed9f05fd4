"""The page of a paper that was checked, and the index of several: self-contained HTML files that open offline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from seqmem.report.format import interval_text, short_number
from seqmem.report.lines import Run, lines
from seqmem.report.page import LIGHT, render
from seqmem.report.plots import Series

RULES = {
    "control": "The control, without which nothing counts",
    "holds": "The claim holds, if",
    "in_part": "It holds in part, if",
}
MARKS = {
    "holds": "good", "holds in part": "fair", "does not hold here": "poor", "invalid": "bad", "failed": "bad",
}  # fmt: skip
SEEDS_SHOWN = 10


def paper_page(evidence: Mapping[str, Any], card: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """The page as text.

    evidence: the fields of ``Evidence``. card: those of ``Card``, and its "link". own: how to run it on one's own
    model: "text", "command" (whether ``--model`` is taken), "uses" (public names).
    """
    series, figures = _plots(evidence["series"])
    return render(
        "paper.html.jinja",
        title=card["title"],
        card=card,
        evidence=evidence,
        mark=MARKS[evidence["verdict"]],
        rules=[_rule(name, evidence["rule"][name]) for name in RULES if evidence["rule"][name]["expression"]],
        table=_table(evidence),
        lists=[{"title": title, **listed} for title, listed in evidence["tables"].items()],
        number=_cell,
        series=series,
        figures=figures,
        own=own,
        settings=yaml.safe_dump(evidence["settings"], sort_keys=False, allow_unicode=True),
        environment=yaml.safe_dump(evidence["environment"], sort_keys=False),
        seconds=seconds_text(evidence["seconds"]),
        footer=f"Made by seqmem reproduce {evidence['slug']} --budget {evidence['budget']}.",
    )


def index_page(rows: Sequence[Mapping[str, Any]]) -> str:
    """The list of papers whose pages lie beside it. rows: the fields of ``Card``, and "evidence", None where the page
    is of an earlier run."""
    told = [row["evidence"]["verdict"] for row in rows if row["evidence"]]
    counts = ", ".join(f"{told.count(verdict)} {verdict}" for verdict in MARKS if verdict in told)
    described = [
        {
            **row,
            "verdict": row["evidence"]["verdict"] if row["evidence"] else "see its page",
            "mark": MARKS[row["evidence"]["verdict"]] if row["evidence"] else "",
            "seconds": seconds_text(row["evidence"]["seconds"]) if row["evidence"] else "",
        }
        for row in rows
    ]
    count = f"{len(told)} paper{'s' if len(told) != 1 else ''}"
    return render(
        "papers.html.jinja",
        title="Papers, checked",
        lead=f"{count} in this run: {counts}." if told else "No paper was finished in this run.",
        rows=described,
        footer="Made by seqmem reproduce. A verdict follows from the figures by a rule written before the run.",
    )


def seconds_text(seconds: float) -> str:
    """``0.4 s``, ``95 s``, ``12 min``."""
    if seconds >= 180:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.0f} s" if seconds >= 9.5 else f"{seconds:.1f} s"


def _rule(name: str, rule: Mapping[str, Any]) -> dict[str, Any]:
    return {"title": RULES[name], **rule}


def _table(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Every figure with its interval and its value for each seed."""
    count = max((len(figure["values"]) for figure in evidence["figures"]), default=0)
    shown = min(count, SEEDS_SHOWN)
    rows = [
        {
            "what": figure["what"],
            "name": figure["name"],
            "unit": figure["unit"],
            "mean": _number(figure["mean"]),
            "interval": interval_text(figure["low"], figure["high"]),
            "values": [_number(value) for value in figure["values"][:shown]] + [""] * (shown - len(figure["values"])),
        }
        for figure in evidence["figures"]
    ]
    left_out = f" The first {shown} of {count} seeds are shown." if count > shown else ""
    several = "The interval is the 95 % bootstrap interval of the mean over seeds." if count > 1 else ""
    return {"seeds": range(shown if count > 1 else 0), "rows": rows, "note": f"{several}{left_out}"}


def _cell(value: Any) -> str:
    return short_number(value) if isinstance(value, float) else "–" if value is None else str(value)


def _number(value: float | None) -> str:
    return "–" if value is None else short_number(value)


def _plots(series: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The lines for the legend, and a figure per group: a label "group: line" puts the line into that group's."""
    groups: dict[str, dict[Series, list[Run]]] = {}
    kinds: dict[str, Series] = {}
    for label, runs in series.items():
        group, _, line = label.rpartition(": ")
        kind = kinds.setdefault(line, Series(line, len(kinds)))
        groups.setdefault(group or "Measured", {})[kind] = [(_finite(run["x"]), _finite(run["y"])) for run in runs]
    figures = [
        {
            "title": title,
            "svg": lines(content, title=title),
            "keys": [{"label": kind.label, "css": kind.slot % len(LIGHT)} for kind in content],
        }
        for title, content in groups.items()
    ]
    return [{"label": kind.label, "css": kind.slot % len(LIGHT)} for kind in kinds.values()], figures


def _finite(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else float(value) for value in values]
