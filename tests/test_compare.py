"""``seqmem compare`` from the command line to its files."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from seqmem.cli import main
from seqmem.training.schema import Result

FIELDS = {
    "experiment", "mixer", "task", "seed", "parameters", "state_bytes", "steps", "tokens", "metrics",
    "train_tokens_per_second", "decode_microseconds", "wall_seconds", "status", "versions",
}  # fmt: skip

MY_LAYER = '''
import os
import time

import torch
from torch import nn


class MyLayer(nn.Module):
    """The mean of what was read."""

    memory = "constant"

    def __init__(self, width):
        super().__init__()
        self.out = nn.Linear(width, width)

    def initial_state(self, batch_size):
        return self.out.weight.new_zeros(batch_size, self.out.in_features), self.out.weight.new_zeros(batch_size, 1)

    def forward(self, x, state=None, *, mask=None, reset=None):
        total, count = self.initial_state(len(x)) if state is None else state
        sums = total[:, None] + x.cumsum(1)
        counts = count[:, None] + torch.arange(1, x.shape[1] + 1, dtype=x.dtype)[None, :, None]
        return self.out(torch.tanh(sums / counts)), (sums[:, -1], counts[:, -1])


class Slow(MyLayer):
    def forward(self, x, state=None, **rest):
        if self.training and "SEQMEM_TEST_SLOW" in os.environ:
            time.sleep(0.1)
        return super().forward(x, state, **rest)


class Fails(MyLayer):
    def forward(self, x, state=None, **rest):
        raise RuntimeError("out of [/luck]")
'''


@dataclass(frozen=True)
class Told:
    """What a run printed and returned."""

    code: int
    out: str
    err: str


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a layer of one's own in it."""
    (tmp_path / "my_layer.py").write_text(MY_LAYER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_layer", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="module")
def words(folder: Path) -> list[str]:
    study = ["--mixers", "attention,min_gru", "--tasks", "mqar,bytes", "--budget", "smoke", "--workers", "0"]
    return ["compare", *study, "--out", str(folder / "out"), "--store", str(folder / "store")]


@pytest.fixture(scope="module")
def first(words: list[str]) -> Told:
    """The study run once, by whichever test comes first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        return told(words)


def told(words: list[str]) -> Told:
    """Run the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    return Told(code, out.getvalue(), err.getvalue())


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text("utf-8").splitlines()]


def test_one_table_and_where_the_files_are(first: Told, folder: Path) -> None:
    assert first.code == 0
    lines = first.out.splitlines()
    head = next(line for line in lines if line.startswith("mixer"))
    columns = ("parameters", "state bytes", "recall accuracy", "bits per byte", "tokens/s", "µs per decoded token")
    for title in columns:
        assert title in head
    rows = [line for line in lines if line.startswith(("attention ", "min_gru "))]
    assert len(rows) == 2
    assert sum(row.count("*") for row in rows) >= 4  # one for each column but the parameters
    assert any(line.startswith("- ") for line in lines)
    assert str(folder / "out" / "report.html") in first.out
    assert str(folder / "out" / "results.jsonl") in first.out
    assert first.err.count(": done") + first.err.count(": solved") == 4
    assert "Traceback" not in first.err


def test_every_field_of_every_line(first: Told, folder: Path) -> None:
    lines = lines_of(folder / "out")
    assert [(r["mixer"], r["task"]) for r in lines] == [
        (mixer, task) for task in ("mqar", "bytes") for mixer in ("attention", "min_gru")
    ]
    for r in lines:
        assert r.keys() >= FIELDS
        assert r.keys() == Result.__annotations__.keys()
        assert r["status"] in ("done", "solved")
        assert r["parameters"] > 0
        assert r["state_bytes"] > 0
        assert r["tokens"] > r["steps"] > 0
        assert r["train_tokens_per_second"] > 0
        assert r["decode_microseconds"] > 0
        lengths = [int(length) for length in r["metrics"]["test"]]
        assert lengths[-1] >= 4 * lengths[0]
        assert all("all" in by_slice for by_slice in r["metrics"]["test"].values())
    for task in ("mqar", "bytes"):
        sizes = [r["parameters"] for r in lines if r["task"] == task]
        assert max(sizes) <= 1.05 * min(sizes)  # equal parameters


def test_the_page(first: Told, folder: Path) -> None:
    page = (folder / "out" / "report.html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    for words in ("attention", "min_gru", "Recall against state", "4 of 4 experiments finished", "bits per byte"):
        assert words in page
    assert page.count("<figure") >= 5


def test_the_second_time_nothing_is_trained(first: Told, folder: Path, words: list[str], here: Path) -> None:
    before = (folder / "out" / "results.jsonl").read_bytes()
    again = told([*words, "--json"])
    assert again.code == 0
    assert "done" not in again.err
    assert (folder / "out" / "results.jsonl").read_bytes() == before
    found = json.loads(again.out)
    assert [row["mixer"] for row in found["summary"]["rows"]] == ["attention", "min_gru"]
    assert Path(found["results"]).samefile(folder / "out" / "results.jsonl")
    assert Path(found["report"]).is_file()


def test_a_study_file_with_a_layer_of_ones_own(here: Path) -> None:
    (here / "study.yaml").write_text(
        "mixers: [min_gru, my_layer:MyLayer]\ntasks: {parity: {length: 8}}\nwidths: [8, 16]\n"
        "learning_rates: [0.001, 1e-2]\nlayers: 1\nsteps: 5\nseeds: 1\nbudget: smoke\n"
    )
    ran = told(["compare", "study.yaml", "--out", "out", "--store", "store", "--workers", "0"])
    assert ran.code == 0, ran.err
    found = {(r["mixer"], r["study_width"], r["learning_rate"]) for r in lines_of(here / "out")}
    names = ("min_gru", "my_layer:MyLayer")
    assert found == {(name, width, rate) for name in names for width in (8, 16) for rate in (0.001, 0.01)}
    for label in ("min_gru · 8", "min_gru · 16", "MyLayer · 8", "MyLayer · 16"):
        assert any(line.startswith(label + " ") for line in ran.out.splitlines())
    page = (here / "out" / "report.html").read_text("utf-8")
    assert "Learning rates" in page
    assert "MyLayer · 16" in page


def test_a_layer_that_fails_is_told_and_the_others_go_on(here: Path) -> None:
    study = ["--mixers", "my_layer:Fails,my_layer:MyLayer", "--tasks", "parity", "--budget", "smoke"]
    ran = told(["compare", *study, "--out", "out", "--store", "store", "--workers", "0"])
    assert ran.code == 1
    assert {r["mixer"]: r["status"] for r in lines_of(here / "out")} == {
        "my_layer:Fails": "failed",
        "my_layer:MyLayer": "done",
    }
    assert "out of [/luck]" in ran.err
    assert "Traceback" not in ran.err
    assert "out of [/luck]" in (here / "out" / "report.html").read_text("utf-8")


def test_nothing_finished_is_still_strict_json(here: Path) -> None:
    study = ["--mixers", "my_layer:Fails", "--tasks", "parity", "--budget", "smoke"]
    ran = told(["compare", *study, "--out", "out", "--store", "store", "--workers", "0", "--json"])
    assert ran.code == 1

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    assert json.loads(ran.out, parse_constant=refuse)["summary"]["cells"][0]["failed"] == 1


@pytest.mark.parametrize("workers", ["0", "2"])
def test_control_c(here: Path, workers: str) -> None:
    study = ["--mixers", "my_layer:MyLayer,my_layer:Slow", "--tasks", "parity", "--budget", "smoke", "--seeds", "2"]
    command = [sys.executable, "-m", "seqmem", "compare", *study, "--out", "out", "--store", "store"]
    running = subprocess.Popen(
        [*command, "--workers", workers],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"SEQMEM_TEST_SLOW": ""},
        # a shell's background job ignores Ctrl-C, and so would everything that it starts
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 100
    results = here / "out" / "results.jsonl"
    while time.monotonic() < deadline and running.poll() is None and not (results.exists() and results.read_text()):
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=100)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    done = lines_of(here / "out")
    assert 1 <= len(done) < 4
    assert "Interrupted" in out
    assert (here / "out" / "report.html").is_file()

    rest = told(["compare", *study, "--out", "out", "--store", "store", "--workers", "0"])
    assert rest.code == 0
    after = lines_of(here / "out")
    assert [r["seed"] for r in after] == [0, 1, 0, 1]
    kept = {r["experiment"]: r for r in after}
    assert all(kept[r["experiment"]] == r for r in done)  # not run again
