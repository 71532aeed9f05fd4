"""Memory of a training step beyond what it is given and what it gives.

Measured in a process of its own that runs the passes one after the other: the highest resident set during a forward and
backward pass, minus the resident set before it, minus the bytes of the output and of the inputs' gradients. That counts
everything, also what is not allocated through torch. Large blocks go straight to the system there and back, so that
each pass starts from the same level. What our own buffers keep is counted: none are held at the beginning. Needs Linux,
where the high-water mark can be reset.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from seqmem.bench import passes
from seqmem.bench.cases import CASES, Case, Sizes
from seqmem.bench.speed import Record

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
SECONDS = 90.0  # for one op and its peers
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}  # bytes; nothing freed is kept


def measure_memory(case: Case, length: int, peers: list[str]) -> list[Record]:
    """Records for the op and for the named peers."""
    base = {"kind": "memory", "op": case.op, "variant": case.variant, "length": length}
    told = json.dumps({"case": case.name, "length": length, "peers": peers, "threads": torch.get_num_threads()})
    if not (STATUS.exists() and RESET.exists()):
        return [base | {"peer": None, "status": "not run", "note": "memory is measured on Linux only"}]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "seqmem.bench.memory", told],
            env={**os.environ, **MALLOC}, capture_output=True, text=True, timeout=SECONDS, check=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return [base | {"peer": None, "status": "failed", "note": f"failed: not done in {SECONDS:g} s"}]
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
        return [base | {"peer": None, "status": "failed", "note": f"failed: {last}"}]
    return [base | record for record in json.loads(done.stdout.splitlines()[-1])]


def _resident(field: str) -> int:
    """Bytes: VmRSS now, VmHWM at most since the last reset."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def _extra(function: passes.Function, inputs: tuple[torch.Tensor, ...]) -> tuple[int, int]:
    """(bytes beyond, bytes of inputs, output and all gradients) of one forward and backward pass."""
    with torch.no_grad():
        gradient = torch.ones_like(function(*inputs)).contiguous()
    call = passes.forward_backward(function, inputs, gradient)
    given = sum(x.numel() * x.element_size() for x in (*inputs, gradient))
    gc.collect()
    RESET.write_text("5")
    before = _resident("VmRSS")
    gradients = call()
    peak = _resident("VmHWM")
    made = sum(x.numel() * x.element_size() for x in gradients if x is not None)
    output = gradient.numel() * gradient.element_size()
    return max(0, peak - before - made - output), given + made + output


def _child(case: str, length: int, peers: list[str], threads: int) -> list[Record]:
    torch.set_num_threads(threads)
    found = next(c for c in CASES if c.name == case)
    alone, enter = found.alone or (found.ours, lambda *x: x)
    functions: list[tuple[str | None, Any, bool]] = [(None, alone, False)]
    functions += [(p.name, p.call, p.transposed) for p in found.peers if p.name in peers]
    records = []
    for name, function, transposed in functions:
        layout = passes.exchanged if transposed else (lambda x: x)
        generator = torch.Generator().manual_seed(0)
        for time in (64, length):  # first a short one: it compiles, imports, starts threads
            inputs = tuple(layout(x) for x in found.inputs(Sizes(time), generator))
            extra, own = _extra(function, inputs if name else enter(*inputs))
        records.append({"peer": name, "status": "ok", "note": "", "extra_bytes": extra, "own_bytes": own})
    return records


if __name__ == "__main__":
    print(json.dumps(_child(**json.loads(sys.argv[1]))))
