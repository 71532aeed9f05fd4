"""The committed results say what the modules, and the README, say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seqmem.papers import MODULES, check, load
from seqmem.papers.evidence import RULES, judge
from seqmem.papers.results import POINTS, folder, published, table, thin, with_table, write

README = Path(__file__).parents[2] / "README.md"
AGAIN = "publish it again: python -m seqmem.papers.publish"


@pytest.mark.parametrize("slug", sorted(published()))
def test_a_result_is_of_the_module_as_it_is(slug: str) -> None:
    assert slug in MODULES
    paper, result = load(slug).paper, published()[slug]
    assert (result["slug"], result["budget"]) == (slug, "laptop")
    for name in RULES:
        assert result["rule"][name]["expression"] == getattr(paper.rule, name), AGAIN
    assert [figure["name"] for figure in result["figures"]] == [figure.name for figure in paper.figures], AGAIN
    assert result["settings"] == dict(paper.settings["laptop"]), AGAIN
    assert result["seeds"] == max(len(paper.seeds_of(part, "laptop")) for part in paper.parts), AGAIN


@pytest.mark.parametrize("slug", sorted(published()))
def test_the_verdict_follows_from_the_figures(slug: str) -> None:
    result = published()[slug]
    values = {
        figure["name"]: [float("nan") if value is None else value for value in figure["values"]]
        for figure in result["figures"]
    }
    verdict, rule = judge(load(slug).paper, values)
    assert verdict == result["verdict"]
    assert {name: rule[name]["value"] for name in rule} == {name: result["rule"][name]["value"] for name in rule}
    assert all(len(line["x"]) <= POINTS for lines in result["series"].values() for line in lines)


def test_the_readme_has_the_table() -> None:
    text = README.read_text("utf-8")
    assert with_table(text, published()) == text, "python -m seqmem.papers.publish brings it up to date"
    assert published()


def test_a_result_is_small_and_reads_back(diary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = check("toy")
    write(found, tmp_path)
    monkeypatch.setattr("seqmem.papers.results.folder", lambda: tmp_path)
    published.cache_clear()
    try:
        result: dict[str, Any] = published()["toy"]
    finally:
        monkeypatch.undo()
        published.cache_clear()
    assert result["verdict"] == "holds"
    assert result["figures"][1]["values"] == [0.5, 0.51, 0.52]
    assert "claim" not in result
    assert folder() is not None


def test_thinning_keeps_the_ends() -> None:
    assert thin([1, 2, 3]) == [1, 2, 3]
    kept = thin(list(range(10_001)))
    assert (len(kept), kept[0], kept[-1]) == (POINTS, 0, 10_000)
    assert kept == sorted(set(kept))


def test_the_table_and_its_markers() -> None:
    rows = table({"lag-system": {"verdict": "holds", "seeds": 3, "seconds": 1234.5}}).splitlines()
    assert rows[2].startswith("| `lag-system`: [Autoregressive")
    assert rows[2].endswith("(2024) | theory | holds | 3 | 1,234 |")
    with pytest.raises(ValueError, match="papers:begin"):
        with_table("no markers", {})
