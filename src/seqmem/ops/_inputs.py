"""What every op asks of its inputs before it computes."""

from __future__ import annotations

import torch
from torch import Tensor

from seqmem.errors import InputError

HALF = (torch.bfloat16, torch.float16)


def common_dtype(op: str, *tensors: Tensor | None) -> torch.dtype:
    """The dtype to which the inputs promote. InputError when it is neither real nor complex floating point."""
    dtype = torch.bool
    for x in tensors:
        if x is not None:
            dtype = torch.promote_types(dtype, x.dtype)
    if not (dtype.is_floating_point or dtype.is_complex):
        raise InputError(f"{op}: the inputs are {dtype}, expected floating point; convert them with .float()")
    return dtype


def computed_in(dtype: torch.dtype) -> torch.dtype:
    """float32 for bfloat16 and float16, otherwise the dtype itself. States are kept in it."""
    return torch.float32 if dtype in HALF else dtype


def expect_shape(op: str, name: str, x: Tensor | None, dims: str, *sizes: int) -> None:
    """InputError unless ``x`` is None or has the shape ``sizes``; ``dims`` names them: ``"batch, time, channels"``."""
    if x is not None and x.shape != sizes:
        raise InputError(
            f"{op}: {name} has shape {tuple(x.shape)}, expected ({dims}) = {sizes}; bring it to that shape"
        )


def expect_flags(op: str, name: str, flags: Tensor | None, batch: int, time: int) -> None:
    """InputError unless ``flags`` is None or a bool tensor (batch, time)."""
    expect_shape(op, name, flags, "batch, time", batch, time)
    if flags is not None and flags.dtype != torch.bool:
        raise InputError(f"{op}: {name} has dtype {flags.dtype}, expected torch.bool; convert it with .bool()")
