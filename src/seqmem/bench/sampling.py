"""How fast a task makes its data: tokens for each second of processor time, which no other process lengthens."""

from __future__ import annotations

import time

import torch

from seqmem.bench.measure import Clock, alone
from seqmem.bench.speed import Record
from seqmem.errors import line_of
from seqmem.tasks import get_task

TOKENS = 32_768  # in a batch, about


def measure_sampling(name: str, seconds: float, clock: Clock = time.process_time) -> Record:
    """Batches of training data at the task's own length, with its default options, on one thread (a second one that
    waits takes processor time, too), for about ``seconds``."""
    base = {"kind": "task", "task": name, "status": "ok", "note": ""}
    generator, threads = torch.Generator().manual_seed(0), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        task = get_task(name)
        length = task.train_length
        rows = max(1, TOKENS // length)
        took = alone(lambda: task.sample(rows, length, generator), seconds, clock)
    except Exception as error:  # a task of somebody else's, or data that are not here: what it says is the result
        return base | {"status": "failed", "note": f"failed: {type(error).__name__}: {line_of(error)[:300]}"}
    finally:
        torch.set_num_threads(threads)
    return base | {"length": length, "rows": rows, "tokens_per_cpu_second": rows * length / max(took, 1e-9)}
