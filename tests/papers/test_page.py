"""Pages of papers in Chromium, without JavaScript: they say nothing, ask for nothing, and fit the window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seqmem.papers.card import card_of
from seqmem.papers.results import published
from seqmem.report.lines import lines
from seqmem.report.paper_page import index_page, paper_page, seconds_text
from seqmem.report.plots import Series

OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
SMALL = """() => [...document.querySelectorAll("figure svg")].filter(svg => {
  const r = svg.getBoundingClientRect(); return r.width < 100 || r.height < 50;
}).length"""


def evidence(**changes: Any) -> dict[str, Any]:
    """The published run of the Lag system with what it leaves out, and with ``changes``."""
    missing = {"setup": "S", "baseline": "B", "control": "C", "limits": "L", "problems": [], "model": None}
    missing["tables"] = {}
    return {**published()["lag-system"], **missing, **changes}


def pages() -> dict[str, str]:
    card = {**card_of("lag-system").model_dump(), "link": "https://arxiv.org/abs/2410.03170"}
    own = {"text": "x = 1\n" * 3, "command": True, "uses": ["seqmem.theory.a_long_name_" + "x" * 40]}
    values = [None, *map(float, range(30))]
    figure = {
        "name": "n" * 60,
        "what": "w " * 40,
        "unit": "u",
        "mean": None,
        "low": None,
        "high": None,
        "values": values,
    }
    hostile = evidence(
        verdict="failed",
        model="/a/very/long/path" * 10,
        figures=[{**figure, "values": values}],
        series={f'A "b" <i> & c against x: {i}': [{"seed": 0, "x": [1, 2], "y": [None, i]}] for i in range(15)},
        notes=["<script>alert(1)</script>"],
        tables={"A <b> list": {"columns": ["name", "x" * 60], "rows": [["<i>", 0.123456], ["w " * 90, None]]}},
        problems=[{"part": "p", "seed": 1, "detail": "x" * 300, "bad_input": False}],
    )
    rows = [{**card, "evidence": evidence()}, {**card, "slug": "b", "evidence": None}, {**card, "evidence": hostile}]
    return {
        "plain": paper_page(evidence(), card, own),
        "hostile": paper_page(hostile, card, own),
        "index": index_page(rows),
        "empty": index_page([]),
    }


def test_they_open_quietly_and_fit(browser: Any, tmp_path: Path) -> None:
    for name, text in pages().items():
        path = tmp_path / f"{name}.html"
        path.write_text(text, encoding="utf-8")
        for width, scheme in ((1280, "light"), (420, "dark")):
            context = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=False
            )
            page, trouble = context.new_page(), []
            page.on("console", lambda message, trouble=trouble: trouble.append(message.text))
            page.on("pageerror", lambda error, trouble=trouble: trouble.append(str(error)))
            page.on("dialog", lambda dialog, trouble=trouble: (trouble.append(dialog.message), dialog.dismiss()))
            page.on("request", lambda r, trouble=trouble: r.url.startswith(("file:", "data:")) or trouble.append(r.url))
            page.goto(path.as_uri())
            page.evaluate('() => document.querySelectorAll("details").forEach(d => d.open = true)')
            assert page.evaluate(OVERFLOW) <= 0, name
            assert page.evaluate(SMALL) == 0, name
            assert trouble == [], name
            context.close()


def test_what_a_page_says() -> None:
    text = pages()["plain"]
    for word in (
        "holds",
        "growth_one",
        "up to two a step",
        "107 = 107",
        "busy-beaver-4",
        "seed 2",
        "symbols in the queue",
    ):
        assert word in text, word
    assert "<b>failed</b>" in pages()["hostile"]
    assert "alert(1)</script>" not in pages()["hostile"]
    assert "see its page" in pages()["index"]


def test_axes() -> None:
    powers = {Series("s", 0): [([1, 2, 4, 8, 16], [1, 0.1, 0.01, 0.001, 0.0001])]}
    even = {Series("s", 0): [([1, 2, 3, 4, 5, 20], [1, 2, 3, 4, 5, float("nan")]), ([2, 3], [1, 1])]}
    assert "error" in lines(powers, title="error against width")
    assert lines(even, title="T").count('class="series"') == 2  # the seeds differ in x: no mean line
    assert lines({Series("s", 0): [([1], [1])]}, title="one point")


@pytest.mark.parametrize(("seconds", "text"), [(0.44, "0.4 s"), (9.4, "9.4 s"), (95, "95 s"), (720, "12 min")])
def test_seconds(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text
