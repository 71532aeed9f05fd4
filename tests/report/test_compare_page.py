"""The page as text: what it holds, that nothing breaks it, that it needs nothing beside itself."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import pytest

from seqmem.training.schema import Result
from tests.report.studies import HOSTILE, STUDIES, page, page_of, record


class Page(HTMLParser):
    """Every element with its attributes, the tables as rows of cells, and the text that is shown."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.tables: list[list[list[tuple[str, bool]]]] = []  # cells: text, and whether they are marked
        self.shown = ""
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {key: value or "" for key, value in attrs}
        self.elements.append((tag, attributes))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append(("", "best" in attributes.get("class", "").split()))
        if tag in ("td", "th", "style", "script"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if self._inside and self._inside[-1] in ("td", "th"):
            text, marked = self.tables[-1][-1][-1]
            self.tables[-1][-1][-1] = (text + data, marked)
        if not self._inside or self._inside[-1] not in ("style", "script"):
            self.shown += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {name: page(name) for name in STUDIES}


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_a_page_and_no_figure_is_empty(name: str, pages: dict[str, str]) -> None:
    text = pages[name]
    assert text.startswith("<!doctype html>")
    figures = re.findall(r"<figure.*?</figure>", text, flags=re.DOTALL)
    assert all(figure.count("<svg ") == 1 for figure in figures)
    assert "nan" not in re.sub(r"the loss is nan", "", Page(text).shown).lower().split()


def test_nothing_outside_the_page_is_asked_for(pages: dict[str, str]) -> None:
    for text in pages.values():
        assert "@import" not in text
        assert not re.search(r"url\(\s*['\"]?(?!#|data:)", text)
        for tag, attributes in Page(text).elements:
            for key in ("src", "href", "xlink:href", "srcset", "action"):
                assert attributes.get(key, "#").startswith(("#", "data:")), (tag, attributes)


def test_ids_are_unique(pages: dict[str, str]) -> None:
    for text in pages.values():
        ids = [attributes["id"] for _, attributes in Page(text).elements if "id" in attributes]
        assert len(ids) == len(set(ids))


def test_hostile_names_are_text(pages: dict[str, str]) -> None:
    found = Page(pages["wide"])
    assert len(found.all("script")) == 1  # the page's own
    name = HOSTILE.rpartition(":")[2]
    chips = [chip["data-series"] for chip in found.all("button")]
    assert f"{name} · 16" in chips
    assert name in html.unescape(found.shown)


def test_what_an_example_or_a_setting_holds_is_text() -> None:
    path = "</pre><img src=x onerror=alert(1)>"
    text = page_of([record("lstm", 0.5, task_options={"path": path})], note=path)
    assert not Page(text).all("img")


def test_every_name_that_can_be_highlighted_has_a_chip(pages: dict[str, str]) -> None:
    for text in pages.values():
        found = Page(text)
        chips = {chip["data-series"] for chip in found.all("button")}
        assert chips
        assert {attributes["data-series"] for _, attributes in found.elements if "data-series" in attributes} <= chips


def test_mixers_of_one_name_and_different_options_keep_their_own_rows() -> None:
    results = [record("local_attention", 0.1 * w, mixer_options={"window": w}) for w in (2, 4)]
    found = Page(page_of(results))
    chips = [chip["data-series"] for chip in found.all("button")]
    assert chips == ["local_attention(window=2)", "local_attention(window=4)"]
    rows = [row["data-series"] for row in found.all("tr") if "data-series" in row]
    assert rows.count(chips[0]) == 2  # in the table and among the experiments


def test_the_table_marks_the_best(pages: dict[str, str]) -> None:
    head, *rows = Page(pages["plain"]).tables[0]
    titles = [text for text, _ in head]
    marked = [[row[0][0] for row in rows if row[k][1]] for k in range(len(titles))]
    assert marked == [
        [], [], ["lstm"], ["attention"], ["mamba"], ["lstm"], ["mamba"],
    ], titles  # fmt: skip
    recall = next(k for k, title in enumerate(titles) if "recall" in title)
    assert rows[0][recall][0].split() == ["0.980", "±", "0.025"]


def test_the_grid_of_rates_and_the_chosen_one(pages: dict[str, str]) -> None:
    assert "Learning rates" not in pages["plain"]  # one rate each
    grid = next(table for table in Page(pages["wide"]).tables if table[0][-1][0].strip() == "0.1")
    assert [text for text, _ in grid[0][1:]] == ["0.001", "0.003", "0.1"]
    assert len(grid) == 1 + 3 * 2
    for row in grid[1:]:
        assert [best for _, best in row[1:]] == [False, True, False]  # 0.1 is best on one seed and lost the other
        assert "(1 lost)" in row[3][0]
        assert row[2][0].startswith("0.750")
    assert any(row[0][0] == "MyLayer · 32, mqar" for row in grid)


def test_one_rate_per_task_is_no_grid() -> None:
    assert "Learning rates" not in page_of(
        [record("lstm", 0.5, learning_rate=1e-3), record("lstm", 2.0, "bytes", learning_rate=1e-2)]
    )


def test_problems_are_named(pages: dict[str, str]) -> None:
    notes = re.findall(r'<p class="note">(.*?)</p>', pages["one of two diverged"])
    assert len(notes) == 1
    for words in ("gru", "mqar", "diverged", "the loss is nan from step 7 on"):
        assert words in notes[0]
    assert "1 of 2 experiments finished" in pages["one of two diverged"]
    both = re.findall(r'<p class="note">(.*?)</p>', pages["lost"])
    told = [("attention" in note, "RuntimeError: &lt;b&gt;no&lt;/b&gt;" in note) for note in both]
    assert told == [(True, False), (False, True)]
    assert not re.findall(r'<p class="note">', pages["plain"])
    widths = re.findall(r'<p class="note">(.*?)</p>', pages["wide"])
    assert len(widths) == len(set(widths)) == 6  # which width it was is told


def test_tasks_of_several_lengths_are_told_apart() -> None:
    results: list[Result] = [record("lstm", 0.5, task_options={"length": n}) for n in (32, 64)]
    shown = Page(page_of(results)).shown
    assert "mqar(length=32)" in shown
    assert "mqar(length=64)" in shown
