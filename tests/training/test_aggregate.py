"""Means, intervals and choices on results made by hand."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from scipy import stats

from seqmem.training.aggregate import aggregate, best_learning_rate, stat, student_t
from seqmem.training.result import result_of
from seqmem.training.schema import Metrics, Result
from tests.training.helpers import experiment


def record(mixer: str = "lstm", task: str = "mqar", value: float = 0.5, status: str = "done", **given: Any) -> Result:
    of_experiment = {
        k: given.pop(k) for k in list(given) if k in ("seed", "learning_rate", "study_width", "mixer_options")
    }
    name = "bits_per_byte" if task == "bytes" else "accuracy"
    short, long = ("128", "512") if task == "bytes" else ("64", "256")
    test: dict[str, dict[str, float | None]] = {short: {"all": value, "pairs=4": value + 0.1}, long: {"all": value / 2}}
    metrics: Metrics = {"name": name, "chance": 0.1, "validation": value, "test": test}
    one = experiment(mixer, task=task, **{"task_options": {"length": int(short)}, **of_experiment})
    return result_of(one, status=status, metrics=metrics if status in ("done", "solved") else None, **given)


def test_student_t() -> None:
    for freedom in [*range(1, 60), 100, 1000]:
        assert student_t(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=2e-4)


def test_mean_and_interval() -> None:
    assert stat([]) is None
    assert stat([None, None]) is None
    assert stat([2.0]) == {"mean": 2.0, "half_width": None, "n": 1, "values": [2.0]}
    three = stat([1.0, None, 2.0, 3.0])
    assert three is not None
    assert (three["mean"], three["n"]) == (2.0, 3)
    assert three["half_width"] == pytest.approx(4.3027 / math.sqrt(3))


def test_the_rate_that_validates_best_is_chosen() -> None:
    grid = [record(learning_rate=rate, seed=seed, value=value) for rate, seed, value in
            [(1e-3, 0, 0.6), (1e-3, 1, 0.6), (3e-3, 0, 0.9), (3e-3, 1, 0.5)]]  # fmt: skip
    assert best_learning_rate(grid) == 3e-3
    bits = [record(task="bytes", learning_rate=rate, value=value) for rate, value in [(1e-3, 2.5), (3e-3, 2.0)]]
    assert best_learning_rate(bits) == 3e-3


def test_a_rate_at_which_a_seed_diverged_is_the_worse_one() -> None:
    grid = [
        record(learning_rate=1e-3, seed=0, value=0.3), record(learning_rate=1e-3, seed=1, value=0.3),
        record(learning_rate=1e-1, seed=0, value=0.9), record(learning_rate=1e-1, seed=1, status="diverged"),
    ]  # fmt: skip
    assert best_learning_rate(grid) == 1e-3
    found = aggregate(grid)
    assert [(g["learning_rate"], g["diverged"], g["chosen"]) for g in found["grid"]] == [
        (1e-3, 0, True),
        (1e-1, 1, False),
    ]
    assert found["cells"][0]["seeds"] == 2


def test_the_table() -> None:
    def figures(parameters: int, state_bytes: int, pace: float, decode: float) -> dict[str, float]:
        return {
            "parameters": parameters,
            "state_bytes": state_bytes,
            "train_tokens_per_second": pace,
            "decode_microseconds": decode,
        }

    results = [
        record("lstm", "mqar", 0.4, seed=0, **figures(100, 10, 5.0, 2.0)),
        record("lstm", "mqar", 0.6, seed=1, **figures(100, 10, 7.0, 4.0)),
        record("lstm", "bytes", 2.0, **figures(300, 10, 8.0, 3.0)),
        record("attention", "mqar", 0.9, **figures(101, 999, 0.0, 0.0)),
        record("attention", "bytes", 1.5, **figures(301, 999, 4.0, 9.0)),
    ]
    found = aggregate(results)
    assert json.loads(json.dumps(found)) == found
    assert [c["key"] for c in found["columns"]] == [
        "parameters", "state_bytes", "task:mqar", "task:bytes", "train_tokens_per_second", "decode_microseconds",
    ]  # fmt: skip
    assert {c["task"] for c in found["columns"]} == {"mqar", "bytes"}
    lstm, attention = found["rows"]
    means = {key: cell and cell["mean"] for key, cell in lstm["cells"].items()}
    assert means == {
        "parameters": 300, "state_bytes": 10, "task:mqar": 0.5, "task:bytes": 2.0,
        "train_tokens_per_second": 8.0, "decode_microseconds": 3.0,
    }  # fmt: skip
    recall = lstm["cells"]["task:mqar"]
    assert recall is not None
    assert recall["half_width"] == pytest.approx(12.7062 * math.sqrt(0.02) / math.sqrt(2))
    assert lstm["best"] == ["state_bytes", "train_tokens_per_second", "decode_microseconds"]
    assert attention["best"] == ["task:mqar", "task:bytes"]
    cell = next(c for c in found["cells"] if (c["mixer"], c["task"]) == ("lstm", "mqar"))
    assert cell["test"]["256"]["all"] == {**cell["test"]["256"]["all"], "mean": 0.25, "n": 2}  # type: ignore[dict-item]
    assert cell["test"]["64"]["pairs=4"]["mean"] == pytest.approx(0.6)  # type: ignore[index]


def test_options_tell_two_of_one_name_apart() -> None:
    results = [record("local_attention", mixer_options={"window": w}, value=w / 10) for w in (2, 4)]
    found = aggregate(results)
    assert [row["mixer"] for row in found["rows"]] == ["local_attention(window=2)", "local_attention(window=4)"]
    assert [row["mixer"] for row in aggregate(results[:1])["rows"]] == ["local_attention"]


def test_an_option_of_none_is_told_too() -> None:
    """One that a layer has by default is not what it is when nobody says it."""
    found = aggregate([record("attention", mixer_options=o) for o in ({}, {"rope_base": None})])
    assert [row["mixer"] for row in found["rows"]] == ["attention", "attention(rope_base=None)"]


def test_nothing_finished() -> None:
    assert aggregate([])["rows"] == []
    found = aggregate([record(status="failed"), record(status="diverged", seed=1)])
    assert found["rows"][0]["best"] == []
    assert (found["cells"][0]["failed"], found["cells"][0]["diverged"]) == (1, 1)
