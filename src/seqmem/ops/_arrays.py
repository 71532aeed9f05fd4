"""Tensors as the kernels see them: NumPy views of contiguous memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqmem.ops import _buffers


def array(x: Tensor) -> Any:
    """The same memory as a NumPy array (a copy when ``x`` is not contiguous). Real and imaginary
    parts of complex numbers alternate along the last dimension."""
    x = x.detach().contiguous()
    return (torch.view_as_real(x.resolve_conj()).flatten(-2) if x.is_complex() else x).numpy()


def flags(reset: Tensor | None) -> Any:
    """(batch, time) uint8, or (0, 0) for None."""
    return np.empty((0, 0), np.uint8) if reset is None else reset.contiguous().view(torch.uint8).numpy()


def optional(x: Tensor | None, like: Tensor) -> Any:
    """``array(x)``, or for None an array without elements of the kind that ``like`` would give."""
    return array(like.new_empty((0,) * like.dim()) if x is None else x)


def empty(*like: Tensor) -> tuple[Tensor, ...]:
    """Contiguous tensors to be filled, of the shapes and dtypes of those given."""
    return tuple(_buffers.like(x) for x in like)


def refuse_vmap(op: str) -> Callable[..., Any]:
    """What is registered as the batching rule of an op that has none."""

    def refuse(*_: Any) -> Any:
        raise NotImplementedError(
            f"{op}: its kernel does not run under torch.func.vmap; put the mapped dimension into the batch, "
            "or pass backend='reference'"
        )

    return refuse
