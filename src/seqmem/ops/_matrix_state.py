"""What the ops with a matrix as state share: the shapes they accept and the dtype they compute in.

Their state is (batch, heads, key, value): a key reads out a value.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.ops._dispatch import COMPUTED_IN_FLOAT32


def _expect(op: str, name: str, x: Tensor, shape: tuple[int, ...], axes: str) -> None:
    if x.shape != shape:
        raise InputError(f"{op}: {name} has shape {tuple(x.shape)}, expected {axes} = {shape}")


def check_shapes(op: str, q: Tensor, k: Tensor, v: Tensor, s0: Tensor | None, reset: Tensor | None) -> None:
    """Raise InputError unless the shapes belong together."""
    if q.ndim != 4 or q.shape[1] < 1:
        raise InputError(f"{op}: q has shape {tuple(q.shape)}, expected (batch, time >= 1, heads, key)")
    batch, time, heads, key = q.shape
    _expect(op, "k", k, (batch, time, heads, key), "the shape of q (batch, time, heads, key)")
    if v.ndim != 4 or v.shape[:3] != q.shape[:3]:
        expected = f"(batch, time, heads, value) = ({batch}, {time}, {heads}, any)"
        raise InputError(f"{op}: v has shape {tuple(v.shape)}, expected {expected}")
    if s0 is not None:
        _expect(op, "s0", s0, (batch, heads, key, v.shape[3]), "(batch, heads, key, value)")
    if reset is not None:
        _expect(op, "reset", reset, (batch, time), "(batch, time)")
        if reset.dtype != torch.bool:
            raise InputError(f"{op}: reset has dtype {reset.dtype}, expected torch.bool; write reset.bool()")


def check_gate(op: str, name: str, gate: Tensor | None, q: Tensor, *, per_key: bool = False) -> None:
    """Raise InputError unless ``gate`` is (batch, time, heads), or the shape of ``q`` when it is given per key
    channel."""
    if gate is not None:
        axes = "(batch, time, heads, key)" if per_key else "(batch, time, heads)"
        _expect(op, name, gate, tuple(q.shape if per_key else q.shape[:3]), axes)


def compute_dtype(*tensors: Tensor | None) -> torch.dtype:
    """The widest dtype among the inputs; float32 when that is bfloat16 or float16."""
    dtypes = [x.dtype for x in tensors if x is not None]
    widest = dtypes[0]
    for dtype in dtypes[1:]:
        widest = torch.promote_types(widest, dtype)
    return torch.float32 if widest in COMPUTED_IN_FLOAT32 else widest


def empty_state(q: Tensor, v: Tensor, dtype: torch.dtype) -> Tensor:
    """Zeros (batch, heads, key, value)."""
    return q.new_zeros(q.shape[0], q.shape[2], q.shape[3], v.shape[3], dtype=dtype)


def no_reset(q: Tensor) -> Tensor:
    """False (batch, time): one document."""
    return q.new_zeros(q.shape[:2], dtype=torch.bool)
