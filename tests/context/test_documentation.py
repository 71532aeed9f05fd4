"""The examples of docs/context.md run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

EXAMPLES = re.findall(
    r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs" / "context.md").read_text("utf-8"), re.DOTALL
)


@pytest.mark.parametrize("number", range(2))
def test_the_examples_run(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(EXAMPLES) == 2
    exec(compile(EXAMPLES[number], f"docs/context.md, example {number}", "exec"), {})
    assert capsys.readouterr().out.strip()
