"""The examples of the pages under docs/ run, as a user would paste them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = (
    "cloze.md",
    "cognition.md",
    "continual.md",
    "decoding.md",
    "eval.md",
    "fact-world.md",
    "interp.md",
    "knowledge-conflicts.md",
    "pretrained.md",
    "string-tasks.md",
    "temporal-grounding.md",
)
EXAMPLES = {
    f"{page}, {n}": code
    for page in PAGES
    for n, code in enumerate(re.findall(r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL))
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_it_runs(example: str) -> None:
    exec(compile(EXAMPLES[example], f"docs/{example}", "exec"), {})


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_what_it_links_to_exists(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (DOCS / page).read_text("utf-8")):
        assert target.startswith("http") or (DOCS / target).exists(), target
