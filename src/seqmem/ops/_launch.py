"""Runs a Numba kernel over independent tasks with as many threads as torch uses.

``launch(factory, constants, tasks, *arrays)``: ``factory(*constants, parallel)`` returns a jitted ``kernel(*arrays, tasks)`` whose outer
loop is ``prange(tasks)``. ``parallel`` is a closure value, so that the serial and the parallel build have different keys in Numba's cache
on disk, and the constants (head sizes, block widths) are known to the compiler.

Runs serially in a forked child (GNU OpenMP would end the process), with one torch thread, and while another Python thread is inside a
parallel region.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numba
import torch

_forked = False
_region = threading.Lock()


def _after_fork() -> None:
    global _forked, _region
    _forked = True
    _region = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

#: Options of every kernel. ``fastmath`` without "nnan"/"ninf": NaN and infinity in the input must come out again.
OPTIONS: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
    "error_model": "numpy",
    "boundscheck": False,
}


def launch(factory: Callable[..., Callable[..., None]], constants: tuple[Any, ...], tasks: int, *arrays: Any) -> None:
    """Run the kernel that ``factory(*constants, parallel)`` makes on ``tasks`` independent tasks."""
    threads = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS, tasks)
    if threads <= 1 or _forked or not _region.acquire(blocking=False):
        factory(*constants, 0)(*arrays, tasks)
        return
    try:
        numba.set_num_threads(threads)
        factory(*constants, 1)(*arrays, tasks)
    finally:
        _region.release()
