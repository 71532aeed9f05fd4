"""Kernels as torch.library operators, without an operator's price where nobody looks at it.

A call of a registered operator from Python costs several times 10 microseconds, more than the kernel on few positions
and an eighth of a training step on many. It buys what tracing needs: torch.compile, fake tensors and dispatch modes see
one opaque operator. Plain eager calls go to the kernel, or where a gradient is asked for to an ``autograd.Function``
with the same two formulas; torch.func, which refuses registered operators, to another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

PLAIN = (Tensor, torch.nn.Parameter)
Function = type[torch.autograd.Function]


class Operator:
    """``kernel`` registered as ``name``; the ``register_*`` methods are those of ``torch.library.CustomOpDef``."""

    def __init__(self, name: str, kernel: Callable[..., Any]) -> None:
        self.kernel, self.library = kernel, torch.library.custom_op(name, kernel, mutates_args=())
        self.register_fake = self.library.register_fake
        self._name = name.replace("::", "_")
        self._eager: Function | None = None
        self._transformed = self._function(forward=kernel, setup_context=lambda *_: None, backward=self._once)

    def register_autograd(self, gradient: Callable[..., Any], *, setup_context: Callable[..., None]) -> None:
        """The backward pass, and what of inputs and outputs it needs."""

        def forward(ctx: Any, *arguments: Any) -> Any:  # a separate ``setup_context`` would cost a third more
            result = self.kernel(*arguments)
            setup_context(ctx, arguments, result)
            return result

        self.library.register_autograd(gradient, setup_context=setup_context)
        self._eager = self._function(forward=forward, backward=gradient)
        self._transformed = self._function(forward=self.kernel, setup_context=setup_context, backward=gradient)

    def register_vmap(self, rule: Callable[..., Any]) -> None:
        """After ``register_autograd``."""
        self.library.register_vmap(rule)
        self._transformed.vmap = staticmethod(rule)  # type: ignore[method-assign]

    def __call__(self, *arguments: Any) -> Any:
        if torch.compiler.is_compiling():
            return self.library(*arguments)
        tensors = [x for x in arguments if isinstance(x, Tensor)]
        if _observed(tensors):
            return self.library(*arguments)
        if torch._C._are_functorch_transforms_active():
            return self._transformed.apply(*arguments)
        if forward_ad._current_level >= 0 and any(forward_ad.unpack_dual(x).tangent is not None for x in tensors):
            raise NotImplementedError(f"{self._name} has no forward derivative; take torch.autograd.grad")
        if not (torch.is_grad_enabled() and any(x.requires_grad for x in tensors)):
            return self.kernel(*arguments)
        if self._eager is None:  # a backward pass, to be differentiated again: the operator says that it cannot be
            return self.library(*arguments)
        return self._eager.apply(*arguments)

    def _function(self, **methods: Callable[..., Any]) -> Function:
        return type(self._name, (torch.autograd.Function,), {name: staticmethod(f) for name, f in methods.items()})

    def _once(self, *_: Any) -> Any:
        raise RuntimeError(f"{self._name} has no derivative; the ops have first derivatives only")


def operator(name: str) -> Callable[[Callable[..., Any]], Operator]:
    """Decorates a kernel's Python side: tensors in, new tensors out."""
    return lambda kernel: Operator(name, kernel)


def _observed(tensors: list[Tensor]) -> bool:
    """Whether a tracer, a dispatch mode or a tensor of another kind is to see the call."""
    return torch._C._len_torch_dispatch_stack() > 0 or any(type(x) not in PLAIN for x in tensors)
