"""The tasks of docs/tasks.md, as a user would save them, in ``seqmem compare`` and ``seqmem eval``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import torch

from seqmem.cli import main
from seqmem.models import SequenceConfig, build
from seqmem.tasks import get_task
from seqmem.training.expand import expand
from seqmem.training.study import make_study

DOC = (Path(__file__).parents[1] / "docs" / "tasks.md").read_text("utf-8")
IN_TEXT, IN_TOKENS, *OTHERS = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)
STUDY = """mixers: [min_gru]
tasks: {"own_task:Birthdays": {length: 160, test_lengths: [160]}, "own_task:First": {length: 8}}
widths: 8
steps: 3
seeds: 1
budget: smoke
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_task.py").write_text(IN_TEXT + IN_TOKENS)
    (tmp_path / "study.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    sys.modules.pop("own_task", None)
    return tmp_path


@pytest.mark.parametrize("example", OTHERS)
def test_the_other_examples_of_the_page(example: str) -> None:
    exec(compile(example, "docs/tasks.md", "exec"), {})


def test_they_have_20_lines() -> None:
    for code in (IN_TEXT, IN_TOKENS):
        lines = [line for line in code.splitlines() if line.strip() and not line.startswith(("from", "import"))]
        assert len(lines) <= 20


def test_compare_takes_them(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", "study.yaml", "--out", "out", "--store", "store", "--workers", "0"]
    assert main(words) == 0
    table = capsys.readouterr().out
    assert "own_task:Birthdays accuracy" in table
    assert "own_task:First accuracy" in table
    results = [json.loads(line) for line in (here / "out" / "results.jsonl").read_text("utf-8").splitlines()]
    assert {r["task"]: r["metrics"]["chance"] for r in results} == {
        "own_task:Birthdays": get_task("own_task:Birthdays").chance,
        "own_task:First": 1 / 16,
    }
    page = (here / "out" / "report.html").read_text("utf-8")
    assert "Who was born in which month?" in page
    assert "Which symbol came first?" in page


def test_eval_takes_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(SequenceConfig(256, 8, layers=["min_gru"])).save_pretrained(here / "model")
    words = [
        "eval",
        "model",
        "--tasks",
        "needle,own_task:Birthdays",
        "--lengths",
        "200,400",
        "--samples",
        "1",
        "--json",
    ]
    assert main(words) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["tasks"][1]["summary"] == "Who was born in which month?"
    assert result["tasks"][1]["chance"] == 1 / 8
    assert [cell["task"] for cell in result["cells"]] == ["needle", "own_task:Birthdays"] * 2
    assert "own_task:Birthdays" in (here / "seqmem-eval" / "eval.html").read_text("utf-8")
    assert main(["eval", "model", "--tasks", "own_task:First"]) == 2
    assert "task 'own_task:First' is not in text" in capsys.readouterr().err


def test_lengths_of_a_study_are_theirs_too(here: Path) -> None:
    study = make_study(mixers="lstm", tasks="own_task:First", lengths="8,16", seeds=1, budget="smoke")
    assert [e.task_options["length"] for e in expand(study)] == [8, 16]


def test_an_edited_task_is_another_experiment(here: Path) -> None:
    study = make_study(mixers="lstm", tasks="own_task:First,parity", seeds=1, budget="smoke")
    mine, parity = expand(study)
    (here / "own_task.py").write_text(IN_TOKENS + "\n# edited\n")
    again, same = expand(study)
    assert mine.data != again.data
    assert mine.hash != again.hash
    assert parity.data is None
    assert parity.hash == same.hash


def test_text_as_the_page_says(here: Path) -> None:
    task = get_task("own_task:Birthdays", people=2)
    text, question = task.example(torch.Generator().manual_seed(0)).split("\n")
    assert re.fullmatch(r"\.\.\. \w+ was born in \w+\. \.\.\. \w+ was born in \w+\. \.\.\.", text)
    name, month = re.fullmatch(r"(\w+) was born in -> (\w+)", question).groups()  # type: ignore[union-attr]
    assert f"{name} was born in {month}." in text
