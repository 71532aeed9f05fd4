"""What a check found: figures with their intervals, and the verdict that follows from them by the paper's rule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from seqmem.papers.card import Card
from seqmem.papers.paper import Figure, Paper
from seqmem.papers.part import Part, PartRecord
from seqmem.papers.rule import evaluate, interval

VERDICTS = ("holds", "holds in part", "does not hold here", "invalid", "failed")
RULES = ("control", "holds", "in_part")  # in the order in which they decide


@dataclass(frozen=True)
class Evidence:
    """One paper, checked. Plain data: ``as_dict()`` is what ``seqmem reproduce --json`` prints.

    verdict: one of VERDICTS. meaning: what the verdict means, in a sentence. rule: name -> {"expression", "value",
    "clauses": [{"text", "numbers", "value"}]}. figures: {"name", "what", "unit", "mean", "low", "high", "values"};
    values are by seed, low and high the 95 % bootstrap interval of the mean, None with fewer than two values. series:
    label -> [{"seed", "x", "y"}]. tables: title -> {"columns", "rows"}, of the first seed that has one. problems:
    {"part", "seed", "detail", "bad_input"} of each part that failed.
    """

    slug: str
    title: str
    budget: str
    verdict: str
    meaning: str
    rule: dict[str, dict[str, Any]]
    figures: list[dict[str, Any]]
    setup: str
    baseline: str
    control: str
    limits: str
    series: dict[str, list[dict[str, Any]]]
    notes: list[str]
    tables: dict[str, Any]
    problems: list[dict[str, Any]]
    seeds: int
    seconds: float
    settings: dict[str, Any]
    model: str | None
    environment: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The fields, in order."""
        return asdict(self)


def gather(paper: Paper, card: Card, budget: str, parts: Sequence[Part], records: Mapping[str, PartRecord]) -> Evidence:
    """The evidence from the records (by hash) of all the parts of one paper."""
    problems = [
        {
            "part": part.part,
            "seed": part.seed,
            "detail": records[part.hash]["status_detail"],
            "bad_input": records[part.hash]["bad_input"],
        }
        for part in parts
        if records[part.hash]["status"] == "failed"
    ]
    values: dict[str, list[float]] = {}
    series: dict[str, list[dict[str, Any]]] = {}
    notes: list[str] = []
    tables: dict[str, Any] = {}
    for part in parts:
        record = records[part.hash]
        for name, value in record["figures"].items():
            values.setdefault(name, []).append(math.nan if value is None else value)
        for label, line in record["series"].items():
            series.setdefault(label, []).append({"seed": part.seed, **line})
        notes += [note for note in record["notes"] if note not in notes]
        tables = {**record.get("tables", {}), **tables}
    problems += [] if problems else _unpaired(paper, parts, values)
    seeds = len({part.seed for part in parts})
    verdict, rule = judge(paper, values) if not problems else ("failed", _unjudged(paper))
    return Evidence(
        slug=paper.slug,
        title=card.title,
        budget=budget,
        verdict=verdict,
        meaning=_meaning(paper, verdict, budget, seeds),
        rule=rule,
        figures=[summary(figure, values.get(figure.name, [])) for figure in paper.figures],
        setup=paper.setup,
        baseline=paper.baseline,
        control=paper.control,
        limits=paper.limits,
        series=series,
        notes=notes,
        tables=tables,
        problems=problems,
        seeds=seeds,
        seconds=sum(record["wall_seconds"] for record in (records[part.hash] for part in parts)),
        settings=dict(paper.settings[budget]),
        model=parts[0].model,
        environment=records[parts[-1].hash]["environment"],
    )


def judge(paper: Paper, values: Mapping[str, Sequence[float]]) -> tuple[str, dict[str, dict[str, Any]]]:
    """The verdict on figures (name -> value of every seed), and how each expression of the rule came out."""
    rule: dict[str, dict[str, Any]] = {}
    for name in RULES:
        expression = getattr(paper.rule, name)
        value, clauses = evaluate(expression, values) if expression else (False, [])
        rule[name] = {"expression": expression, "value": value, "clauses": [asdict(clause) for clause in clauses]}
    if not rule["control"]["value"]:
        return "invalid", rule
    if rule["holds"]["value"]:
        return "holds", rule
    return ("holds in part" if rule["in_part"]["value"] else "does not hold here"), rule


def summary(figure: Figure, values: Sequence[float]) -> dict[str, Any]:
    """A row of the table of figures. What is not finite is None."""
    finite = len(values) > 0 and all(map(math.isfinite, values))
    low, high = interval(values) if finite and len(values) > 1 else (None, None)
    return {
        **asdict(figure),
        "mean": sum(values) / len(values) if finite else None,
        "low": low,
        "high": high,
        "values": [value if math.isfinite(value) else None for value in values],
    }


def _unpaired(paper: Paper, parts: Sequence[Part], values: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """A problem for every figure that was not measured once per seed (once in all, in an exact part)."""
    seeds = len({part.seed for part in parts})
    return [
        {
            "part": "",
            "seed": 0,
            "detail": f"figure '{figure.name}' was measured {found} times, expected once for each of {seeds} seeds",
            "bad_input": False,
        }
        for figure in paper.figures
        if (found := len(values.get(figure.name, ()))) not in {seeds, *([1] if paper.exact else [])}
    ]


def _unjudged(paper: Paper) -> dict[str, dict[str, Any]]:
    return {name: {"expression": getattr(paper.rule, name), "value": None, "clauses": []} for name in RULES}


def _meaning(paper: Paper, verdict: str, budget: str, seeds: int) -> str:
    said = {
        "holds": "the claim was seen in this experiment",
        "holds in part": "a part of the claim was seen in this experiment",
        "does not hold here": "the claim was not seen in this experiment; the limits say what that may be due to",
        "invalid": "the control failed: the instrument found the effect where it cannot be, so nothing follows",
        "failed": "a part of the experiment failed, so there is no verdict",
    }[verdict]
    if budget == "smoke" and verdict != "failed":
        return "smoke: says nothing about the claim, only that the experiment runs"
    if paper.exact is not True and seeds < (paper.seeds or {})["laptop"]:
        return f"{said}; with {seeds} seed{'s' if seeds > 1 else ''} its intervals say little"
    return said
