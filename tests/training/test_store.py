"""The store: one folder per experiment, whole records, nothing twice."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from filelock import FileLock

from seqmem.errors import InputError
from seqmem.training.loop import train
from seqmem.training.result import result_of
from seqmem.training.schema import Result
from seqmem.training.store import Busy, Store
from tests.training.helpers import experiment, outcome


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQMEM_STORE", str(tmp_path / "named"))
    assert Store(tmp_path / "given").root == tmp_path / "given"
    assert Store().root == tmp_path / "named"
    monkeypatch.delenv("SEQMEM_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path in Store().root.parents


def test_a_finished_experiment_is_not_run_again(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment()
    runs = 0

    def work(folder: Path) -> Result:
        nonlocal runs
        runs += 1
        return train(one, folder)

    first = store.run(one, work)
    assert store.run(one, work) == first == store.result(one)
    assert runs == 1
    folder = tmp_path / one.hash[:2] / one.hash
    assert json.loads((folder / "experiment.json").read_text())["seed"] == 0
    assert len(store.curve(one)) >= 4
    assert not [name for name in os.listdir(folder) if name.endswith(".tmp")]


def test_a_damaged_record_is_kept_and_run_again(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment()
    first = store.run(one, lambda folder: train(one, folder))
    path = store.folder(one) / "result.json"
    for damaged in (path.read_text()[: path.stat().st_size // 2], "[]", '{"experiment": "x"}'):
        path.write_text(damaged)
        assert store.result(one) is None
        again = store.run(one, lambda folder: train(one, folder))
        assert outcome(again) == outcome(first)
        assert f"{path}.damaged" in again["status_detail"]
        assert path.with_name("result.json.damaged").read_text() == damaged


def test_a_record_of_another_experiment_or_of_other_types_is_none(tmp_path: Path) -> None:
    """Its keys alone were looked at: the result of another experiment stood for this one's."""
    store, one = Store(tmp_path), experiment()
    metrics = {"name": "accuracy", "chance": 0.5, "validation": None, "test": {"8": {"all": 0.5}}}
    sound = result_of(one, status="done", metrics=metrics)  # type: ignore[arg-type]
    path = store.folder(one) / "result.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(sound))
    assert store.result(one) == sound
    for change in (
        {"experiment": experiment(seed=1).hash}, {"steps": "7"}, {"steps": True}, {"mixer": None}, {"metrics": 3},
        {"metrics": {**metrics, "test": {"8": {}}}}, {"metrics": {**metrics, "test": {"x": {"all": 0.5}}}},
    ):  # fmt: skip
        path.write_text(json.dumps({**sound, **change}))
        assert store.result(one) is None, change
    path.write_text("[" * 100_000)
    assert store.result(one) is None


def test_a_failure_is_not_kept(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment()
    store.run(one, lambda folder: result_of(one, status="failed"))
    assert store.result(one) is None


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment()
    test = {"8": {"all": float("nan")}}
    metrics = {"name": "accuracy", "chance": 0.5, "validation": 0.5, "test": test}
    result = store.run(one, lambda folder: result_of(one, status="done", metrics=metrics))  # type: ignore[arg-type]
    assert result["metrics"] is not None
    assert result["metrics"]["test"] == {"8": {"all": None}}
    assert "NaN" not in (store.folder(one) / "result.json").read_text()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment()
    store.folder(one).mkdir(parents=True)
    with FileLock(store.folder(one) / "lock"), pytest.raises(Busy):
        store.run(one, lambda folder: train(one, folder))
    assert store.run(one, lambda folder: train(one, folder))["status"] == "done"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"store folder '.*/file/store' cannot be written .*--store or SEQMEM_STORE"):
        Store(tmp_path / "file" / "store")
