"""What the first call of an op costs a process: compiling its kernels, or reading them back from Numba's cache.

Forward and backward on a short sequence, in two processes per op: one that starts with an empty cache, and one that
finds there what the first has compiled.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time

import torch

from seqmem.bench.cases import CASES, Case, Sizes
from seqmem.bench.speed import Record

SECONDS = 120.0


def measure_first_call(case: Case) -> Record:
    """``empty_seconds`` with nothing compiled, ``warm_seconds`` with machine code on disk, both with the import of
    Numba."""
    base = {"kind": "first_call", "op": case.op, "variant": case.variant, "status": "ok", "note": ""}
    with tempfile.TemporaryDirectory(prefix="seqmem-bench-") as folder:
        try:
            return base | {"empty_seconds": _run(case, folder), "warm_seconds": _run(case, folder)}
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
            return base | {"status": "failed", "note": f"failed: {_last_line(error)}"}


def _run(case: Case, cache: str) -> float:
    """Seconds of the first call in a process with this cache."""
    told = json.dumps({"name": case.name, "threads": torch.get_num_threads()})
    done = subprocess.run(
        [sys.executable, "-m", "seqmem.bench.first_call", told],
        env={**os.environ, "NUMBA_CACHE_DIR": cache}, capture_output=True, text=True, timeout=SECONDS, check=True,
    )  # fmt: skip
    return float(done.stdout.splitlines()[-1])


def _last_line(error: subprocess.TimeoutExpired | subprocess.CalledProcessError) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"not done in {SECONDS:g} s"
    return str((error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1])


def _child(name: str, threads: int) -> float:
    torch.set_num_threads(threads)
    x = torch.ones(2, 2, requires_grad=True)
    (x @ x).sum().backward()  # torch's own first calls
    case = next(c for c in CASES if c.name == name)
    leaves = tuple(x.requires_grad_() for x in case.inputs(Sizes(64), torch.Generator().manual_seed(0)))
    start = time.perf_counter()
    output = case.ours(*leaves)
    torch.autograd.grad(output, leaves, torch.ones_like(output))
    return time.perf_counter() - start


if __name__ == "__main__":
    print(json.dumps(_child(**json.loads(sys.argv[1]))))
