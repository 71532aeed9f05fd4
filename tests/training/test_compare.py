"""A study from its words to its files."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from seqmem.errors import InputError
from seqmem.training.aggregate import aggregate
from seqmem.training.budgets import BUDGETS
from seqmem.training.compare import run_study
from seqmem.training.events import Event
from seqmem.training.progress import StudyProgress
from seqmem.training.schema import Result
from seqmem.training.study import Study, make_study
from tests.training.helpers import outcome


def small(**changes: Any) -> Study:
    words = {"mixers": ["tests.training.toy:Toy", "lstm"], "tasks": {"parity": {"length": 8}}, "widths": 8, "layers": 1}
    return make_study(**{**words, "budget": "smoke", "steps": 10, "seeds": 2, **changes})


def test_files_and_their_order(tmp_path: Path) -> None:
    study = small(learning_rates=[0.01, 0.001])
    first = run_study(study, tmp_path / "a", tmp_path / "store", workers=0)
    assert (first.total, first.reused, first.interrupted) == (8, 0, False)
    lines = [json.loads(line) for line in (tmp_path / "a" / "results.jsonl").read_text().splitlines()]
    assert lines == first.results
    assert all(line.keys() == Result.__annotations__.keys() for line in lines)
    mixers = [(r["mixer"], r["learning_rate"], r["seed"]) for r in lines]
    assert mixers == [
        (m, rate, seed) for m in ("tests.training.toy:Toy", "lstm") for rate in (0.01, 0.001) for seed in (0, 1)
    ]
    curves = json.loads((tmp_path / "a" / "curves.json").read_text())
    assert list(curves) == [r["experiment"] for r in lines]
    assert curves[lines[0]["experiment"]][-1]["step"] == 10
    settings = json.loads((tmp_path / "a" / "study.json").read_text())
    assert settings["experiments"].keys() == curves.keys()
    assert settings["study"]["learning_rates"] == [0.01, 0.001]

    again = run_study(study, tmp_path / "b", tmp_path / "store", workers=0)
    assert again.reused == 8
    for name in ("results.jsonl", "curves.json"):
        assert (tmp_path / "b" / name).read_text() == (tmp_path / "a" / name).read_text()
    summary = aggregate(again.results)
    assert len(summary["grid"]) == 4
    assert len(summary["rows"]) == 2


def test_control_c_leaves_what_is_finished(tmp_path: Path) -> None:
    whole = run_study(small(), tmp_path / "whole", tmp_path / "store of the whole", workers=0)
    ended = 0

    def stop_in_the_third(event: Event) -> None:
        nonlocal ended
        ended += event.kind == "finished"
        if ended == 2 and event.kind == "step" and event.step == 5:
            raise KeyboardInterrupt

    part = run_study(small(), tmp_path / "part", tmp_path / "store", workers=0, progress=stop_in_the_third)
    assert part.interrupted
    assert len((tmp_path / "part" / "results.jsonl").read_text().splitlines()) == 2
    assert {r["mixer"] for r in part.results} == {"tests.training.toy:Toy", "lstm"}  # both, on the first seed
    rest = run_study(small(), tmp_path / "part", tmp_path / "store", workers=0)
    assert rest.reused == 2
    assert [outcome(r) for r in rest.results] == [outcome(r) for r in whole.results]


def test_one_seed_chooses_the_rate_for_the_others(tmp_path: Path) -> None:
    study = small(learning_rates=[0.03, 1e-6], seeds=3, tune_seeds=1)
    found = run_study(study, tmp_path / "out", tmp_path / "store", workers=0)
    whole = run_study(small(learning_rates=[0.03, 1e-6], seeds=1), tmp_path / "one", tmp_path / "store", workers=0)
    assert found.total == len(found.results) == 8  # 2 mixers: 2 rates with seed 0, one rate with seeds 1 and 2
    chosen = {point["mixer"]: point["learning_rate"] for point in aggregate(whole.results)["grid"] if point["chosen"]}
    later = [(r["mixer"], r["learning_rate"]) for r in found.results if r["seed"] > 0]
    assert sorted(later) == sorted((mixer, rate) for mixer, rate in chosen.items() for _ in range(2))
    assert {cell["mixer"]: cell["learning_rate"] for cell in aggregate(found.results)["cells"]} == chosen
    settings = json.loads((tmp_path / "out" / "study.json").read_text())
    assert set(settings["experiments"]) == {r["experiment"] for r in found.results}

    def stop_at_once(event: Event) -> None:
        if event.kind == "step":
            raise KeyboardInterrupt

    part = run_study(study, tmp_path / "part", tmp_path / "other store", workers=0, progress=stop_at_once)
    assert (part.interrupted, part.total) == (True, 8)
    rest = run_study(study, tmp_path / "part", tmp_path / "other store", workers=0)
    assert [outcome(r) for r in rest.results] == [outcome(r) for r in found.results]


def test_nothing_runs_when_the_folder_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"out folder '.*file/out' cannot be written .*--out"):
        run_study(small(), tmp_path / "file" / "out", tmp_path / "store", workers=0)
    with pytest.raises(InputError, match="workers is -2"):
        run_study(small(), tmp_path / "out", tmp_path / "store", workers=-2)
    assert not (tmp_path / "store").exists()


def test_every_budget_expands_for_every_task() -> None:
    from seqmem.tasks import TASKS
    from seqmem.training.expand import expand

    for budget in BUDGETS:
        experiments = expand(make_study(mixers="lstm", tasks=list(TASKS), budget=budget, seeds=1))
        assert {e.task for e in experiments} == set(TASKS)


def test_progress_as_plain_lines(tmp_path: Path) -> None:
    text = io.StringIO()
    with StudyProgress(Console(file=text, width=200)) as progress:
        run_study(small(), tmp_path / "out", tmp_path / "store", workers=0, progress=progress)
    lines = text.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("[1/4] Toy · parity · width 8 · rate 0.003 · seed 0: done, validation accuracy ")
    assert progress.state.fraction() == 1.0


def test_progress_in_a_terminal(tmp_path: Path) -> None:
    text = io.StringIO()
    console = Console(file=text, width=120, force_terminal=True)
    pictures: list[str] = []
    with StudyProgress(console) as progress:

        def watch(event: Event) -> None:
            progress(event)
            if event.kind == "step" and event.step == 5:
                with console.capture() as capture:
                    console.print(progress._render())
                pictures.append(capture.get())

        run_study(small(), tmp_path / "out", tmp_path / "store", workers=0, progress=watch)
    assert "0/4 experiments" in pictures[0]
    assert "Toy · parity" in pictures[0]
    assert "5/10" in pictures[0]
    assert "loss" in pictures[0]
    assert "3/4 experiments" in pictures[-1]
    assert "left" in pictures[-1]
    assert "4/4 experiments" in text.getvalue().splitlines()[-1]
