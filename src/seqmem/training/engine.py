"""Running many jobs: in this process, or on worker processes of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import IO, Any, Generic

from seqmem.errors import InputError
from seqmem.training.events import Event, OnEvent
from seqmem.training.job import Job, OnReached, OutOfMemory, R
from seqmem.training.store import Busy, Store
from seqmem.training.worker import name_of, run_job

COMMAND = [sys.executable, "-P", "-m", "seqmem.training.worker"]
BUSY_SECONDS = 0.5  # between two questions whether another process has finished a job
STOP_SECONDS = 10.0  # a worker told to stop writes a checkpoint after its step; after so long it is killed


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def run_all(
    jobs: Sequence[Job[R]],
    store: Store,
    workers: int | None = None,
    on_event: OnEvent | None = None,
    checkpoint_seconds: float = 60.0,
) -> Iterator[R]:
    """Every job's result, as they come. Those in the store are not run again.

    workers: processes, by default one per core (see :func:`threads_of` for their threads); 0: in this process. An
    exception in a job, or a worker that dies on it or runs out of memory twice (the second one went on from the
    checkpoint), gives the status "failed"; the others go on. Closing the iterator, or a KeyboardInterrupt, stops the
    workers; what they were at can be resumed.
    """
    tell = on_event or (lambda _: None)
    waiting: deque[Job[R]] = deque()
    yield from finished_before(jobs, store, tell, waiting)
    workers = min(cores() if workers is None else workers, len(waiting))
    if workers < 0:
        raise InputError(f"workers is {workers}, expected 0 (in this process) or more")
    if workers:
        for obstacle in filter(None, (job.obstacle() for job in waiting)):
            raise InputError(obstacle)
        yield from _Pool(waiting, store, workers, tell, checkpoint_seconds).run()
    else:
        yield from _run_here(waiting, store, tell, checkpoint_seconds)


def finished_before(jobs: Sequence[Job[R]], store: Store, tell: OnEvent, waiting: deque[Job[R]]) -> Iterator[R]:
    """What the store has of the jobs; the others are put into ``waiting``."""
    for job in jobs:
        tell(Event("queued", job))
    for job in jobs:
        found = store.result(job)
        if found is None:
            waiting.append(job)
        else:
            tell(Event("reused", job, result=found))
            yield found


def _run_here(waiting: deque[Job[R]], store: Store, tell: OnEvent, checkpoint_seconds: float) -> Iterator[R]:
    while waiting:
        job = waiting.popleft()
        tell(Event("started", job))
        try:
            result = run_job(job, store, _reporter(job, tell), checkpoint_seconds)
        except OutOfMemory as error:
            result = job.failed(str(error))
        except Busy:
            tell(Event("busy", job))
            waiting.append(job)
            time.sleep(BUSY_SECONDS)
            continue
        tell(Event("finished", job, result=result))
        yield result


def _reporter(job: Job[R], tell: OnEvent) -> OnReached:
    return lambda now: tell(Event("step", job, *now))


class _Worker:
    """A process, what it is at, and a thread that puts its answers into the pool's queue."""

    def __init__(self, setup: dict[str, Any], answers: Answers) -> None:
        self.job: Job[Any] | None = None
        self.ready = False
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
        self.process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            encoding="utf-8",
            env=os.environ
            | dict.fromkeys(names, str(setup["threads"]))
            | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # a Ctrl-C in the terminal reaches the parent alone, which stops the workers
        )
        self.send(setup)
        self.reader = threading.Thread(target=self._read, args=(answers,), daemon=True)
        self.reader.start()

    def send(self, message: dict[str, Any]) -> None:
        """Give an order; to a process that has died, nothing (its end is read from the queue)."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass

    def _read(self, answers: Answers) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                answers.put((self, json.loads(line)))
            except ValueError:  # cut short by its death
                break
        self.process.wait()
        answers.put((self, None))

    def death(self) -> str:
        """How the process ended, in one line."""
        code = self.process.returncode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            how = f"its process was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
        else:
            how = f"its process ended with code {code}"
        self.errors.seek(0)
        lines = self.errors.read().decode("utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"{how}: {last}" if last else how

    def close(self) -> None:
        """Let go of the pipes of a process that has ended."""
        self.reader.join(timeout=1)
        for pipe in (self.process.stdin, self.process.stdout, self.errors):
            try:
                if pipe is not None:
                    pipe.close()
            except BrokenPipeError:
                pass


Answers = queue.SimpleQueue[tuple[_Worker, dict[str, Any] | None]]  # None: the process has ended


NARROW = 256  # below this width, handing an operation to a second thread costs more than it saves


def threads_of(workers: int, width: int) -> int:
    """Threads of each worker: one for narrow networks, else its share of the cores."""
    return 1 if width < NARROW else max(1, cores() // workers)


class _Pool(Generic[R]):
    """Hands the waiting jobs to workers until all have a result."""

    def __init__(
        self, waiting: deque[Job[R]], store: Store, workers: int, tell: OnEvent, checkpoint_seconds: float
    ) -> None:
        self.waiting, self.tell = waiting, tell
        self.setup = {
            "path": sys.path,
            "store": store.address,
            "threads": threads_of(workers, max(e.study_width for e in waiting)),
            "checkpoint_seconds": checkpoint_seconds,
        }
        self.answers: Answers = queue.SimpleQueue()
        self.workers = [self._hire() for _ in range(workers)]
        self.later: list[tuple[float, Job[R]]] = []  # busy elsewhere: ask again at this time
        self.deaths: dict[str, int] = {}  # by job
        self.idle_deaths = 0

    def run(self) -> Iterator[R]:
        try:
            while self.waiting or self.later or any(worker.job for worker in self.workers):
                self._hand_out()
                try:
                    worker, answer = self.answers.get(timeout=BUSY_SECONDS)
                except queue.Empty:
                    continue
                result = self._died(worker) if answer is None else self._heard(worker, answer)
                if result is not None:
                    yield result
        finally:
            self._stop()

    def _hire(self) -> _Worker:
        return _Worker(self.setup, self.answers)

    def _hand_out(self) -> None:
        now = time.monotonic()
        self.waiting.extend(job for due, job in self.later if due <= now)
        self.later = [(due, job) for due, job in self.later if due > now]
        for worker in self.workers:
            if self.waiting and worker.ready and worker.job is None:
                worker.job = self.waiting.popleft()
                worker.send({"job": name_of(type(worker.job)), "run": worker.job.model_dump(mode="json")})
                self.tell(Event("started", worker.job))

    def _heard(self, worker: _Worker, answer: dict[str, Any]) -> R | None:
        if "ready" in answer:
            worker.ready = True
            return None
        job = worker.job
        assert job is not None
        if "step" in answer:
            self.tell(Event("step", job, *answer["step"]))
            return None
        worker.job = None
        if "result" in answer:
            self.tell(Event("finished", job, result=answer["result"]))
            return answer["result"]
        if "busy" in answer:
            self.later.append((time.monotonic() + BUSY_SECONDS, job))
            self.tell(Event("busy", job))
        return None

    def _died(self, worker: _Worker) -> R | None:
        """Replace a worker; give its job a second chance."""
        how, job = worker.death(), worker.job
        worker.close()
        self.workers.remove(worker)
        if job is None:
            self.idle_deaths += 1
            if self.idle_deaths > 3:
                raise RuntimeError(f"worker processes cannot be started: {how}")
        self.workers.append(self._hire())
        if job is None:
            return None
        self.deaths[job.hash] = self.deaths.get(job.hash, 0) + 1
        if self.deaths[job.hash] < 2:
            self.waiting.appendleft(job)
            self.tell(Event("retried", job, detail=how))
            return None
        result = job.failed(f"tried twice; the second time {how}")
        self.tell(Event("finished", job, result=result))
        return result

    def _stop(self) -> None:
        """End all workers: those at a job that can be resumed after their step, with a checkpoint; the others at once.
        A second Ctrl-C ends all at once."""
        try:
            for worker in self.workers:
                if worker.job is None or not worker.job.resumable:
                    worker.process.kill()
                else:
                    worker.send({"stop": True})
            deadline = time.monotonic() + STOP_SECONDS
            for worker in self.workers:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.process.wait(max(0.0, deadline - time.monotonic()))
        finally:
            for worker in self.workers:
                worker.process.kill()
                worker.process.wait()
                worker.close()
