"""Decoding: one token through a whole layer without gradients, by the layer's ``step(x, state)``.

``forward`` of a layer that has a step begins with ``if decodes(self, x, state, mask, reset, form): return
self.step(x, state)``. A step computes what ``forward`` computes, with a kernel between the projections
(:mod:`seqmem.mixers._step_kernels`) in place of some thirty calls of torch. Kernels read addresses, so whatever they
are to touch is looked at first; where anything is unusual (hooks or another class in place of a projection, a state
of another shape, autocast, ...), ``forward`` goes on as ever.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from seqmem.mixers._rotary import Turning, half_frequencies
from seqmem.mixers._shared import ShortConv
from seqmem.mixers._softmax import HeadNorms
from seqmem.mixers.state import State, tensors
from seqmem.ops._dispatch import KERNEL_DTYPES, PLAIN, jit_disabled, numba_missing

if TYPE_CHECKING:
    from seqmem.mixers.base import Mixer

PARTS = (nn.Linear, nn.RMSNorm, ShortConv, HeadNorms)  # what a step may read the weights of


def decodes(mixer: Mixer, x: Tensor, state: State, mask: Tensor | None, reset: Tensor | None, form: str) -> bool:
    """Whether this call of ``mixer.forward`` is its ``step(x, state)``, x being (batch, 1, width)."""
    return (
        state is not None
        and x.ndim == 3
        and x.shape[1] == 1
        and mask is None
        and reset is None
        and form == "auto"
        and not torch.is_grad_enabled()
        and x.shape[2] == mixer.width
        and x.dtype in KERNEL_DTYPES
        and _plain(x, x.dtype)
        and "step" in type(mixer).__dict__  # a subclass may compute something else
        and kernels_run()
        and _fits(mixer, x, state)
    )


def parts_decode(x: Tensor, *parts: nn.Module | None) -> bool:
    """Whether parts of a network, norms or modules with a step, may run by kernels on x (batch, 1, width)."""
    return (
        x.ndim == 3
        and x.shape[1] == 1
        and not torch.is_grad_enabled()
        and x.dtype in KERNEL_DTYPES
        and _plain(x, x.dtype)
        and kernels_run()
        and all(part is None or _part_is_plain(part, x.dtype, []) for part in parts)
    )


def kernels_run() -> bool:
    """Whether kernels may run on the addresses of plain CPU tensors: nothing traces, transforms or recasts the call."""
    return (
        os.environ.get("SEQMEM_BACKEND", "auto") in ("auto", "numba")
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and forward_ad._current_level < 0
        and torch._C._functorch.peek_interpreter_stack() is None
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._get_tracing_state() is None
        and numba_missing() is None
        and not jit_disabled()
    )


def _plain(x: Tensor, dtype: torch.dtype) -> bool:
    return x.dtype is dtype and x.is_cpu and type(x) in PLAIN


def _weights_are_plain(module: nn.Module, dtype: torch.dtype, shapes: list[torch.Size]) -> bool:
    """Whether kernels may read all weights of a module; their shapes are added to ``shapes``."""
    for p in (*module._parameters.values(), *module._buffers.values()):
        if p is not None:
            if not (_plain(p, dtype) and p.is_contiguous()):
                return False
            shapes.append(p.shape)
    return all(child is None or _part_is_plain(child, dtype, shapes) for child in module._modules.values())


def _part_is_plain(module: nn.Module, dtype: torch.dtype, shapes: list[torch.Size]) -> bool:
    """Whether reading this part's weights does what calling it does: nothing stands in its place or listens to it."""
    return (
        (type(module) in PARTS or "step" in type(module).__dict__)
        and not module._forward_hooks
        and not module._forward_pre_hooks
        and "forward" not in module.__dict__
        and _weights_are_plain(module, dtype, shapes)
    )


class Layout(NamedTuple):
    """Shapes with which a layer has computed before."""

    weights: list[torch.Size]
    kind: type  # of the state
    state: list[tuple[torch.Size, torch.dtype | None]]  # of each tensor, without the batch; None: the dtype of x


def _fits(mixer: Mixer, x: Tensor, state: State) -> bool:
    """Whether kernels may read all weights, and the state has the shapes that go with them.

    At first, and when a weight has got another shape, the call is made in the general way as well: it raises where
    shapes do not fit each other.
    """
    shapes: list[torch.Size] = []
    if not _weights_are_plain(mixer, x.dtype, shapes):
        return False
    layout = mixer.__dict__.get("_layout")
    if layout is None or layout.weights != shapes:
        _, after = mixer.forward(x, state, form="parallel")
        parts = [(t.shape[1:], None if t.is_floating_point() else t.dtype) for t in tensors(after)]
        layout = mixer.__dict__["_layout"] = Layout(shapes, type(after), parts)
    if type(state) is not layout.kind:
        return False
    parts_of_state: Any = state
    for t, (shape, dtype) in zip(parts_of_state, layout.state, strict=True):
        if t.shape[1:] != shape or t.shape[0] != x.shape[0]:
            return False
        if not (_plain(t, dtype or x.dtype) and t.is_contiguous()):
            return False
    return True


@functools.cache
def rotary_frequencies(size: int, base: Turning) -> Tensor:
    """(size / 2,) float64, radians per position."""
    return torch.tensor(half_frequencies(size, base), dtype=torch.float64)


@functools.cache
def _machinery() -> tuple[Any, Any, Any]:
    """What needs Numba, imported when it is first called for."""
    from seqmem.mixers import _step_kernels
    from seqmem.ops import _launch, _step

    return _launch.run_serially, _step_kernels, _step


def run_kernel(kernel: str, arrays: tuple[Tensor | None, ...], *numbers: float) -> None:
    """Call a kernel of :mod:`seqmem.mixers._step_kernels` with the arrays' addresses, 0 for None, and the numbers. The
    first array is in the dtype of the computation."""
    run, kernels, step = _machinery()
    first = arrays[0]
    zero = step.ZERO[first.dtype]  # type: ignore[union-attr]
    run(getattr(kernels, kernel), *[0 if a is None else a.data_ptr() for a in arrays], *numbers, zero)


def linear(module: nn.Module, x: Tensor) -> Tensor:
    """``module(x)`` for an nn.Linear that :func:`decodes` has looked at; x: (batch, inputs)."""
    weights = module._parameters
    result: Tensor = _machinery()[2].linear_step(x, weights["weight"], weights["bias"])
    return result


def norm_step(module: nn.RMSNorm, x: Tensor) -> Tensor:
    """``module(x)`` for a norm that :func:`parts_decode` has looked at; x: (batch, width)."""
    if x.shape[1:] != module.weight.shape:
        return module(x)  # which says so
    x = x.contiguous()
    y = torch.empty_like(x)
    run_kernel("make_rms_norm_step", (x, module.weight, y), *x.shape, rms_epsilon(module))
    return y


def rms_epsilon(module: nn.RMSNorm) -> float:
    """What is added to the mean square."""
    return module.eps if module.eps is not None else torch.finfo(module.weight.dtype).eps


def silu_product(a: Tensor, b: Tensor) -> Tensor:
    """silu(a) * b of two contiguous tensors of one shape."""
    if a.shape != b.shape:
        return F.silu(a) * b  # which says so
    y = torch.empty_like(a)
    run_kernel("make_silu_product_step", (a, b, y), a.numel())
    return y
