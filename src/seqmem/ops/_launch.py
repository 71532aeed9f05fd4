"""Compiles Numba kernels and runs them over independent tasks with as many threads as torch uses.

``launch(factory, constants, tasks, *arguments)``: ``factory(*constants, parallel)`` returns a kernel, made with
``@jit(parallel)``, that is called as ``kernel(*arguments, tasks)`` and whose outer loop is ``prange(tasks)``. The
constants (head sizes, block widths) are known to the compiler.

Runs serially in a forked child (GNU OpenMP would end the process), with one torch thread, and while another Python
thread is inside a parallel region.

Machine code is kept in Numba's cache on disk. Where that cannot be written or read, kernels are compiled in every
process anew, with one warning.
"""

from __future__ import annotations

import os
import pickle
import threading
import warnings
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numba
import torch

_forked = False
_region = threading.Lock()
_cache_on_disk = True


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


@lru_cache(None)
def _shared_code() -> str:
    """Changes when the code that is compiled into every kernel does. Numba looks only at the kernel's own file."""
    here = Path(__file__)
    files = here, here.with_name("_math.py"), here.with_name("_sweep.py")
    return f"{zlib.crc32(b''.join(file.read_bytes() for file in files)):08x}"


def jit(parallel: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorates a kernel inside its factory. Numba's cache knows a function by its name and closure, not by its
    options: the name tells the serial build from the parallel one."""

    def compiled(kernel: Callable[..., None]) -> Callable[..., None]:
        options = {**OPTIONS, "parallel": bool(parallel)}
        kernel.__qualname__ += f"_{'parallel' if parallel else 'serial'}_{_shared_code()}"
        if _cache_on_disk:
            try:
                return numba.njit(**options)(kernel)
            except RuntimeError as error:  # no directory in which to keep machine code
                _give_up_cache(error)
        return numba.njit(**{**options, "cache": False})(kernel)

    return compiled


def _give_up_cache(error: Exception) -> None:
    global _cache_on_disk
    if _cache_on_disk:
        _cache_on_disk = False
        warnings.warn(
            f"seqmem: Numba's cache on disk does not work ({error}); kernels are compiled anew in every process, "
            "seconds each; set NUMBA_CACHE_DIR to a directory that can be written",
            RuntimeWarning,
            stacklevel=2,
        )


@lru_cache(None)
def _build(
    factory: Callable[..., Callable[..., None]], constants: tuple[Any, ...], parallel: int
) -> Callable[..., None]:
    return factory(*constants, parallel)


def _run(
    factory: Callable[..., Callable[..., None]], constants: tuple[Any, ...], parallel: int, *arguments: Any
) -> None:
    try:
        _build(factory, constants, parallel)(*arguments)
    except (OSError, EOFError, pickle.PickleError) as error:  # arithmetic raises none of these: it is the cache
        _give_up_cache(error)
        _build.cache_clear()
        _build(factory, constants, parallel)(*arguments)


def launch(
    factory: Callable[..., Callable[..., None]], constants: tuple[Any, ...], tasks: int, *arguments: Any
) -> None:
    """Run the kernel that ``factory(*constants, parallel)`` makes on ``tasks`` independent tasks."""
    threads = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS, tasks)  # type: ignore[attr-defined]
    if threads <= 1 or _forked or numba.config.DISABLE_JIT or not _region.acquire(blocking=False):  # type: ignore[attr-defined]
        _run(factory, constants, 0, *arguments, tasks)
        return
    try:
        numba.set_num_threads(threads)
        _run(factory, constants, 1, *arguments, tasks)
    finally:
        _region.release()


def run_serially(factory: Callable[..., Callable[..., None]], *arguments: Any) -> None:
    """Run the kernel that ``factory(parallel)`` makes on this thread."""
    _run(factory, (), 0, *arguments)
