"""What the first call of an op costs a process: compiling its kernels, or reading them back from Numba's cache.

Forward and backward on a short sequence, in processes of their own: one that starts with an empty cache and compiles
every op's kernels one after the other, then one per op that finds them there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import torch

from seqmem.bench.cases import CASES, Case, Sizes
from seqmem.bench.speed import Record

SECONDS = 300.0


def measure_first_calls(cases: Sequence[Case]) -> list[Record]:
    """A record per case: ``empty_seconds`` with nothing compiled, ``warm_seconds`` with machine code on disk. Both hold
    the import of Numba."""
    names = [case.name for case in cases]
    base = [{"kind": "first_call", "op": c.op, "variant": c.variant, "status": "ok", "note": ""} for c in cases]
    with tempfile.TemporaryDirectory(prefix="seqmem-bench-") as folder:
        try:
            empty = _run(names, folder)
            warm = [_run([name], folder) for name in names]
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
            return [record | {"status": "failed", "note": f"failed: {_last_line(error)}"} for record in base]
    return [
        record | {"empty_seconds": empty["imports"] + empty[name], "warm_seconds": w["imports"] + w[name]}
        for record, name, w in zip(base, names, warm, strict=True)
    ]


def _run(names: list[str], cache: str) -> dict[str, float]:
    """Seconds of the first call of each case, and under "imports" those of importing Numba."""
    told = json.dumps({"cases": names, "threads": torch.get_num_threads()})
    done = subprocess.run(
        [sys.executable, "-m", "seqmem.bench.first_call", told],
        env={**os.environ, "NUMBA_CACHE_DIR": cache}, capture_output=True, text=True, timeout=SECONDS, check=True,
    )  # fmt: skip
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _last_line(error: subprocess.TimeoutExpired | subprocess.CalledProcessError) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"not done in {SECONDS:g} s"
    return str((error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1])


def _child(cases: list[str], threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    x = torch.ones(2, 2, requires_grad=True)
    (x @ x).sum().backward()  # torch's own first calls
    start = time.perf_counter()
    import numba  # noqa: F401

    seconds = {"imports": time.perf_counter() - start}
    for case in CASES:
        if case.name in cases:
            inputs = case.inputs(Sizes(64), torch.Generator().manual_seed(0))
            leaves = tuple(x.requires_grad_() for x in inputs)
            start = time.perf_counter()
            output = case.ours(*leaves)
            torch.autograd.grad(output, leaves, torch.ones_like(output))
            seconds[case.name] = time.perf_counter() - start
    return seconds


if __name__ == "__main__":
    print(json.dumps(_child(**json.loads(sys.argv[1]))))
