"""A store at a URL: what is finished is there once, what was begun elsewhere is gone on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fsspec
import pytest

from seqmem.errors import InputError
from seqmem.training import remote_store
from seqmem.training.compare import run_study
from seqmem.training.engine import run_all
from seqmem.training.events import Event
from seqmem.training.job import Interrupted, Reached
from seqmem.training.remote_store import RemoteStore
from seqmem.training.store import open_store
from seqmem.training.worker import run_job
from tests.training.helpers import experiment, outcome
from tests.training.test_compare import small


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/there"


def test_a_study_on_two_machines(tmp_path: Path, url: str) -> None:
    whole = run_study(small(), tmp_path / "a", tmp_path / "folder", workers=0)
    first = run_study(small(), tmp_path / "b", RemoteStore(url, tmp_path / "one"), workers=0)
    again = run_study(small(), tmp_path / "c", RemoteStore(url, tmp_path / "two"), workers=0)
    assert [outcome(r) for r in first.results] == [outcome(r) for r in whole.results]
    assert (first.reused, again.reused) == (0, 4)
    assert again.curves == first.curves
    names = {path.name for path in (tmp_path / "there" / "results").iterdir()}
    assert names == {f"{r['experiment']}.json" for r in first.results}
    assert not list((tmp_path / "there" / "checkpoints").iterdir())
    assert not list((tmp_path / "there").rglob("*.tmp"))


def test_another_machine_goes_on_from_the_checkpoint(tmp_path: Path, url: str) -> None:
    one = experiment(steps=40)
    expected = run_job(one, open_store(tmp_path / "folder"), lambda _: None)

    def stop(now: Reached) -> None:
        if now.step == 20:
            raise Interrupted

    with pytest.raises(Interrupted):
        run_job(one, RemoteStore(url, tmp_path / "one"), stop)
    seen: list[float] = []
    found = run_job(one, RemoteStore(url, tmp_path / "two"), lambda now: seen.append(now.step))
    assert min(seen) >= 20
    assert outcome(found) == outcome(expected)


def test_worker_processes_use_it(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = open_store(url)
    (result,) = run_all([experiment()], store, 1)
    assert json.loads((tmp_path / "there" / "results" / f"{result['experiment']}.json").read_text()) == result


def test_damage_is_set_aside_and_the_first_result_stands(tmp_path: Path, url: str) -> None:
    one = experiment()
    first = run_job(one, RemoteStore(url, tmp_path / "one"), lambda _: None)
    path = tmp_path / "there" / "results" / f"{one.hash}.json"
    path.write_text('{"status": ')
    again = run_job(one, RemoteStore(url, tmp_path / "two"), lambda _: None)
    assert outcome(again) == outcome(first)
    assert path.with_name(path.name + ".damaged").exists()

    store = RemoteStore(url, tmp_path / "three")

    def slow(folder: Path) -> Any:
        return {**again, "wall_seconds": 1e9}

    path.unlink()
    assert run_slowly(store, one, slow, path, again)["wall_seconds"] == again["wall_seconds"]


def run_slowly(store: RemoteStore, job: Any, work: Any, path: Path, faster: Any) -> Any:
    """Another machine writes its result while this one is at work."""

    def overtaken(folder: Path) -> Any:
        path.write_text(json.dumps(faster))
        return work(folder)

    return store.run(job, overtaken)


def test_one_listing_tells_what_is_finished(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RemoteStore(url, tmp_path / "one")
    folder = tmp_path / "there" / "results"
    for n in range(2_000):
        (folder / f"{n:016x}.json").write_text("{}")
    looks: list[str] = []
    monkeypatch.setattr(store, "_get", lambda name: looks.append(name))
    assert [store.result(experiment(seed=seed)) for seed in range(100)] == [None] * 100
    assert looks == []
    assert len(store._finished()) == 2_000


def test_a_url_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for url in (f"file://{tmp_path}/file/there", "nothing-of-the-kind://somewhere"):
        with pytest.raises(InputError, match=r"cannot be written .*a URL that fsspec can open"):
            RemoteStore(url, tmp_path / "one")


def test_in_memory_too(tmp_path: Path) -> None:
    events: list[Event] = []
    store = RemoteStore("memory://seqmem-test", tmp_path / "one")
    (result,) = run_all([experiment()], store, 0, events.append)
    assert fsspec.filesystem("memory").exists(f"/seqmem-test/results/{result['experiment']}.json")
    assert remote_store.RemoteStore("memory://seqmem-test", tmp_path / "two").result(experiment()) == result
