"""One worker process: reads experiments from its standard input, runs them in the store, answers on its standard
output.

``python -m seqmem.training.worker``. Both ways one JSON object per line. In: ``{"path": sys.path, "store": root,
"threads": n, "checkpoint_seconds": s}`` once, then ``{"run": experiment}`` or ``{"stop": true}``. Out: ``{"ready":
true}``, then per experiment ``{"step": ...}`` now and then and one of ``{"result": ...}``, ``{"busy": true}``,
``{"interrupted": true}``. The end of the input means stop: the parent has gone.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqmem.training.experiment import Experiment
    from seqmem.training.loop import Progress
    from seqmem.training.schema import Result
    from seqmem.training.store import Store

REPORT_SECONDS = 0.1  # least time between two reports of one training
GRACE_SECONDS = 30.0  # a worker whose parent has gone stops at its next step, or after so long in any case


def run_experiment(
    experiment: Experiment, store: Store, progress: Callable[[Progress], None], checkpoint_seconds: float = 60.0
) -> Result:
    """The result of the store, or of a training in it; an exception in the training becomes the status "failed".

    Raises Busy when another process has the experiment, and Interrupted when ``progress`` does.
    """
    import traceback

    from seqmem.training.loop import Interrupted, train
    from seqmem.training.result import result_of
    from seqmem.training.store import Busy

    try:
        return store.run(
            experiment,
            lambda folder: train(experiment, folder, progress=progress, checkpoint_seconds=checkpoint_seconds),
        )
    except (Busy, Interrupted):
        raise
    except Exception as error:
        message = " ".join(str(error).split())
        trace = store.folder(experiment) / "traceback.txt"
        try:
            trace.write_text(traceback.format_exc(), encoding="utf-8")
            where = f" (see {trace})"
        except OSError:
            where = ""
        return result_of(experiment, status="failed", status_detail=f"{type(error).__name__}: {message}{where}")


def main() -> None:
    """Serve until told to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    answers = _take_standard_output()
    setup = json.loads(sys.stdin.readline() or "{}")
    if not setup:
        return
    sys.path[:] = setup["path"]

    import torch

    from seqmem.training.experiment import Experiment
    from seqmem.training.loop import Interrupted
    from seqmem.training.store import Busy, Store

    torch.set_num_threads(setup["threads"])
    store = Store(setup["store"])
    orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    stop = threading.Event()
    threading.Thread(target=_listen, args=(orders, stop), daemon=True).start()

    def answer(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")  # a NaN may pass: both ends are Python
        answers.flush()

    reported = 0.0

    def progress(now: Progress) -> None:
        nonlocal reported
        if stop.is_set():
            raise Interrupted
        if time.perf_counter() - reported >= REPORT_SECONDS:
            reported = time.perf_counter()
            answer({"step": now.step, "loss": now.loss, "validation": now.validation})

    answer({"ready": True})
    while "run" in (order := orders.get()):
        experiment = Experiment.model_validate(order["run"])
        try:
            answer({"result": run_experiment(experiment, store, progress, setup["checkpoint_seconds"])})
        except Busy:
            answer({"busy": True})
        except Interrupted:
            answer({"interrupted": True})


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
