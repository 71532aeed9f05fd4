"""N-th farthest: which of several labelled vectors is the n-th farthest from one of them? And an easier kind: which of
the earlier vectors is the nearest to the last?

Relational recurrent neural networks (2018), arXiv 1806.01822. Distances are Euclidean, and no distance is an input: it
takes memories of several vectors that are compared with each other.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.errors import InputError


class Vectors(NamedTuple):
    """inputs: (batch, time, features) float32, one vector per step. answer: (batch,) int64."""

    inputs: Tensor
    answer: Tensor


def sample_nth_farthest(
    batch_size: int, generator: torch.Generator, *, vectors: int = 8, size: int = 16, ask: bool = True
) -> Vectors:
    """``batch_size`` examples of ``vectors`` vectors, uniform in [-1, 1] ^ size, labelled in random order.

    Every step has the vector, its label, and the question, the number n and the label m, each as one of ``vectors``:
    features = size + 3 vectors. The answer is the label of the n-th farthest from the vector m, the farthest first, the
    vector itself last. ask=False: the question is another one, that has nothing to do with the answer.
    """
    _check(batch_size, vectors, size)
    x = _vectors(batch_size, vectors, size, generator)
    label = torch.rand(batch_size, vectors, generator=generator, dtype=torch.float64).argsort(1)
    n, place = torch.randint(vectors, (2, batch_size, 1), generator=generator)
    reference = x.gather(1, place[..., None].expand(-1, -1, size))
    order = (x - reference).norm(dim=2).argsort(1, descending=True)  # (batch, vectors) places, farthest first
    answer = label.gather(1, order.gather(1, n))[:, 0]
    m = label.gather(1, place)
    if not ask:
        n, m = torch.randint(vectors, (2, batch_size, 1), generator=generator)
    marks = [F.one_hot(mark, vectors).expand(-1, vectors, -1) for mark in (label, n, m)]
    return Vectors(torch.cat([x, *(mark.double() for mark in marks)], 2).float(), answer)


def sample_most_similar(
    batch_size: int, generator: torch.Generator, *, vectors: int = 4, size: int = 2, ask: bool = True
) -> Vectors:
    """``batch_size`` examples of ``vectors`` vectors and one more, uniform in [-1, 1] ^ size.

    The answer is the place, from 0, of that which is nearest to the last; features = size. ask=False: the last vector
    is another one, that has nothing to do with the answer.
    """
    _check(batch_size, vectors, size)
    x = _vectors(batch_size, vectors + 1, size, generator)
    answer = (x[:, :-1] - x[:, -1:]).norm(dim=2).argmin(1)
    if not ask:
        x[:, -1:] = _vectors(batch_size, 1, size, generator)
    return Vectors(x.float(), answer)


def _vectors(batch_size: int, vectors: int, size: int, generator: torch.Generator) -> Tensor:
    return 2 * torch.rand(batch_size, vectors, size, generator=generator, dtype=torch.float64) - 1


def _check(batch_size: int, vectors: int, size: int) -> None:
    if batch_size < 1 or vectors < 2 or size < 1:
        raise InputError(
            f"batch_size {batch_size}, vectors {vectors}, size {size}; expected at least 1, 2 and 1 of them"
        )
