"""Kernels as torch.library operators, without an operator's price where nobody looks at it.

A call of a registered operator from Python costs several times 10 microseconds, more than the kernel on few positions
and an eighth of a training step on many. It buys what tracing needs: torch.compile, fake tensors, dispatch modes and
torch.func see one opaque operator. Plain eager calls go to the kernel, or where a gradient is asked for to an
``autograd.Function`` with the same two formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

PLAIN = (Tensor, torch.nn.Parameter)


class Operator:
    """``kernel`` registered as ``name``; the ``register_*`` methods are those of ``torch.library.CustomOpDef``."""

    def __init__(self, name: str, kernel: Callable[..., Any]) -> None:
        self.kernel, self.library = kernel, torch.library.custom_op(name, kernel, mutates_args=())
        self.register_fake, self.register_vmap = self.library.register_fake, self.library.register_vmap
        self._function: type[torch.autograd.Function] | None = None

    def register_autograd(self, gradient: Callable[..., Any], *, setup_context: Callable[..., None]) -> None:
        """The backward pass, and what of inputs and outputs it needs."""
        self.library.register_autograd(gradient, setup_context=setup_context)

        def forward(ctx: Any, *arguments: Any) -> Any:  # a separate ``setup_context`` would cost a third more
            result = self.kernel(*arguments)
            setup_context(ctx, arguments, result)
            return result

        members = {"forward": staticmethod(forward), "backward": staticmethod(gradient)}
        self._function = type(self.library._qualname.replace("::", "_"), (torch.autograd.Function,), members)

    def __call__(self, *arguments: Any) -> Any:
        if torch.compiler.is_compiling() or _observed(arguments):
            return self.library(*arguments)
        if not (torch.is_grad_enabled() and any(isinstance(x, Tensor) and x.requires_grad for x in arguments)):
            return self.kernel(*arguments)
        if self._function is None:  # a backward pass, differentiated again: the operator says that it cannot be
            return self.library(*arguments)
        return self._function.apply(*arguments)


def operator(name: str) -> Callable[[Callable[..., Any]], Operator]:
    """Decorates a kernel's Python side: tensors in, new tensors out."""
    return lambda kernel: Operator(name, kernel)


def _observed(arguments: tuple[Any, ...]) -> bool:
    """Whether anything but plain eager execution is to see the call."""
    if torch._C._are_functorch_transforms_active() or torch._C._len_torch_dispatch_stack() > 0:
        return True
    return any(isinstance(x, Tensor) and type(x) not in PLAIN for x in arguments)
