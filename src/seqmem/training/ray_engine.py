"""Many jobs on a Ray cluster: the same calls and results as of :mod:`seqmem.training.engine`, on other machines.

Every job is a Ray task with processors of its own. It runs in the store, which all nodes must reach (a shared folder,
or a URL). A task whose process or node is lost is tried again elsewhere, from the checkpoint; one that is lost too
often fails, and says how. The driver keeps nothing but what it waits for: it may die and be started again.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from seqmem.errors import InputError, line_of
from seqmem.training.engine import BUSY_SECONDS, NARROW, finished_before
from seqmem.training.engines import NO_RAY
from seqmem.training.events import Event, OnEvent
from seqmem.training.job import Job, OutOfMemory, R
from seqmem.training.store import Store
from seqmem.training.worker import name_of

TRIES = 4  # a job that has lost so many processes counts as failed
PAUSES = (1.0, 10.0, 30.0)  # seconds before the next try: a node that is gone is noticed only after a while
AHEAD = 2  # tasks that wait in Ray, for each processor


def run_on_ray(
    jobs: Sequence[Job[R]],
    store: Store,
    address: str | None = None,
    on_event: OnEvent | None = None,
    checkpoint_seconds: float = 60.0,
) -> Iterator[R]:
    """Every job's result, as they come. Those in the store are not run again.

    address: of the cluster (``"auto"``: the one that this machine belongs to); None starts Ray on this machine, for the
    time of the call. An exception in a job gives the status "failed"; the others go on. Closing the iterator cancels
    what runs. Raises InputError where Ray is not installed or there is no cluster at the address.
    """
    ray = _ray()
    tell = on_event or (lambda _: None)
    waiting: deque[Job[R]] = deque()
    for obstacle in filter(None, (job.obstacle() for job in jobs)):
        raise InputError(obstacle)
    yield from finished_before(jobs, store, tell, waiting)
    if not waiting:
        return
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, address)
    try:
        yield from _Tasks(ray, waiting, store, tell, checkpoint_seconds).run()
    finally:
        if ours:
            ray.shutdown()


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise InputError(NO_RAY) from error


def _connect(ray: Any, address: str | None) -> None:
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}}
    options: dict[str, Any] = {"log_to_driver": False, "runtime_env": environment, "configure_logging": False}
    if address is None:
        options["include_dashboard"] = False
    try:
        _reach(address)
        ray.init(address=address, **options)
    except (OSError, ValueError, RuntimeError) as error:
        reason = line_of(error)[:200]
        raise InputError(
            f"no Ray cluster at '{address}' ({reason}); start one with 'ray start --head', or leave --address out"
        ) from error


def _reach(address: str | None) -> None:
    """Raises OSError when nobody listens at ``host:port``; Ray itself would ask for many minutes."""
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10.0).close()


def _work(kind: str, described: dict[str, Any], place: str, threads: int, checkpoint_seconds: float) -> dict[str, Any]:
    """What a task does: one job, in the store at ``place``. ``{"result": record}``, or ``{"busy": True}``."""
    import torch

    from seqmem.training.store import Busy, open_store
    from seqmem.training.worker import job_of, run_job

    torch.set_num_threads(threads)
    try:
        return {"result": run_job(job_of(kind, described), open_store(place), lambda _: None, checkpoint_seconds)}
    except Busy:
        return {"busy": True}


class _Tasks:
    """Keeps the cluster busy until every job has a result."""

    def __init__(
        self, ray: Any, waiting: deque[Job[Any]], store: Store, tell: OnEvent, checkpoint_seconds: float
    ) -> None:
        self.ray, self.waiting, self.store, self.tell = ray, waiting, store, tell
        self.checkpoint_seconds = checkpoint_seconds
        self.running: dict[Any, Job[Any]] = {}
        self.later: list[tuple[float, Job[Any]]] = []
        self.lost: dict[str, int] = {}  # by job
        self.task = ray.remote(max_retries=0, max_calls=0)(_work)

    def run(self) -> Iterator[Any]:
        try:
            while self.waiting or self.running or self.later:
                self._hand_out()
                done, _ = self.ray.wait(list(self.running), timeout=BUSY_SECONDS) if self.running else ([], [])
                if not self.running:
                    time.sleep(BUSY_SECONDS)
                for reference in done:
                    result = self._ended(reference, self.running.pop(reference))
                    if result is not None:
                        yield result
        finally:
            for reference in self.running:
                self.ray.cancel(reference, force=True)

    def _hand_out(self) -> None:
        now = time.monotonic()
        self.waiting.extend(job for due, job in self.later if due <= now)
        self.later = [(due, job) for due, job in self.later if due > now]
        room = AHEAD * max(1, int(self.ray.cluster_resources().get("CPU", 1)))
        while self.waiting and len(self.running) < room:
            job = self.waiting.popleft()
            threads = 1 if job.study_width < NARROW else 2
            reference = self.task.options(num_cpus=threads, name=job.label).remote(
                name_of(type(job)), job.model_dump(mode="json"), self.store.address, threads, self.checkpoint_seconds
            )
            self.running[reference] = job
            self.tell(Event("started", job))

    def _ended(self, reference: Any, job: Job[Any]) -> Any:
        """The result of a task that came to an end, or None where its job is to be tried again."""
        try:
            answer = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:  # outside of the job: the store, an import
            if isinstance(error.cause, OutOfMemory):
                return self._lost(job, str(error.cause))
            return self._failed(job, f"{type(error.cause).__name__}: {line_of(error.cause)}")
        except self.ray.exceptions.RayError as error:  # its process, its node, or the memory
            return self._lost(job, f"{type(error).__name__}: {line_of(error)[:200]}")
        if "busy" in answer:
            self.later.append((time.monotonic() + BUSY_SECONDS, job))
            self.tell(Event("busy", job))
            return None
        self.tell(Event("finished", job, result=answer["result"]))
        return answer["result"]

    def _lost(self, job: Job[Any], how: str) -> Any:
        self.lost[job.hash] = self.lost.get(job.hash, 0) + 1
        if self.lost[job.hash] >= TRIES:
            return self._failed(job, f"tried {TRIES} times; the last time {how}")
        self.later.append((time.monotonic() + PAUSES[self.lost[job.hash] - 1], job))
        self.tell(Event("retried", job, detail=how))
        return None

    def _failed(self, job: Job[Any], detail: str) -> Any:
        result = job.failed(detail)
        self.tell(Event("finished", job, result=result))
        return result
