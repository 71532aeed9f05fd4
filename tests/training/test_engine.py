"""Real worker processes: killed, failing, sharing a store with others, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.training.helpers import experiment, outcome

from seqmem.errors import InputError
from seqmem.training.engine import run_all
from seqmem.training.events import Event
from seqmem.training.experiment import Experiment
from seqmem.training.loop import train
from seqmem.training.store import Store

DEADLY = "tests.training.toy:Deadly"
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _tests_can_be_imported_by_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def test_workers_die_fail_and_carry_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pool, two workers: a layer whose process is killed half-way once, one that raises, one that prints, one that works."""
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
    assert [event.experiment for event in retried] == [deadly]
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
    assert {e.experiment for e in events if e.kind == "finished"} == {deadly, broken, noisy, good}


def test_an_experiment_that_kills_twice_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQMEM_TEST_DEATHS", "2")
    monkeypatch.setenv("SEQMEM_TEST_DIARY", str(tmp_path / "diary"))
    deadly, good = experiment(DEADLY, steps=60), experiment()
    results = {r["experiment"]: r for r in run_all([deadly, good], Store(tmp_path / "store"), 1)}
    assert results[deadly.hash]["status"] == "failed"
    assert "ended by SIGKILL (out of memory?)" in results[deadly.hash]["status_detail"]
    assert results[good.hash]["status"] == "done"


def test_two_engines_on_one_store_run_nothing_twice(tmp_path: Path) -> None:
    """The second is this process; both get all results, and the first steps of each experiment were made once."""
    script = (
        "import sys; from tests.training.helpers import experiment; from seqmem.training.engine import run_all;"
        "from seqmem.training.store import Store;"
        "events = [];"
        "n = len(list(run_all([experiment(seed=s, steps=150) for s in range(6)], Store(sys.argv[1]), 0, events.append)));"
        "print(n, sum(e.kind == 'finished' and e.step == 0 for e in events), sum(e.kind == 'step' for e in events))"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, str(tmp_path)]
    both = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    lines = [process.communicate(timeout=200)[0].split() for process in both]
    assert [line[0] for line in lines] == ["6", "6"]
    steps = sum(int(line[2]) for line in lines)
    alone: list[Event] = []
    list(run_all([experiment(seed=s, steps=150) for s in range(6)], Store(tmp_path / "alone"), 0, alone.append))
    assert steps == sum(event.kind == "step" for event in alone)


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


STUDY = """
import sys
from pathlib import Path
from seqmem.training.compare import run_study
from seqmem.training.study import make_study
from seqmem.training.progress import StudyProgress
study = make_study(mixers="tests.training.toy:Toy", tasks="parity", widths="8", layers=1, lengths="8", seeds=2,
                   budget="smoke", steps=1500)
with StudyProgress() as progress:
    outcome = run_study(study, sys.argv[1], sys.argv[2], 2, progress)
print("interrupted" if outcome.interrupted else "whole", len(outcome.results), outcome.total)
"""


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
    """Ctrl-C, then SIGKILL of the parent, then to the end; against an undisturbed run in this process."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    command = [sys.executable, "-c", STUDY, str(tmp_path / "out"), str(tmp_path / "store")]

    def start() -> tuple[subprocess.Popen[str], list[int]]:
        """The study, waited for until both experiments have begun anew."""
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("metrics.jsonl")}
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            now = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("metrics.jsonl")}
            if sum(before.get(path) != changed and path.stat().st_size > 0 for path, changed in now.items()) == 2:
                break
            time.sleep(0.02)
        return process, children(process.pid)

    process, workers = start()
    assert len(workers) == 2
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert out.split() == ["interrupted", "0", "2"]
    assert "Traceback" not in errors
    assert not any(alive(pid) for pid in workers)
    assert len(list((tmp_path / "store").rglob("checkpoint.safetensors"))) == 2

    process, workers = start()
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in workers)

    final = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200, check=True)
    assert final.stdout.split() == ["whole", "2", "2"]

    import json

    for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines():
        result = json.loads(line)
        folder = tmp_path / "alone" / result["experiment"]
        folder.mkdir(parents=True)
        described = json.loads((tmp_path / "out" / "study.json").read_text())["experiments"][result["experiment"]]
        alone = json.loads(json.dumps(train(Experiment.model_validate(described), folder)))
        assert outcome(result) == outcome(alone)
