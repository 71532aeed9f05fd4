"""A study's figures beside those that others published: the points to draw, the table, and how far apart they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from seqmem.report.format import bytes_text
from seqmem.report.plots import Point

FACTOR = 8.0  # states that differ in size by more are not set against each other
CLOSE = 0.1  # a difference in score up to which two figures are called alike


class Pair(NamedTuple):
    """A published figure and the study's nearest: of the same mixer, at the state size nearest to it by ratio, None
    where that is more than FACTOR away."""

    mixer: str
    published: float
    at_bytes: float | None
    ours: float | None
    ours_bytes: float | None

    @property
    def difference(self) -> float | None:
        """Ours minus theirs."""
        return None if self.ours is None else self.ours - self.published


def points(entry: Mapping[str, Any]) -> dict[str, list[Point]]:
    """Mixer -> its published points on the figure of score against state bytes."""
    return {
        mixer: [Point(size, score, None, f"{mixer}, published, {bytes_text(size)}: {score:.2f}") for size, score in of]
        for mixer, of in entry["figures"].items()
        if not isinstance(of, (int, float))
    }


def pairs(entry: Mapping[str, Any], summary: Mapping[str, Any]) -> list[Pair]:
    """One per published figure, in the order given."""
    task = next(task for task in summary["tasks"] if task["name"] == entry["task"])
    cells: dict[str, list[tuple[float | None, float]]] = {}  # mixer -> (state bytes, score) at every width
    for cell in summary["cells"]:
        score = _score(cell, task, entry["at"], entry["scaled"]) if cell["task"] == entry["task"] else None
        if score is not None:
            held = cell["state_bytes"]["mean"] if cell["state_bytes"] else None
            cells.setdefault(cell["mixer"], []).append((held, score))
    found = []
    for mixer, of in entry["figures"].items():
        for size, score in [(None, of)] if isinstance(of, (int, float)) else of:
            size_ours, ours = _nearest(cells.get(mixer, []), size)
            found.append(Pair(mixer, score, size, ours, size_ours))
    return found


def _nearest(cells: Sequence[tuple[float | None, float]], size: float | None) -> tuple[float | None, float | None]:
    """The (state bytes, score) nearest in size, if any is within FACTOR of it; without a size the best score."""
    if not cells:
        return None, None
    sized = [(held, score) for held, score in cells if held]
    if size is None or not sized:
        return max(cells, key=lambda cell: cell[1])
    held, score = min(sized, key=lambda cell: abs(math.log(cell[0] / size)))
    return (held, score) if abs(math.log(held / size)) <= math.log(FACTOR) else (None, None)


def _score(cell: Mapping[str, Any], task: Mapping[str, Any], at: str, scaled: bool) -> float | None:
    lengths = task["test_lengths"][:1] if at == "training" else task["test_lengths"][1:]
    scores = [stat["mean"] for length in lengths if (stat := cell["test"].get(length, {}).get("all"))]
    if not scores:
        return None
    return (fmean(scores) - task["chance"]) / (1 - task["chance"]) if scaled else fmean(scores)


def table(entry: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    """Title, columns, rows of text, and the sentences above them."""
    found = pairs(entry, summary)
    sized = any(pair.at_bytes is not None for pair in found)
    rows = []
    for pair in found:
        theirs, ours = f"{pair.published:.2f}", "–" if pair.ours is None else f"{pair.ours:.2f}"
        if sized:
            theirs = f"{theirs} at {bytes_text(pair.at_bytes)}" if pair.at_bytes else theirs
            ours = f"{ours} at {bytes_text(pair.ours_bytes)}" if pair.ours_bytes else ours
        apart = "–" if pair.difference is None else f"{pair.difference:+.2f}"
        rows.append([pair.mixer, theirs, ours, apart])
    return {
        "title": entry["task"],
        "source": entry["source"],
        "setting": entry["setting"],
        "what": _what(entry, summary),
        "finding": finding(found),
        "columns": ["mixer", "published", "here", "difference"],
        "rows": rows,
    }


def _what(entry: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    task = next(task for task in summary["tasks"] if task["name"] == entry["task"])
    lengths = task["test_lengths"]
    where = (
        f"at the training length, {lengths[0]}"
        if entry["at"] == "training"
        else f"the mean over the test lengths beyond the training length, {', '.join(lengths[1:])}"
    )
    scaled = "accuracy scaled so that chance is 0 and all right is 1" if entry["scaled"] else "accuracy"
    return f"Here: {scaled}, {where}."


def finding(found: Sequence[Pair]) -> str:
    """How many are alike, and which is furthest apart."""
    known = [pair for pair in found if pair.difference is not None]
    if not known:
        return "None of these mixers is in the study with a state of like size."
    alike = sum(abs(pair.difference or 0.0) <= CLOSE for pair in known)
    far = max(known, key=lambda pair: abs(pair.difference or 0.0))
    text = f"{alike} of {len(known)} figures lie within {CLOSE:g} of the published ones"
    if alike < len(known):
        text += f"; {far.mixer} is furthest off, {far.ours:.2f} instead of {far.published:.2f}"
    return text + "."
