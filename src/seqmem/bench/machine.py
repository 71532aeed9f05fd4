"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from seqmem.bench import roofline
from seqmem.training.engine import cores
from seqmem.training.result import versions

LARGE = 96 * 2**20  # bytes: beyond the caches of most machines


@contextmanager
def using(threads: int) -> Iterator[None]:
    """So many threads for torch and the kernels, the limits measured anew."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    roofline.forget()
    try:
        yield
    finally:
        torch.set_num_threads(before)
        roofline.forget()


def describe() -> dict[str, str | float]:
    """Processor, cores, threads, versions, and the measured limits (GB/s, GFLOP/s)."""
    found = versions()
    return {
        "processor": _processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "memory_gb_per_second": roofline.bandwidth(LARGE) / 1e9,
        "matrix_product_gflops": roofline.product_rate() / 1e9,
        "vector_extension": torch.backends.cpu.get_cpu_capability(),
        **{name: found[name] for name in ("seqmem", "python", "torch", "numba", "transformers")},
    }


def load() -> float | None:
    """How many processes wanted to run over the last minute; None where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
