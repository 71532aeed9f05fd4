"""The limits of this machine, measured: memory traffic and arithmetic, and what an op needs of both.

An op must read its inputs and write its output; its backward pass must read the inputs and the output's gradient and
write the inputs' gradients. Bytes beyond these are the implementation's own. The longer of the two times, for bytes at
the measured bandwidth and for arithmetic at the measured rate of a matrix product, is the least that it can take.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch

from seqmem.bench.cases import Case, Inputs, Sizes
from seqmem.bench.measure import fastest


class Limit(NamedTuple):
    """seconds: the least that a pass can take; kind: "memory" or "arithmetic", whichever binds."""

    seconds: float
    kind: str


def limit(case: Case, sizes: Sizes, inputs: Inputs, output_bytes: int, which: str) -> Limit:
    """The least time of the forward pass, or of forward and backward together."""
    moved = traffic(inputs, output_bytes, which)
    per_position = case.flops(sizes)
    operations = per_position.forward + (per_position.backward if which == "forward+backward" else 0)
    operations *= sizes.batch * sizes.time
    memory = moved / bandwidth(moved)
    arithmetic = operations / product_rate()
    return Limit(memory, "memory") if memory >= arithmetic else Limit(arithmetic, "arithmetic")


def traffic(inputs: Inputs, output_bytes: int, which: str) -> int:
    """Bytes that a pass must move."""
    read = sum(x.numel() * x.element_size() for x in inputs)
    forward = read + output_bytes
    return forward if which == "forward" else forward + 2 * read + output_bytes


@functools.cache
def bandwidth(size: int) -> float:
    """Bytes per second of ``torch.add(a, b, out=c)`` over ``size`` bytes together, with the threads that torch has now;
    small sizes are served by caches, as the op's own are."""
    count = max(size // 12, 1)  # three arrays of four bytes each
    a, b, c = torch.ones(count), torch.ones(count), torch.ones(count)
    return 12 * count / fastest(lambda: torch.add(a, b, out=c), 0.1)


@functools.cache
def product_rate(size: int = 1024, dtype: torch.dtype = torch.float32) -> float:
    """Operations per second of a matrix product, with the threads that torch has now."""
    a, b, c = (torch.ones(size, size, dtype=dtype) for _ in range(3))
    return 2 * size**3 / fastest(lambda: torch.mm(a, b, out=c), 0.3)


def forget() -> None:
    """Measure anew: for another number of threads."""
    bandwidth.cache_clear()
    product_rate.cache_clear()
