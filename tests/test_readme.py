"""What the README shows is run: the own layer passes the contract, its test passes, the examples end without error."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
LAYER, TEST, *EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_layer.py").write_text(LAYER)
    (tmp_path / "test_my_layer.py").write_text(TEST)
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
    return subprocess.run([sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True, timeout=280)


def test_the_layer_is_complete_in_25_lines() -> None:
    assert len(LAYER.splitlines()) <= 25


def test_the_layer_passes_the_command_as_shown(folder: Path) -> None:
    done = run(folder, "-m", "seqmem", "check", "my_layer:MyLayer")
    assert done.returncode == 0, done.stdout + done.stderr
    shown = re.search(r"<!-- check:begin -->\n(.*?)<!-- check:end -->", README, re.DOTALL)
    assert shown is not None
    names = re.findall(r"^ {4}(\d \w[\w ]*?)  ", shown[1], re.MULTILINE)
    assert len(names) == 8
    for name in names:  # the points, as the README prints them
        assert re.search(rf"^{name} .*(ok|n/a)", done.stdout, re.MULTILINE), done.stdout


def test_the_test_passes(folder: Path) -> None:
    done = run(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_layer.py")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_run(number: int, folder: Path) -> None:
    (folder / "example.py").write_text(EXAMPLES[number])
    done = run(folder, "example.py")
    assert done.returncode == 0, done.stderr


def test_every_file_that_is_linked_exists() -> None:
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (root / target).exists(), target


def test_figures_of_speed_are_those_of_the_committed_bench() -> None:
    from seqmem.report.bench_findings import findings

    records = json.loads((Path(__file__).parents[1] / "docs" / "bench" / "bench.json").read_text("utf-8"))["records"]
    shown = re.search(r"<!-- bench:begin -->\n(.*?)<!-- bench:end -->", README, re.DOTALL)
    assert shown is not None
    lines = re.findall(r"^- (.*)$", shown[1], re.MULTILINE)
    assert len(lines) > 5
    assert set(lines) <= set(findings(records))
