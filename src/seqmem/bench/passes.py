"""The two passes that are measured, as calls without arguments, for any function of tensors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Function = Callable[..., Tensor]
Results = tuple[Tensor | None, ...]


def forward(function: Function, inputs: tuple[Tensor, ...]) -> Callable[[], Results]:
    """The output, without anything kept for a backward pass."""

    def call() -> Results:
        with torch.no_grad():
            return (function(*inputs),)

    return call


def forward_backward(function: Function, inputs: tuple[Tensor, ...], gradient: Tensor) -> Callable[[], Results]:
    """The gradients of every input, for a given gradient of the output."""
    leaves = tuple(x.detach().requires_grad_() for x in inputs)

    def call() -> Results:
        return torch.autograd.grad(function(*leaves), leaves, gradient, allow_unused=True)

    return call


def exchanged(x: Tensor) -> Tensor:
    """The second and third dimension exchanged and laid out anew; tensors without time are left as they are."""
    return x.transpose(1, 2).contiguous() if x.dim() >= 3 else x


def difference(ours: Results, theirs: Results) -> float:
    """The largest difference of two results, each relative to the largest value of ours."""
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        if a is None or b is None or a.shape != b.shape:
            return float("inf")
        if a.numel():
            gap = ((a - b).abs().max() / a.abs().max().clamp(min=1e-30)).item()
            worst = max(worst, gap if gap == gap else float("inf"))  # NaN differs from everything
    return worst
