"""Every paper that is built runs at the smoke budget, and shows it on a page."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from seqmem.papers import MODULES, check, load
from seqmem.papers.command import write_page
from seqmem.papers.part import source_of
from seqmem.training.store import Store

LONG = ("induction-heads", "cmr-heads", "implicit-attention", "state-collapse", "just-read-twice")  # over 10 s each


@pytest.mark.parametrize(
    "slug", [pytest.param(slug, marks=[pytest.mark.thorough] if slug in LONG else []) for slug in MODULES]
)
def test_it_runs(slug: str, tmp_path: Path) -> None:
    built = load(slug)
    assert built.paper.slug == slug
    assert source_of(built.module, built.paper.uses)
    found = check(slug, "smoke", store=Store(tmp_path / "store"))
    assert found.problems == []
    assert found.meaning.startswith("smoke")
    measured = [any(math.isfinite(v) for v in figure["values"] if v is not None) for figure in found.figures]
    assert all(measured) or (built.paper.takes_model and any(measured))  # random weights may have nothing to lose
    page = write_page(found, tmp_path).read_text()
    assert page.count("<figure") == len({label.rpartition(": ")[0] for label in found.series})


def test_the_paper_of_the_documentation(diary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/papers.md shows a complete module: it is one, and it holds."""
    from seqmem.papers.card import Card, cards

    text = (Path(__file__).parents[2] / "docs" / "papers.md").read_text("utf-8")
    (module,) = [code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "PAPER" in code]
    (tmp_path / "my_documented_paper.py").write_text(module)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(MODULES, "my-paper", "my_documented_paper")
    card = Card(n=9_997, slug="my-paper", title="Mine", year=2024, room="theory", claim="C", seen="S")
    monkeypatch.setitem(cards(), "my-paper", card)
    assert check("my-paper").verdict == "holds"
