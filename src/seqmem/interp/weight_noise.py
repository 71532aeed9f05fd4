"""A model with noise on some of its weights: how exact they have to be."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import nn

from seqmem.errors import InputError

M = TypeVar("M", bound=nn.Module)


def with_weight_noise(
    model: M, weights: Sequence[str], scale: float, generator: torch.Generator, *, upwards: bool = False
) -> M:
    """A copy of the model whose ``weights`` (names of parameters) are each moved in a random direction by ``scale``
    times their own norm: w + scale |w| d / |d|, d standard normal.

    upwards: the absolute value of d, for what may only grow, such as time constants. As in Emergent mechanisms for long
    timescales depend on training curriculum and affect performance in memory tasks (2024), arXiv 2309.12927.
    """
    noisy = copy.deepcopy(model)
    known = dict(noisy.named_parameters())
    if missing := [name for name in weights if name not in known]:
        raise InputError(f"the model has no weight {missing[0]!r}; it has {', '.join(known)}")
    if scale < 0:
        raise InputError(f"scale is {scale}, expected 0 or more, relative to the norm of the weights")
    with torch.no_grad():
        for name in weights:
            weight = known[name]
            direction = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
            direction = direction.abs() if upwards else direction
            weight.add_(direction, alpha=float(scale * weight.norm() / direction.norm()))
    return noisy
