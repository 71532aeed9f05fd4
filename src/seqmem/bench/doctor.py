"""What runs here, how fast this machine is, and what is known to go wrong."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from seqmem.bench import machine
from seqmem.errors import InputError
from seqmem.ops._dispatch import OPS, jit_disabled, numba_missing, on_cpu, on_cuda
from seqmem.training.engine import cores
from seqmem.training.result import versions
from seqmem.training.store import open_store

State = Literal["ok", "note", "problem"]


class Finding(NamedTuple):
    """``name``: what was looked at; ``found``: in a few words; ``advice``: what to do, where something is needed."""

    section: str
    name: str
    found: str
    state: State = "ok"
    advice: str = ""


def examine(store: str | os.PathLike[str] | None = None, measure: bool = True) -> list[Finding]:
    """Everything, in the order in which it is printed. ``measure``: time memory and arithmetic, about a second."""
    return [*_versions(), *_processor(measure), *_kernels(), *_devices(), *_places(store), *_traps()]


def _versions() -> Iterator[Finding]:
    for name, version in versions().items():
        if name != "threads":
            yield Finding("versions", name, version)
    if importlib.util.find_spec("ray") is not None:
        yield Finding("versions", "ray", importlib.metadata.version("ray"))


def _processor(measure: bool) -> Iterator[Finding]:
    here = "processor"
    usable, threads = cores(), torch.get_num_threads()
    described = machine.describe() if measure else {}
    if described:
        yield Finding(here, "processor", str(described["processor"]))
    yield Finding(here, "cores", f"{usable} of {os.cpu_count()} may be used")
    too_many = threads > usable
    yield Finding(
        here, "torch threads", str(threads), "problem" if too_many else "ok",
        f"more threads than cores wait for each other: set OMP_NUM_THREADS={usable}" if too_many else "",
    )  # fmt: skip
    if described:
        yield Finding(here, "memory", f"{described['memory_gb_per_second']:.1f} GB/s (sum of two large arrays)")
        yield Finding(here, "matrix product", f"{described['matrix_product_gflops']:.0f} GFLOP/s (float32, 1024)")
        yield Finding(here, "vector extension", str(described["vector_extension"]))
    load = machine.load()
    if load is not None:
        busy = load > 0.5 * usable
        yield Finding(
            here, "load", f"{load:.1f} processes over the last minute", "note" if busy else "ok",
            "times measured now are those of a busy machine" if busy else "",
        )  # fmt: skip


def _kernels() -> Iterator[Finding]:
    here = "kernels"
    missing = numba_missing()
    if missing:
        yield Finding(here, "Numba", missing, "problem", "the recurrences run through the slower PyTorch reference")
    elif jit_disabled():
        yield Finding(here, "Numba", "NUMBA_DISABLE_JIT is set", "problem", "unset it: kernels run as plain Python")
    chosen = os.environ.get("SEQMEM_BACKEND", "auto")
    if chosen != "auto":
        yield Finding(here, "SEQMEM_BACKEND", chosen, "note", "every op is forced to this path; unset it for auto")
    yield Finding(here, chosen if chosen in ("reference", "numba", "fla") else on_cpu(), ", ".join(OPS))
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or tempfile.gettempdir())
    writable = os.access(folder if folder.exists() else folder.parent, os.W_OK)
    yield Finding(
        here, "machine code is kept in", str(folder) if "NUMBA_CACHE_DIR" in os.environ else "Numba's own folders",
        "ok" if writable else "note", "" if writable else f"'{folder}' cannot be written: each process compiles anew",
    )  # fmt: skip


def _devices() -> Iterator[Finding]:
    here = "devices"
    yield Finding(here, "CPU", "kernels (Numba) for float32 and float64; float16 and bfloat16 are computed in float32")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            yield Finding(here, f"CUDA {index}", torch.cuda.get_device_name(index))
    else:
        built = "this torch is built without it" if torch.version.cuda is None else "no device is visible"
        yield Finding(here, "CUDA", f"none ({built})")
    paths = on_cuda()
    for path in dict.fromkeys(paths.values()):
        yield Finding(here, f"on CUDA: {path}", ", ".join(name for name in OPS if paths[name] == path))


def _places(store: str | os.PathLike[str] | None) -> Iterator[Finding]:
    here = "places"
    try:
        root = open_store(store).root
    except InputError as error:
        yield Finding(here, "store", str(error), "problem", "set SEQMEM_STORE to a folder that can be written")
        return
    free = shutil.disk_usage(root).free
    yield Finding(
        here, "store", f"{root} ({free / 2**30:.1f} GiB free)", "problem" if free < 2**28 else "ok",
        "free some space: checkpoints are written every minute" if free < 2**28 else "",
    )  # fmt: skip
    damaged = list(root.glob("*/*/*.damaged*"))
    if damaged:
        yield Finding(here, "damaged files", f"{len(damaged)} were set aside", "note", f"look at {damaged[0]}")


def _traps() -> Iterator[Finding]:
    here = "traps"
    cpu_only = torch.version.cuda is None and torch.version.hip is None
    found = False
    if cpu_only and importlib.util.find_spec("triton") is not None:
        found = True
        yield Finding(
            here, "triton", "beside a torch without a GPU", "problem",
            "packages that look for it take its presence for a GPU and fail: pip uninstall triton",
        )  # fmt: skip
    if importlib.util.find_spec("torchvision") is not None:
        try:
            importlib.import_module("torchvision")
        except Exception as error:  # built for another torch
            found = True
            yield Finding(
                here, "torchvision", f"cannot be imported ({type(error).__name__})", "problem",
                "transformers imports it where it is: pip uninstall torchvision, or install the one for this torch",
            )  # fmt: skip
    major, minor = (int(part) for part in torch.__version__.split(".")[:2])
    if not (2, 8) <= (major, minor) < (2, 14):
        found = True
        yield Finding(
            here, "torch", torch.__version__, "problem", "seqmem is tested with torch>=2.8,<2.14; install one of these"
        )
    if not found:
        yield Finding(here, "known traps", "none found")
