"""Rotary positions: a query and a key turned by their positions meet at an angle that depends on their distance alone.

RoFormer: Enhanced Transformer with Rotary Position Embedding (2021), arXiv 2104.09864.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_tables(position: Tensor, size: int, base: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """The cosines and signed sines that :func:`rotate` takes, (*position.shape, size) each.

    position: whole numbers. size: of one head, even. Channel i is paired with channel i + size/2 (the layout of Llama's weights) and turns by
    position * base^(-2i/size). The angle is computed in float64 wherever the device has it, so that positions far beyond a million stay
    exact to float32; the tables are float64 for a float64 ``like``, else float32.
    """
    precise = torch.float32 if like.device.type == "mps" else torch.float64
    exponent = torch.arange(0, size, 2, dtype=precise, device=like.device) / -size
    angle = position.to(precise)[..., None] * torch.pow(base, exponent)  # (..., size / 2)
    cos, sin = angle.cos(), angle.sin()
    dtype = torch.promote_types(like.dtype, torch.float32)
    return torch.cat([cos, cos], -1).to(dtype), torch.cat([-sin, sin], -1).to(dtype)


def rotate(x: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
    """x (..., size), every pair of channels turned by its angle; in the dtype of x."""
    cos, sin = tables
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin).to(x.dtype)
