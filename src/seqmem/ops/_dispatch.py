"""Which path an op takes, decided in one place and open to questions.

``backend="auto"`` takes the Numba kernel when every floating-point input is a CPU tensor of a dtype that the op has a
kernel for (float32, float64; bfloat16 and float16 are computed in float32; complex in ``linear_scan``) and more than
one time step is asked for; for a single step a kernel of its own where no gradient is asked (decoding); otherwise the
PyTorch reference. ``backend="numba"`` and ``backend="reference"`` force one, and raise where it cannot run. The
environment variable ``SEQMEM_BACKEND`` sets what "auto" means.
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

Backend = Literal["auto", "reference", "numba"]
Path = Literal["reference", "numba", "step"]

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
    if backend not in ("auto", "reference", "numba"):
        raise InputError(
            f"{op}: backend (or SEQMEM_BACKEND) is {backend!r}, expected 'auto', 'reference' or 'numba'; pass one"
        )
    if backend == "auto" and time <= 1:
        direct = op in STEPS and time == 1 and runs_directly(*tensors)
        _last_path[op] = DECODING if direct else ONE_STEP
        return "step" if direct else "reference"
    given = [x for x in tensors if x is not None and (x.is_floating_point() or x.is_complex())]
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


def explain() -> dict[str, str]:
    """For each op: the path that its most recent call in this process took, and why; else what would be taken."""
    missing = numba_missing()
    default = "numba (CPU tensors)" if missing is None else f"reference ({missing})"
    return {name: _last_path.get(name, f"not called yet; would take {default}") for name in OPS}
