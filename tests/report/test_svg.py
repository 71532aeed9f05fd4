"""Figures as SVG that follows the page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from seqmem.report import plots
from seqmem.report.plots import Point, Series
from tests.report.studies import HOSTILE

NAME = HOSTILE.rpartition(":")[2]
ONE, OTHER = Series(NAME, 0), Series("other", 13, grows=True)
LINES = {
    ONE: [Point(32, 0.9, 0.02, f"{NAME} at 32: 0.900"), Point(128, 0.5, None, "at 128")],
    OTHER: [Point(32, 0.4, None, "other at 32")],
}


def figures() -> dict[str, str]:
    return {
        "against": plots.against(
            LINES, title="one: accuracy against length", x_label="length", metric="accuracy", chance=0.1, trained_at=32
        ),
        "bits": plots.against(LINES, title="bits", x_label="length", metric="bits_per_byte", chance=4.5),
        "state": plots.score_against_state(LINES, title="state", metric="accuracy", chance=0.1),
        "curves": plots.curves({ONE: [[(0, 0.1), (10, 0.5)], []], OTHER: []}, title="curves", metric="accuracy"),
        "bars": plots.bars(
            [(s, points[0]) for s, points in LINES.items()], title="bars", x_label="µs", lower_is_better=True
        ),
    }


def texts_of(svg: str) -> list[tuple[str, float]]:
    """Every text in a figure with its height in it, from above."""
    found = []
    for e in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):
        moved = re.search(r"translate\(\S+ (\S+)\)", e.get("transform", ""))
        found.append(("".join(e.itertext()).strip(), float(moved[1] if moved else e.get("y", "nan"))))
    return found


@pytest.fixture(scope="module")
def drawn() -> dict[str, str]:
    return figures()


def test_well_formed_and_without_a_size_of_its_own(drawn: dict[str, str]) -> None:
    for text in drawn.values():
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "viewBox" in root.attrib
        assert not {"width", "height"} & root.attrib.keys()
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-label"]


def test_every_colour_is_a_variable_of_the_page(drawn: dict[str, str]) -> None:
    for name, text in drawn.items():
        assert set(re.findall(r"#[0-9a-fA-F]{6}\b", text)) <= {"#000000"}, name  # the default of shapes not painted
        assert "var(--s0)" in text
        assert {int(slot) for slot in re.findall(r"var\(--s(\d+)\)", text)} <= {0, 1}  # 13 starts again at 1
        assert "var(--ink)" in text


def test_names_and_tooltips_are_escaped_once(drawn: dict[str, str]) -> None:
    for text in drawn.values():
        assert "<script" not in text
    root = ElementTree.fromstring(drawn["against"])
    tips = [e for e in root.iter() if "tip" in e.get("class", "").split()]
    assert [(tip.get("data-series"), tip[0].text) for tip in tips] == [
        (NAME, f"{NAME} at 32: 0.900"),
        (NAME, "at 128"),
        ("other", "other at 32"),
    ]
    assert all(tip[0].tag.endswith("title") for tip in tips)


def test_a_name_is_shown_as_it_is_written(drawn: dict[str, str]) -> None:
    assert NAME in [text for text, _ in texts_of(drawn["bars"])]  # "$" does not begin mathematics


def test_ids_are_unique_across_the_figures_of_a_page() -> None:
    titles = [f"{task}: accuracy against pairs, test length {n}" for task in ("mqar", "Mqar") for n in (32, 128)]
    texts = [plots.against(LINES, title=title, x_label="pairs", metric="accuracy") for title in titles]
    ids = [re.findall(r'\bid="([^"]+)"', text) for text in texts]
    together = [one for of_figure in ids for one in of_figure]
    assert len(together) == len(set(together))
    for text, known in zip(texts, ids, strict=True):
        used = re.findall(r'href="#([^"]+)"', text) + re.findall(r"url\(#([^)]+)\)", text)
        assert used
        assert set(used) <= set(known)


def test_the_same_figure_twice_is_the_same_text(drawn: dict[str, str]) -> None:
    assert figures() == drawn


def test_bars_put_the_best_on_top() -> None:
    values = [(Series(name, k), Point(0, y, None, name)) for k, (name, y) in enumerate([("slow", 3.0), ("fast", 1.0)])]
    for lower, order in ((True, ["fast", "slow"]), (False, ["slow", "fast"])):
        text = plots.bars(values, title="t", x_label="x", lower_is_better=lower)
        heights = {name: y for name, y in texts_of(text) if name in order}
        assert sorted(heights, key=heights.__getitem__) == order
