"""The committed results of the laptop budget: ``docs/papers/SLUG.json``, which the wheel carries along."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from seqmem.papers.card import cards
from seqmem.papers.evidence import Evidence
from seqmem.training.files import to_json, write_text

POINTS = 200  # of each line of a series, at most
BEGIN, END = "<!-- papers:begin -->", "<!-- papers:end -->"
KEPT = (
    "slug", "title", "budget", "verdict", "meaning", "rule", "figures", "series", "notes", "seeds", "seconds",
    "settings", "environment",
)  # fmt: skip


def folder() -> Path | None:
    """Where the results are: ``docs/papers`` of a checkout, else the copy in the installed package; None without."""
    checkout = Path(__file__).parents[3] / "docs" / "papers"
    if checkout.is_dir():
        return checkout
    packed = Path(str(resources.files("seqmem.papers") / "published"))
    return packed if packed.is_dir() else None


@functools.cache
def published() -> dict[str, dict[str, Any]]:
    """Every committed result by its slug; the fields are those of :class:`~seqmem.papers.evidence.Evidence`."""
    home = folder()
    files = sorted(home.glob("*.json")) if home is not None else []
    return {file.stem: json.loads(file.read_text("utf-8")) for file in files}


def write(evidence: Evidence, home: Path) -> Path:
    """Put the result into ``home``, its lines thinned out."""
    found = {name: value for name, value in evidence.as_dict().items() if name in KEPT}
    found["series"] = {
        label: [{**line, "x": thin(line["x"]), "y": thin(line["y"])} for line in lines]
        for label, lines in found["series"].items()
    }
    found["seconds"] = round(found["seconds"], 1)
    path = home / f"{evidence.slug}.json"
    write_text(path, to_json(_rounded(found), indent=1) + "\n")
    return path


def thin(values: list[Any]) -> list[Any]:
    """At most POINTS of them, evenly spread, the first and the last among them."""
    if len(values) <= POINTS:
        return values
    return [values[round(i * (len(values) - 1) / (POINTS - 1))] for i in range(POINTS)]


def _rounded(value: Any) -> Any:
    """Eight digits are enough, and keep the files small."""
    if isinstance(value, float):
        return float(f"{value:.8g}")
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, (list, tuple)) else value


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The README's table of papers, as Markdown."""
    known = cards()
    rows = sorted((card for slug, card in known.items() if slug in results), key=lambda card: (card.room, card.n))
    lines = ["| paper | room | verdict | seeds | seconds |", "| --- | --- | --- | --- | --- |"]
    for card in rows:
        result = results[card.slug]
        title = f"[{card.title}]({card.link})" if card.link else card.title
        cells = (f"`{card.slug}`: {title} ({card.year})", card.room, result["verdict"], result["seeds"])
        lines.append(f"| {' | '.join(map(str, cells))} | {result['seconds']:,.0f} |")
    return "\n".join(lines) + "\n"


def with_table(readme: str, results: Mapping[str, Mapping[str, Any]]) -> str:
    """The README with its table of papers replaced. Raises ValueError when the two markers are not there."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise ValueError(f"the README needs one {BEGIN} and one {END}")
    before, _, rest = readme.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table(results)}\n{END}{rest.partition(END)[2]}"
