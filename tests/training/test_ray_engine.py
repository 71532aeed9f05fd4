"""Ray runs a study to the numbers of this machine's own processes, whatever it loses on the way."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from seqmem.errors import InputError
from seqmem.training import engines
from seqmem.training.compare import run_study
from seqmem.training.engines import make_engine
from seqmem.training.events import Event
from seqmem.training.store import Store
from tests.training.helpers import outcome
from tests.training.test_compare import small

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="pip install 'seqmem[ray]'")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one processor each; the driver is on the first."""
    import ray
    from ray.cluster_utils import Cluster

    path = os.pathsep.join(filter(None, sys.path))
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    found.second = found.add_node(num_cpus=1)
    environment = {"env_vars": {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}}
    ray.init(address=found.address, log_to_driver=False, runtime_env=environment)
    yield found
    ray.shutdown()
    found.shutdown()


@needs_ray
def test_no_cluster_at_the_address(tmp_path: Path) -> None:
    from seqmem.training.ray_engine import run_on_ray
    from tests.training.helpers import experiment

    with pytest.raises(InputError, match=r"no Ray cluster at '127.0.0.1:1' .*ray start --head"):
        list(run_on_ray([experiment()], Store(tmp_path), "127.0.0.1:1"))


@needs_ray
def test_a_study_loses_a_process_and_a_node(cluster: Any, tmp_path: Path) -> None:
    study = small(steps=120, seeds=3)
    expected = run_study(study, tmp_path / "whole", tmp_path / "store of the whole", workers=0)
    lost: list[Event] = []
    killed = False

    def watch(event: Event) -> None:
        nonlocal killed
        if event.kind == "finished" and not killed:
            killed = True
            for pid in workers():
                os.kill(pid, signal.SIGKILL)
            cluster.remove_node(cluster.second)
        if event.kind == "retried":
            lost.append(event)

    engine = make_engine("ray", cluster.address)
    assert workers() == []
    found = run_study(study, tmp_path / "out", tmp_path / "store", progress=watch, engine=engine)
    assert [r["status_detail"] for r in found.results if r["status"] == "failed"] == []
    assert [outcome(r) for r in found.results] == [outcome(r) for r in expected.results]
    assert killed
    assert lost, "nothing was lost"
    assert "Error" in lost[0].detail
    again = run_study(study, tmp_path / "again", tmp_path / "store", engine=engine)
    assert again.reused == again.total


@needs_ray
def test_a_job_that_is_always_lost_fails_and_says_how(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seqmem.training import ray_engine
    from seqmem.training.ray_engine import TRIES, run_on_ray
    from tests.training.helpers import experiment

    monkeypatch.setattr(ray_engine, "PAUSES", (0.0,) * TRIES)

    deadly = experiment("tests.training.toy:Killed")
    (result,) = run_on_ray([deadly], Store(tmp_path), cluster.address)
    assert result["status"] == "failed"
    assert f"tried {TRIES} times" in result["status_detail"]


def test_a_job_out_of_memory_counts_as_lost(tmp_path: Path) -> None:
    """Without Ray: what the driver makes of the answer of a task."""
    from seqmem.training.job import OutOfMemory
    from seqmem.training.ray_engine import TRIES, _Tasks
    from tests.training.helpers import experiment

    class TaskError(Exception):
        cause = OutOfMemory("out of memory: MemoryError: no room")

    class Ray:
        exceptions = SimpleNamespace(RayTaskError=TaskError, RayError=KeyError)

        def remote(self, **_: Any) -> Any:
            return lambda function: function

        def get(self, reference: Any) -> Any:
            raise TaskError

    events: list[Event] = []
    job = experiment()
    tasks = _Tasks(Ray(), deque(), Store(tmp_path), events.append, 60.0)
    answers = [tasks._ended(None, job) for _ in range(TRIES)]
    assert answers[:-1] == [None] * (TRIES - 1)
    assert [event.kind for event in events] == ["retried"] * (TRIES - 1) + ["finished"]
    assert answers[-1]["status"] == "failed"
    assert answers[-1]["status_detail"].endswith("the last time out of memory: MemoryError: no room")


def workers() -> list[int]:
    """Ray's processes that are at a job."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                name = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if name.startswith(b"ray::") and b"parity" in name:
                found.append(int(folder.name))
    return found


def test_engines_that_there_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"engine is 'rya', expected one of local, ray.*Did you mean 'ray'"):
        make_engine("rya")
    with pytest.raises(InputError, match="address is 'auto' and the engine 'local'"):
        make_engine("local", "auto")
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'seqmem\[ray\]'"):
        make_engine("ray")
