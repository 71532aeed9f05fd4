"""Difficulty grids: every point can be had, one option differs, and the hard end is hard."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
import torch

from seqmem.cli import main
from seqmem.errors import InputError
from seqmem.tasks import TASKS, get_task
from seqmem.tasks.grid import changes_of, grid
from seqmem.training.expand import expand
from seqmem.training.study import make_study


@pytest.mark.parametrize("name", TASKS)
def test_every_point_is_the_baseline_with_one_change(name: str) -> None:
    points = grid(name)
    assert points[0].label == "baseline"
    assert len(points) >= (1 if name in ("digits", "templates") else 3)
    assert len({point.label for point in points}) == len(points)
    baseline = get_task(name, **points[0].options)
    for point in points[1:]:
        task = get_task(name, **point.options)
        changed = {option for option in point.options if point.options[option] != points[0].options.get(option)}
        assert changed == {point.label.split("=")[0]}
        assert task != baseline
    hardest = get_task(name, **points[-1].options)
    batch = hardest.sample(2, hardest.train_length, torch.Generator().manual_seed(0))
    assert batch.inputs.max() < hardest.vocab_size


def test_what_is_given_holds() -> None:
    assert [point.label for point in grid("mqar", length=64, pairs=8)] == [
        "baseline",
        "vocabulary=128",
        "vocabulary=512",
    ]
    assert all(point.options["length"] == 128 for point in grid("in_context_recall", length=128))
    assert changes_of(get_task("chomsky", length=8)) == {"length": [80, 160]}
    with pytest.raises(InputError, match=r"grid of 'mqar', pairs=12: task 'mqar': length=32 is too short"):
        grid("mqar", length=32)
    with pytest.raises(InputError, match="has no option 'lenght'"):
        grid("mqar", lenght=32)


def test_a_study_runs_it() -> None:
    study = make_study(mixers=["lstm"], tasks={"induction": {"grid": True}, "parity": {"grid": False}}, seeds=1)
    found = [(e.task, e.task_options.get("vocabulary"), e.task_options["length"]) for e in expand(study)]
    assert found == [
        ("induction", 15, 64), ("induction", 32, 64), ("induction", 64, 64), ("induction", 15, 128),
        ("induction", 15, 256), ("parity", None, 32),
    ]  # fmt: skip
    both = make_study(mixers=["lstm"], tasks={"induction": {"grid": True}}, seeds=1, lengths=[16])
    assert [(e.task_options["vocabulary"], e.task_options["length"]) for e in expand(both)] == [
        (15, 16), (32, 16), (64, 16),
    ]  # fmt: skip
    with pytest.raises(InputError, match="grid of 'mqar' is 3, expected true or false"):
        expand(make_study(mixers=["lstm"], tasks={"mqar": {"grid": 3}}))


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_told(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", name]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{name}: ")
    assert "difficulty grid" in said
    assert all(f"  {option} = " in said for option in (field.name for field in fields(get_task(name))))
    assert main(["tasks", name, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["grid"][0]["label"] == "baseline"
    assert told["example"]


def test_an_unknown_task_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "mqra"]) == 2
    assert "Did you mean 'mqar'" in capsys.readouterr().err
