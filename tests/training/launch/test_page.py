"""What docs/train.md says to type, typed: from a text to a model that writes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from seqmem.cli import main

pytest.importorskip("accelerate")
PAGE = (Path(__file__).parents[3] / "docs" / "train.md").read_text("utf-8")


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "one.txt").write_text("The whale and the sea, the sea and the whale.\n" * 60)
    settings, (writes, own_loop) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0], _examples()
    (tmp_path / "train.yaml").write_text(settings.replace("steps: 200", "steps: 6"))
    for line in ("data prepare books/*.txt --tokenizer bytes --out data/books", "train train.yaml"):
        assert f"    seqmem {line}\n" in PAGE
        assert main(shlex.split(line.replace("*", "one"))) == 0
    assert "model: runs/books/model" in capsys.readouterr().out
    exec(compile(writes.replace("200", "8"), "docs/train.md", "exec"), {})
    assert capsys.readouterr().out.startswith("The whale ")
    exec(compile(own_loop, "docs/train.md", "exec"), {})


def _examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
