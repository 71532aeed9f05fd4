"""Rotary positions: a query and a key turned by their positions meet at an angle that depends on their distance alone.

RoFormer: Enhanced Transformer with Rotary Position Embedding (2021), arXiv 2104.09864.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

#: how fast pairs of channels turn: a base; radians per position of the channels 0 to size/2 - 1; None: not at all
Turning = float | tuple[float, ...] | None


def rotary_tables(position: Tensor, size: int, base: Turning, like: Tensor) -> tuple[Tensor, Tensor]:
    """The cosines and signed sines that :func:`rotate` takes, (*position.shape, size) each.

    position: whole numbers. size: of one head, even. Channel i is paired with channel i + size/2 (the layout of Llama's
    weights) and turns by position * base^(-2i/size), or as ``base`` says channel by channel. The angle is computed in
    float64 wherever the device has it, so that positions far beyond a million keep their angle; the tables are float64
    for a float64 ``like``, else float32.
    """
    precise = torch.float32 if like.device.type == "mps" else torch.float64
    frequency = torch.tensor(_frequencies(size, base), dtype=precise, device=like.device)
    angle = position[..., None] * frequency  # (..., size)
    dtype = torch.promote_types(like.dtype, torch.float32)
    return angle.cos().to(dtype), angle.sin().to(dtype)


def sinusoids(position: Tensor, width: int, like: Tensor) -> Tensor:
    """The vectors (*position.shape, width) that Attention Is All You Need (2017), arXiv 1706.03762, adds: the sines of
    position * 10,000^(-2i/width), then the cosines. In the dtype of ``like``; width is even."""
    precise = torch.float32 if like.device.type == "mps" else torch.float64
    frequency = torch.tensor(half_frequencies(width, 10_000.0), dtype=precise, device=like.device)
    angle = position[..., None] * frequency
    return torch.cat([angle.sin(), angle.cos()], -1).to(like.dtype)


@functools.cache
def _frequencies(size: int, base: Turning) -> list[float]:
    """Radians per position, for every channel; negative in the first half, whose sines :func:`rotate` subtracts."""
    positive = half_frequencies(size, base)
    return [-f for f in positive] + positive


def half_frequencies(size: int, base: Turning) -> list[float]:
    """Radians per position of the channels 0 to size/2 - 1."""
    if base is None:
        return [0.0] * (size // 2)
    if isinstance(base, tuple):
        return list(base)
    return [base ** (-2 * i / size) for i in range(size // 2)]


def rotate(x: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
    """x (..., size), every pair of channels turned by its angle; in the dtype of x."""
    cos, sin = tables
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin).to(x.dtype)
