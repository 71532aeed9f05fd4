"""Learning rates that are behind are stopped early, and nothing else changes."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from seqmem.errors import InputError
from seqmem.training.aggregate import aggregate
from seqmem.training.compare import StudyOutcome, run_study
from seqmem.training.events import Event
from seqmem.training.remote_store import RemoteStore
from seqmem.training.search import require_search, rungs, sentences, survivors
from seqmem.training.study import Search, Study, make_study
from tests.training.helpers import outcome

RATES = [1e-6, 0.03, 0.01, 1e-5]


def small(**changes: Any) -> Study:
    words = {"mixers": ["tests.training.toy:Toy", "lstm"], "tasks": "memorization", "widths": 8, "layers": 1}
    given = {"budget": "smoke", "steps": 60, "seeds": 2, "tune_seeds": 1, "learning_rates": RATES}
    return make_study(**{**words, **given, **changes})


def run(study: Study, place: Path, **options: Any) -> StudyOutcome:
    return run_study(study, place / "out", place / "store", **{"workers": 0, **options})


def chosen(found: StudyOutcome) -> dict[str, float]:
    return {point["mixer"]: point["learning_rate"] for point in aggregate(found.results)["grid"] if point["chosen"]}


def told(found: StudyOutcome) -> list[dict[str, Any]]:
    return [outcome(result) for result in found.results]


def test_optuna_judges_each_with_all_others_in_sight() -> None:
    values = {0.1: 0.5, 0.2: 0.9, 0.3: 0.7, 0.4: 0.1}
    assert survivors(values, higher=True, reduction=2) == [0.2, 0.3]
    assert survivors(values, higher=False, reduction=2) == [0.1, 0.4]
    assert survivors(dict(reversed(values.items())), higher=True, reduction=2) == [0.3, 0.2]
    assert survivors(values, higher=True, reduction=4) == [0.2]
    assert survivors({0.1: 1.0, 0.2: 2.0, 0.3: 3.0}, higher=True, reduction=2) == [0.3]
    assert survivors({0.1: math.nan, 0.2: 0.0}, higher=True, reduction=2) == [0.2]
    assert survivors({0.1: math.nan, 0.2: math.nan}, higher=True, reduction=2) == []


def test_rungs_lie_where_the_validation_data_are_looked_at() -> None:
    assert rungs(Search(), 400, 50) == [100, 200]
    assert rungs(Search(first=0.1), 400, 50) == [50, 100, 200, 350]
    assert rungs(Search(reduction=3, first=0.05), 1000, 10) == [50, 150, 450]
    assert rungs(Search(first=0.9), 100, 100) == []


def test_the_rate_of_the_grid_in_fewer_steps(tmp_path: Path) -> None:
    grid = run(small(), tmp_path / "grid")
    found = run(small(search="halving"), tmp_path / "search")
    assert chosen(found) == chosen(grid)
    assert len(found.results) == len(grid.results)
    whole = {result["experiment"]: outcome(result) for result in grid.results}
    stopped = [result for result in found.results if result["status"] == "stopped"]
    for result in found.results:  # what is not stopped is what the grid has, to the last digit
        if result["status"] != "stopped":
            assert outcome(result) == whole[result["experiment"]]
    assert len(stopped) == 2 * 2  # the smoke budget looks twice: at half of the steps, and at the end
    for group in found.searched:
        mine = [r for r in stopped if r["mixer"] == group["mixer"]]
        assert group["stopped"] == {f"{r['learning_rate']:g}": r["steps"] for r in mine}
        assert group["steps"] == sum(group["stopped"].values()) + 2 * 60 < group["grid_steps"] == 4 * 60
        assert group["stopped"].keys() == {"1e-06", "1e-05"}
    assert "by the search after step" in stopped[0]["status_detail"]
    assert "validation score of" in stopped[0]["status_detail"]
    lines = [json.loads(line) for line in (tmp_path / "search" / "out" / "results.jsonl").read_text().splitlines()]
    assert lines == found.results
    assert json.loads((tmp_path / "search" / "out" / "search.json").read_text())["groups"] == found.searched
    assert "of the grid's 240 steps" in sentences(found.searched)[0]

    again = run(small(search="halving"), tmp_path / "search")
    assert told(again) == told(found)
    assert again.searched == found.searched
    after = run(small(), tmp_path / "search")  # the grid goes on from what was stopped
    assert told(after) == told(grid)


@pytest.mark.parametrize("events", [240])
def test_stopped_anywhere_it_ends_the_same(tmp_path: Path, events: int) -> None:
    study = small(search={"reduction": 2, "first": 0.25}, mixers="tests.training.toy:Toy")
    whole = run(study, tmp_path / "whole")
    seen = 0

    def stop(event: Event) -> None:
        nonlocal seen
        seen += event.kind != "queued"
        if seen == events:
            raise KeyboardInterrupt

    part = run(study, tmp_path / "part", progress=stop)
    rest = run(study, tmp_path / "part")
    assert part.interrupted
    assert told(rest) == told(whole)
    assert rest.searched == whole.searched


@pytest.mark.thorough
def test_workers_stop_the_same(tmp_path: Path) -> None:
    study = small(search="halving", mixers="tests.training.toy:Toy", seeds=1)
    assert told(run(study, tmp_path / "here")) == told(run(study, tmp_path / "there", workers=2))


DRIVER = """
import sys
from tests.training.test_search import small, run
from pathlib import Path
run(small(search="halving", mixers="tests.training.toy:Toy", steps=600), Path(sys.argv[1]))
"""


def test_killed_and_run_again(tmp_path: Path) -> None:
    study = small(search="halving", mixers="tests.training.toy:Toy", steps=600)
    process = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path / "part")], env=os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})  # fmt: skip
    deadline = time.monotonic() + 120
    while not list((tmp_path / "part" / "store").glob("*/*/result.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    rest = run(study, tmp_path / "part")
    whole = run(study, tmp_path / "whole")
    assert told(rest) == told(whole)
    assert rest.searched == whole.searched


def test_a_rate_that_diverges_is_told_as_such(tmp_path: Path) -> None:
    study = small(search="halving", learning_rates=[1e-3, 1e15], mixers="tests.training.toy:Toy", seeds=1, steps=60)
    found = run(study, tmp_path)
    assert [result["status"] in ("done", "solved") for result in found.results] == [True, False]
    assert chosen(found) == {"Toy": 1e-3} or list(chosen(found).values()) == [1e-3]


def test_off_by_default_and_without_optuna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert small().search is None
    assert small(search="off").search is None
    program = "import sys; import seqmem.compare; sys.exit('optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "optuna" else real(name, *a))
    with pytest.raises(InputError, match=r"seqmem\[search\]"):
        run(small(search="halving"), tmp_path)


def test_refusals(tmp_path: Path) -> None:
    for wrong in ("half", {"reduction": 1}, {"first": 1.0}, {"eta": 3}, 3):
        with pytest.raises(InputError, match="--search is"):
            small(search=wrong)
    with pytest.raises(InputError, match="the store is at memory://"):
        require_search(RemoteStore("memory://search", scratch=tmp_path), "study.yaml: search")
