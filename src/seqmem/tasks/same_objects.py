"""Same or different: are the first two of several objects identical? Asked of objects that were never seen in training.

After the relational games of Disentangling and Integrating Relational and Sensory Information in Transformer
Architectures (2024), arXiv 2405.16727. Objects are vectors, so that what is learned can be the relation alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError


class Objects(NamedTuple):
    """objects: (batch, count, size) float32. same: (batch,) int64, 1 where the first two are identical, else 0."""

    objects: Tensor
    same: Tensor


def pool(objects: int, size: int, generator: torch.Generator) -> Tensor:
    """(objects, size) random vectors, N(0, 1): what examples are drawn from."""
    return torch.randn(objects, size, generator=generator)


def sample_objects(batch_size: int, among: Tensor, generator: torch.Generator, *, count: int = 5) -> Objects:
    """``batch_size`` examples of ``count`` objects out of a pool (objects, size).

    The first two are identical in half of the examples, else different; the others are any of the pool.
    """
    if among.ndim != 2 or len(among) < 2 or count < 2 or batch_size < 1:
        raise InputError(
            f"a pool of shape {tuple(among.shape)}, count {count}, batch_size {batch_size}; expected (objects, size) "
            "with at least 2 objects, a count of at least 2, and 1 example or more"
        )
    chosen = torch.randint(len(among), (batch_size, count), generator=generator)
    step = torch.randint(1, len(among), (batch_size,), generator=generator)  # to another object of the pool
    same = torch.randint(2, (batch_size,), generator=generator)
    chosen[:, 1] = (chosen[:, 0] + step * (1 - same)) % len(among)
    return Objects(among[chosen], same)
