"""The page in Chromium: it says nothing on the console, asks for nothing, fits the window, and its legend works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.report.studies import page

STUDIES = ("plain", "wide", "crowded")

# text of an SVG that leaves its box, by more than a few of its own units
OUTSIDE = """() => [...document.querySelectorAll("figure svg")].flatMap(svg => {
  const box = svg.getBoundingClientRect(), slack = 4 * box.width / svg.viewBox.baseVal.width;
  return [...svg.querySelectorAll("text")].filter(text => {
    const r = text.getBoundingClientRect();
    const beside = r.left < box.left - slack || r.right > box.right + slack;
    return beside || r.top < box.top - slack || r.bottom > box.bottom + slack;
  }).map(text => svg.getAttribute("aria-label") + ": " + text.textContent.trim());
})"""
EMPTY = """() => [...document.querySelectorAll("figure")].filter(figure => {
  const r = figure.querySelector("svg")?.getBoundingClientRect();
  return !r || r.width < 100 || r.height < 50;
}).length"""
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
OPACITY = """name => [...document.querySelectorAll("figure .series")]
  .filter(e => (e.dataset.series === name) === %s).map(e => parseFloat(getComputedStyle(e).opacity))"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name in STUDIES:
        (folder / f"{name}.html").write_text(page(name), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in STUDIES}


def opened(browser: Any, path: Path, width: int, scheme: str) -> tuple[Any, list[str]]:
    """The page, and the list into which whatever it complains of goes."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce")
    trouble: list[str] = []
    page.on("console", lambda m: m.type in ("error", "warning") and trouble.append(f"{m.type}: {m.text}"))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("requestfailed", lambda request: trouble.append(f"failed: {request.url}"))
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or trouble.append(request.url))
    page.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
    page.goto(path.as_uri())
    return page, trouble


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (420, "dark")])
def test_it_opens_quietly_and_fits(browser: Any, files: dict[str, Path], name: str, width: int, scheme: str) -> None:
    page, trouble = opened(browser, files[name], width, scheme)
    page.evaluate('() => document.querySelectorAll("details").forEach(d => d.open = true)')
    assert page.evaluate("() => document.querySelectorAll('figure').length") >= 5
    assert page.evaluate(EMPTY) == 0
    assert page.evaluate(OVERFLOW) <= 0
    assert page.evaluate(OUTSIDE) == []
    assert trouble == []
    page.close()


def test_dark_and_light_differ_in_paper_and_ink(browser: Any, files: dict[str, Path]) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        page, _ = opened(browser, files["plain"], 1280, scheme)
        paper = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        label = page.evaluate('() => getComputedStyle(document.querySelector("figure svg text")).fill')
        seen[scheme] = [sum(map(int, colour[4:-1].split(","))) for colour in (paper, label)]
        page.close()
    assert seen["light"][0] > 600 > 300 > seen["light"][1]
    assert seen["dark"][0] < 300 < 600 < seen["dark"][1]


def test_the_legend_dims_the_others(browser: Any, files: dict[str, Path]) -> None:
    page, trouble = opened(browser, files["plain"], 1280, "light")
    page.add_style_tag(content="* { transition: none !important }")
    chip = page.locator('.chip[data-series="mamba"]')

    def dimmed() -> tuple[bool, bool]:
        own, others = (page.evaluate(OPACITY % want, "mamba") for want in ("true", "false"))
        assert own
        assert others
        return max(own) < 0.5, max(others) < 0.5

    assert dimmed() == (False, False)
    chip.hover()
    assert "focus" in (page.get_attribute("body", "class") or "").split()
    assert dimmed() == (False, True)
    page.mouse.move(5, 5)
    assert dimmed() == (False, False)
    chip.click()
    page.mouse.move(5, 5)
    page.evaluate("() => document.activeElement.blur()")
    assert chip.get_attribute("aria-pressed") == "true"
    assert dimmed() == (False, True)  # a click stays
    chip.click()
    page.mouse.move(5, 5)
    page.evaluate("() => document.activeElement.blur()")
    assert chip.get_attribute("aria-pressed") == "false"
    assert dimmed() == (False, False)
    assert trouble == []
    page.close()


def test_the_chips_work_for_hostile_names(browser: Any, files: dict[str, Path]) -> None:
    page, trouble = opened(browser, files["wide"], 1280, "light")
    for chip in page.locator(".chip").all():
        chip.click()
        assert page.evaluate('() => document.querySelectorAll("figure .series.on").length') > 0
        chip.click()
    assert trouble == []
    page.close()
