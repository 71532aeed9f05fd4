"""One worker process: reads jobs from its standard input, runs them in the store, answers on its standard
output.

``python -m seqmem.training.worker``. Both ways one JSON object per line. In: ``{"path": sys.path, "store": root,
"threads": n, "checkpoint_seconds": s}`` once, then ``{"job": "module:Class", "run": description}`` or ``{"stop":
true}``. Out: ``{"ready": true}``, then per job ``{"step": [step, steps, words]}`` now and then and one of ``{"result":
...}``, ``{"busy": true}``, ``{"interrupted": true}``. A job that runs out of memory ends the process, which gives the
memory back. The end of the input means stop: the parent has gone.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
from typing import IO, TYPE_CHECKING, Any

from seqmem.errors import line_of

if TYPE_CHECKING:
    from seqmem.training.job import Job, OnReached, R, Reached
    from seqmem.training.store import Store

REPORT_SECONDS = 0.1  # least time between two reports of one job
GRACE_SECONDS = 30.0  # a worker whose parent has gone stops at its next step, or after so long in any case


def name_of(kind: type[Job[Any]]) -> str:
    """``module:Class``, by which another process finds a kind of job."""
    return f"{kind.__module__}:{kind.__qualname__}"


def job_of(kind: str, described: dict[str, Any]) -> Job[Any]:
    """The job that :func:`name_of` and ``model_dump`` tell of."""
    module, _, name = kind.partition(":")
    found: Job[Any] = getattr(importlib.import_module(module), name).model_validate(described)
    return found


def run_job(job: Job[R], store: Store, progress: OnReached, checkpoint_seconds: float = 60.0) -> R:
    """The result of the store, or of a run in it; an exception in the run becomes the status "failed".

    Raises Busy when another process has the job, Interrupted when ``progress`` does, and OutOfMemory.
    """
    import traceback

    from seqmem.training.job import Interrupted, OutOfMemory
    from seqmem.training.store import Busy

    try:
        return store.run(job, lambda folder: job.work(folder, progress, checkpoint_seconds))
    except (Busy, Interrupted):
        raise
    except Exception as error:
        message = f"{type(error).__name__}: {line_of(error)}"
        if _is_out_of_memory(error):
            raise OutOfMemory(f"out of memory: {message}") from error
        trace = store.folder(job) / "traceback.txt"
        try:
            trace.write_text(traceback.format_exc(), encoding="utf-8")
            where = f" (see {trace})"
        except OSError:
            where = ""
        return job.failed(f"{message}{where}")


def _is_out_of_memory(error: Exception) -> bool:
    """Python's and NumPy's exception, torch's of a device, and what torch's allocator for the CPU says."""
    import torch

    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "DefaultCPUAllocator: " in str(error)


def main() -> None:
    """Serve until told to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    answers = _take_standard_output()
    setup = json.loads(sys.stdin.readline() or "{}")
    if not setup:
        return
    sys.path[:] = setup["path"]

    import torch

    from seqmem.training.job import Interrupted, OutOfMemory
    from seqmem.training.store import Busy, open_store

    torch.set_num_threads(setup["threads"])
    store = open_store(setup["store"])
    orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    stop = threading.Event()
    threading.Thread(target=_listen, args=(orders, stop), daemon=True).start()

    def answer(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")  # a NaN may pass: both ends are Python
        answers.flush()

    reported = 0.0

    def progress(now: Reached) -> None:
        nonlocal reported
        if stop.is_set():
            raise Interrupted
        if time.perf_counter() - reported >= REPORT_SECONDS:
            reported = time.perf_counter()
            answer({"step": list(now)})

    answer({"ready": True})
    while "run" in (order := orders.get()):
        job = job_of(order["job"], order["run"])
        try:
            answer({"result": run_job(job, store, progress, setup["checkpoint_seconds"])})
        except Busy:
            answer({"busy": True})
        except Interrupted:
            answer({"interrupted": True})
        except OutOfMemory as error:
            print(error, file=sys.stderr, flush=True)  # its last words
            os._exit(1)


def _listen(orders: queue.SimpleQueue[dict[str, Any]], stop: threading.Event) -> None:
    for line in sys.stdin:
        order = json.loads(line)
        if "stop" in order:
            break
        orders.put(order)
    stop.set()
    orders.put({})
    time.sleep(GRACE_SECONDS)
    os._exit(1)


def _take_standard_output() -> IO[str]:
    """The answers' own channel; whatever else is printed, by a layer of the user's own say, goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # the parent has gone
        os._exit(1)
