"""Which path an op takes, decided in one place and open to questions.

``backend="auto"`` takes the Numba kernel when every floating-point input is a CPU tensor of a dtype that the op has a
kernel for (float32, float64; bfloat16 and float16 are computed in float32; complex in ``linear_scan``) and more than
one time step is asked for; for a single step a kernel of its own where no gradient is asked (decoding); otherwise the
PyTorch reference. On CUDA, more than one step in bfloat16 or float16 goes to the kernels of fla where it is installed
and has the op (:mod:`seqmem.ops._fla`). ``backend="numba"``, ``"fla"`` and ``"reference"`` force one, and raise where
it cannot run. The environment variable ``SEQMEM_BACKEND`` sets what "auto" means.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.autograd import forward_ad

from seqmem.errors import InputError
from seqmem.ops._fla import OPS_WITH_FLA, fla_missing
from seqmem.ops._fla import obstacle as fla_obstacle

Backend = Literal["auto", "reference", "numba", "fla"]
Path = Literal["reference", "numba", "step", "fla"]

PLAIN = (Tensor, torch.nn.Parameter)  # not a subclass, which may hold no memory of its own

COMPUTED_IN_FLOAT32 = (torch.bfloat16, torch.float16)
KERNEL_DTYPES = (torch.float32, torch.float64)
COMPLEX_DTYPES = (torch.complex64, torch.complex128)  # linear_scan alone has kernels for them
ONE_STEP = "reference (one step)"
DECODING = "step (one step without gradients: a kernel on addresses)"
OPS = (
    "causal_conv",
    "delta_rule",
    "gated_linear_attention",
    "generalized_delta_rule",
    "gru",
    "linear_scan",
    "lstm",
    "running_softmax",
    "selective_scan",
    "slstm",
    "ssd",
    "wkv",
)
STEPS = ("causal_conv", "delta_rule", "gated_linear_attention", "selective_scan", "ssd")  # ops with such a kernel

# op -> the path its most recent call took and why; `explain()` shows it
_last_path: dict[str, str] = {}


@lru_cache(None)
def numba_missing() -> str | None:
    """Why the Numba kernels cannot run here, or None when they can."""
    if importlib.util.find_spec("numba") is None:
        return "Numba is not installed (pip install numba)"
    try:
        import numba  # noqa: F401
    except Exception as error:  # a broken installation must name itself, not take the reference silently
        return f"Numba cannot be imported: {error}"
    return None


@lru_cache(None)
def jit_disabled() -> bool:
    """Whether NUMBA_DISABLE_JIT has the kernels run as plain Python, which knows no addresses."""
    import numba

    return bool(numba.config.DISABLE_JIT)  # type: ignore[attr-defined]


@lru_cache(None)
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)


def runs_directly(*tensors: Tensor | None) -> bool:
    """Whether one step on these tensors can run on their addresses: plain CPU tensors of one dtype, float32 or float64,
    with no gradient asked, outside of every transformation (compile, vmap, forward mode)."""
    dtype, grad = None, torch.is_grad_enabled()
    for x in tensors:
        if x is None:
            continue
        dtype = dtype or x.dtype
        if x.dtype is not dtype or not x.is_cpu or (grad and x.requires_grad) or type(x) not in PLAIN:
            return False
    return (
        dtype in KERNEL_DTYPES
        and not torch.compiler.is_compiling()
        and forward_ad._current_level < 0
        and torch._C._functorch.peek_interpreter_stack() is None
        and numba_missing() is None
        and not jit_disabled()
    )


def choose(op: str, backend: Backend, time: int, *tensors: Tensor | None) -> Path:
    """The path for this call. Raises InputError when a forced path cannot run."""
    if backend == "auto":
        backend = os.environ.get("SEQMEM_BACKEND", "auto")  # type: ignore[assignment]
    if backend not in ("auto", "reference", "numba", "fla"):
        raise InputError(
            f"{op}: backend (or SEQMEM_BACKEND) is {backend!r}, expected 'auto', 'reference', 'numba' or 'fla'; "
            "pass one"
        )
    if backend == "auto" and time <= 1:
        direct = op in STEPS and time == 1 and runs_directly(*tensors)
        _last_path[op] = DECODING if direct else ONE_STEP
        return "step" if direct else "reference"
    given = [x for x in tensors if x is not None and (x.is_floating_point() or x.is_complex())]
    if backend == "fla" or (backend == "auto" and _may_take_fla(op, given)):
        reason = fla_obstacle(op, given, forced=backend == "fla")
        if backend == "fla" and reason:
            raise InputError(f"{op}: backend='fla' cannot run: {reason}; use backend='auto' or 'reference'")
        if reason is None:
            _last_path[op] = "fla (CUDA tensors)"
            return "fla"
        _last_path[op] = f"reference ({reason})"
        return "reference"
    kernels = KERNEL_DTYPES + COMPUTED_IN_FLOAT32 + (COMPLEX_DTYPES if op == "linear_scan" else ())
    obstacle = None
    elsewhere = [x.device.type for x in given if x.device.type != "cpu"]
    unsuited = [x.dtype for x in given if x.dtype not in kernels]
    if elsewhere:
        obstacle = f"inputs are on {elsewhere[0]}, the kernels run on the CPU"
    elif unsuited:
        obstacle = f"dtype {unsuited[0]} has no kernel"
    elif (missing := numba_missing()) is not None:
        obstacle = missing
    if backend == "numba" and obstacle:
        raise InputError(f"{op}: backend='numba' cannot run: {obstacle}; use backend='auto' or 'reference'")
    if backend == "auto" and obstacle is not None and obstacle == numba_missing():
        _warn_once(f"seqmem: {obstacle}; recurrences run through the slower PyTorch reference")
    path: Path
    if backend == "reference" or (backend == "auto" and obstacle):
        path, why = "reference", obstacle or "asked for"
    else:
        path, why = "numba", "CPU tensors"
    _last_path[op] = f"{path} ({why})"
    return path


def takes_fla(op: str, *tensors: Tensor | None) -> bool:
    """Whether several steps on these tensors go to fla where a call forces nothing (SEQMEM_BACKEND may: then the call
    raises if fla cannot run)."""
    given = [x for x in tensors if x is not None and x.is_floating_point()]
    backend = os.environ.get("SEQMEM_BACKEND", "auto")
    if not _may_take_fla(op, given) or backend not in ("auto", "fla"):
        return False
    return backend == "fla" or fla_obstacle(op, given, forced=False) is None


def _may_take_fla(op: str, given: list[Tensor]) -> bool:
    return op in OPS_WITH_FLA and bool(given) and all(x.device.type == "cuda" for x in given)


def on_cpu() -> str:
    """The path that a call of several steps takes on the CPU, whatever the op, and why."""
    missing = numba_missing()
    return "numba (CPU tensors)" if missing is None else f"reference ({missing})"


def on_cuda() -> dict[str, str]:
    """For each op: the path that a call of several steps in bfloat16 takes on CUDA, and why."""
    missing = fla_missing()
    words = {True: "fla" if missing is None else f"reference ({missing})", False: "reference (fla has no kernel of it)"}
    return {name: words[name in OPS_WITH_FLA] for name in OPS}


def explain() -> dict[str, str]:
    """For each op: the path that its most recent call in this process took, and why; else what would be taken."""
    return {name: _last_path.get(name, f"not called yet; would take {on_cpu()}") for name in OPS}
