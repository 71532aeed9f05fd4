"""Real worker processes: killed, failing, sharing a store with others, stopped."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from seqmem.errors import InputError
from seqmem.models import SequenceLM  # noqa: F401 - once here, rather than in every forked child
from seqmem.training import engine
from seqmem.training.compare import run_study
from seqmem.training.engine import run_all
from seqmem.training.events import Event
from seqmem.training.loop import train
from seqmem.training.store import Store
from seqmem.training.study import make_study
from tests.training.helpers import experiment, outcome

DEADLY = "tests.training.toy:Deadly"
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _tests_can_be_imported_by_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def test_workers_die_fail_and_carry_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pool, two workers: layers that kill their process half-way (once), raise, print, and work."""
    monkeypatch.setenv("SEQMEM_TEST_DEATHS", "1")
    monkeypatch.setenv("SEQMEM_TEST_DIARY", str(tmp_path / "diary"))
    deadly, broken = experiment(DEADLY, steps=60), experiment("tests.training.toy:Broken")
    noisy, good = experiment("tests.training.toy:Noisy"), experiment()
    events: list[Event] = []
    store = Store(tmp_path / "store")
    found = {
        r["experiment"]: r
        for r in run_all([deadly, broken, noisy, good], store, 2, events.append, checkpoint_seconds=0.0)
    }

    assert (tmp_path / "diary").read_text() == "x"
    retried = [event for event in events if event.kind == "retried"]
    assert [event.job.hash for event in retried] == [deadly.hash]
    assert "SIGKILL" in retried[0].detail
    monkeypatch.delenv("SEQMEM_TEST_DEATHS")
    for one in (deadly, noisy, good):
        folder = tmp_path / one.hash
        folder.mkdir()
        assert outcome(found[one.hash]) == outcome(train(one, folder)), one.mixer
    # the second worker went on from the checkpoint of the first, as every step has one
    assert (found[broken.hash]["status"], found[broken.hash]["metrics"]) == ("failed", None)
    assert found[broken.hash]["status_detail"].startswith("RuntimeError: two lines of trouble (see ")
    assert "raise RuntimeError" in (store.folder(broken) / "traceback.txt").read_text()
    assert {e.job.hash for e in events if e.kind == "finished"} == found.keys()


def test_a_worker_out_of_memory_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its experiment goes on from the checkpoint in another; where that one runs out as well, both are told of."""
    hungry = experiment("tests.training.toy:Hungry", steps=60)
    monkeypatch.setenv("SEQMEM_TEST_DIARY", str(tmp_path / "diary"))
    monkeypatch.setenv("SEQMEM_TEST_DEATHS", "1")
    events: list[Event] = []
    (found,) = run_all([hungry], Store(tmp_path / "store"), 1, events.append, checkpoint_seconds=0.0)
    assert (tmp_path / "diary").read_text() == "x"
    (retried,) = (event for event in events if event.kind == "retried")
    assert "its process ended with code 1: out of memory: RuntimeError: " in retried.detail
    assert "DefaultCPUAllocator: " in retried.detail
    monkeypatch.setenv("SEQMEM_TEST_DEATHS", "9")
    (failed,) = run_all([hungry], Store(tmp_path / "other"), 0)
    assert failed["status"] == "failed"
    assert failed["status_detail"].startswith("out of memory: RuntimeError: ")
    monkeypatch.delenv("SEQMEM_TEST_DEATHS")
    (tmp_path / "whole").mkdir()
    assert outcome(found) == outcome(train(hungry, tmp_path / "whole"))


def test_an_experiment_that_kills_twice_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With workers that only know how to die, saying something first."""
    script = (
        "import os, sys; sys.stdin.readline(); print('{\"ready\": true}', flush=True); sys.stdin.readline();"
        "print('last words', file=sys.stderr, flush=True); os.kill(os.getpid(), 9)"
    )
    monkeypatch.setattr(engine, "COMMAND", [sys.executable, "-c", script])
    events: list[Event] = []
    results = list(run_all([experiment(), experiment(seed=1)], Store(tmp_path), 2, events.append))
    assert [r["status"] for r in results] == ["failed", "failed"]
    assert all("tried twice" in r["status_detail"] for r in results)
    assert all("ended by SIGKILL (out of memory?): last words" in r["status_detail"] for r in results)
    assert sum(event.kind == "retried" for event in events) == 2


def test_workers_that_cannot_start_are_not_started_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "COMMAND", [sys.executable, "-c", "raise SystemExit('no torch here')"])
    with pytest.raises(RuntimeError, match=r"cannot be started: its process ended with code 1: no torch here"):
        list(run_all([experiment()], Store(tmp_path), 1))


def forked(work: Callable[[], None]) -> int:
    """The id of a child process that does ``work``, without importing everything again."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_engines_on_one_store_run_nothing_twice(tmp_path: Path) -> None:
    """Both get all six results; the steps that the two report add up to those of one engine alone."""
    experiments = [experiment(seed=seed, steps=100) for seed in range(6)]

    def engine_to(path: Path) -> None:
        events: list[Event] = []
        count = len(list(run_all(experiments, Store(tmp_path / "store"), 0, events.append)))
        path.write_text(f"{count} {sum(event.kind == 'step' for event in events)}")

    paths = [tmp_path / "first", tmp_path / "second"]
    for child in [forked(lambda path=path: engine_to(path)) for path in paths]:  # type: ignore[misc]
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    counts = [tuple(map(int, path.read_text().split())) for path in paths]
    assert [count for count, _ in counts] == [6, 6]
    alone: list[Event] = []
    list(run_all(experiments, Store(tmp_path / "alone"), 0, alone.append))
    assert sum(steps for _, steps in counts) == sum(event.kind == "step" for event in alone)


def test_results_in_the_store_are_handed_out_without_workers(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment()
    first = list(run_all([one], store, 0))
    events: list[Event] = []
    assert list(run_all([one], store, 8, events.append)) == first
    assert [event.kind for event in events] == ["queued", "reused"]


def test_a_layer_of_the_main_script_needs_this_process(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="workers=0"):
        list(run_all([experiment("__main__:Mine")], Store(tmp_path), 1))
    with pytest.raises(InputError, match="workers is -1"):
        list(run_all([experiment()], Store(tmp_path), -1))


def children(pid: int) -> list[int]:
    """Processes whose parent is ``pid``."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_study_stopped_and_killed_goes_on_to_the_same_results(tmp_path: Path) -> None:
    """Ctrl-C, then SIGKILL of the parent, then on to the end; against an undisturbed run."""
    study = make_study(
        mixers="tests.training.toy:Toy", tasks="parity", widths="8", layers=1, lengths="8", seeds=2,
        budget="smoke", steps=400, short_conv=0,
    )  # fmt: skip
    out, store = tmp_path / "out", tmp_path / "store"

    def run() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        result = run_study(study, out, store, workers=1)
        (tmp_path / "said").write_text(f"{result.interrupted} {len(result.results)} {result.total}")

    def begun() -> tuple[int, list[int]]:
        """The study in a process of its own, once its first experiment has written to its learning curve."""
        before = {path: path.read_text() for path in store.rglob("metrics.jsonl")}
        process = forked(run)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if any(path.read_text() != before.get(path, "") for path in store.rglob("metrics.jsonl")):
                break
            time.sleep(0.02)
        return process, children(process)

    def gone(processes: list[int]) -> bool:
        deadline = time.monotonic() + 30
        while any(map(alive, processes)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return not any(map(alive, processes))

    process, workers = begun()
    assert len(workers) == 1
    os.kill(process, signal.SIGINT)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert (tmp_path / "said").read_text() == "True 0 2"
    assert not any(map(alive, workers))
    assert len(list(store.rglob("checkpoint.safetensors"))) == 1

    process, workers = begun()
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    assert gone(workers)

    final = run_study(study, out, store, workers=0)
    assert (final.interrupted, len(final.results)) == (False, 2)
    undisturbed = run_study(study, tmp_path / "other out", tmp_path / "other store", workers=0)
    assert [outcome(r) for r in final.results] == [outcome(r) for r in undisturbed.results]
    assert final.curves == undisturbed.curves
