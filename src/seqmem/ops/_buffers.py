"""Memory for large results, used again once the tensor that had it is gone.

What the system gives for a large array are fresh pages, which it clears one by one as they are touched: for an op that
reads and writes each number once this takes longer than the op. Freed memory is therefore kept, up to ``LIMIT`` bytes
in all (environment variable ``SEQMEM_BUFFERS``, in MiB; 0 keeps none), and given out for results of the same size.
The tensors are ordinary ones: whoever holds one, or its gradient, or a view, holds the memory.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqmem.errors import InputError

SMALLEST = 2**20  # bytes: below, the C library keeps freed memory by itself
ALIGNMENT = 64  # bytes: a cache line, and the widest vector
NUMPY = {
    torch.float32: np.float32, torch.float64: np.float64, torch.complex64: np.complex64,
    torch.complex128: np.complex128,
}  # fmt: skip


def _limit() -> int:
    given = os.environ.get("SEQMEM_BUFFERS", "256")
    if not given.isdecimal():
        raise InputError(f"SEQMEM_BUFFERS is {given!r}, expected a whole number of MiB; 0 keeps nothing")
    return int(given) * 2**20


class Pool:
    """Blocks that nobody uses, the latest last. Where another thread (or this one, interrupted by the garbage
    collector) is at the list, nothing is taken or kept: no call ever waits."""

    def __init__(self, limit: int) -> None:
        self.limit, self.held = limit, 0
        self._free: list[Any] = []
        self._lock = threading.Lock()

    def take(self, size: int) -> Any:
        """An aligned array of ``size`` bytes, of any content."""
        if self._lock.acquire(blocking=False):
            try:
                for place in range(len(self._free) - 1, -1, -1):
                    if self._free[place].nbytes == size:
                        self.held -= size
                        return self._free.pop(place)
            finally:
                self._lock.release()
        block = np.empty(size + ALIGNMENT, np.uint8)
        first = -block.ctypes.data % ALIGNMENT
        return block[first : first + size]

    def give(self, block: Any) -> None:
        """Keep the block; the oldest go where it would be too much."""
        if block.nbytes > self.limit or not self._lock.acquire(blocking=False):
            return
        try:
            self._free.append(block)
            self.held += block.nbytes
            while self.held > self.limit:
                self.held -= self._free.pop(0).nbytes
        finally:
            self._lock.release()


class _Lease:
    """What a tensor's storage holds on to, and gives back at its end."""

    def __init__(self, pool: Pool, size: int) -> None:
        self.pool, self.block = pool, pool.take(size)
        self.__array_interface__ = self.block.__array_interface__

    def __del__(self) -> None:
        self.pool.give(self.block)


_pool: Pool | None = None


def pool() -> Pool:
    """The one of this process."""
    global _pool
    if _pool is None:
        _pool = Pool(_limit())
    return _pool


def like(x: Tensor) -> Tensor:
    """A contiguous tensor of the shape and dtype of ``x``, of any content."""
    size = x.numel() * x.element_size()
    if size < SMALLEST or type(x) is not Tensor or x.device.type != "cpu" or x.dtype not in NUMPY:
        return torch.empty_like(x, memory_format=torch.contiguous_format)
    block = np.asarray(_Lease(pool(), size)).view(NUMPY[x.dtype])
    return torch.from_numpy(block.reshape(x.shape))
