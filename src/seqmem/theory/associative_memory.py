"""An outer-product memory and its scaling laws.

"Scaling Laws for Associative Memories" (2023), arXiv 2310.02984. Inputs x in {1..N} with p(x) ~ x^-alpha have one right
answer f(x) in {1..M}. With random embeddings e_x, u_y in R^d the memory is

    W = sum_x q(x) u_f(x) e_x^T,    answer(x) = argmax_y u_y^T W e_x,    error = sum_x p(x) 1[answer(x) != f(x)],

and q says how strongly each association is stored. The excess error falls as d^(-(alpha-1)/(2 alpha)) for q = p, and as
d^-(alpha-1), up to logarithms, when only the P ~ d / log d most frequent are stored; the mass of what T samples have
not shown falls as T^-(1-1/alpha).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from seqmem.errors import InputError


def zipf(count: int, alpha: float) -> Tensor:
    """p(x) ~ x^-alpha for x = 1..count; ``(count,)``, float64, most frequent first. Raises InputError for count < 1."""
    if count < 1:
        raise InputError(f"count is {count}, expected 1 or more")
    weights = torch.arange(1, count + 1, dtype=torch.float64) ** -alpha
    return weights / weights.sum()


class AssocMemory:
    """Random embeddings of inputs and answers, and a memory ``W`` between them; empty at first.

    targets: ``(inputs,)``, the right answer of every input, in 0..answers-1. width: d. Embeddings are Gaussian of
    variance 1 / d, drawn from ``generator``. Raises InputError for a width or targets that do not fit.
    """

    def __init__(self, targets: Tensor, width: int, generator: torch.Generator, answers: int | None = None) -> None:
        if targets.ndim != 1 or targets.dtype != torch.long or not len(targets):
            raise InputError(f"targets is {targets.dtype} of shape {tuple(targets.shape)}, expected long, (inputs,)")
        answers = int(targets.max()) + 1 if answers is None else answers
        low, high = int(targets.min()), int(targets.max())
        if width < 1 or low < 0 or high >= answers:
            raise InputError(
                f"width is {width}, targets lie in {low}..{high}; expected width >= 1, targets in 0..{answers - 1}"
            )
        self.targets, self.width = targets, width
        self.e = torch.randn(len(targets), width, generator=generator) / math.sqrt(width)  # (inputs, width)
        self.u = torch.randn(answers, width, generator=generator) / math.sqrt(width)  # (answers, width)
        self.memory = torch.zeros(width, width)  # W: (width of u, width of e)

    def store(self, strength: Tensor) -> AssocMemory:
        """Set W = sum_x q(x) u_f(x) e_x^T, with ``strength`` q: ``(inputs,)``. Returns the memory itself."""
        if strength.shape != self.targets.shape:
            raise InputError(
                f"strength has shape {tuple(strength.shape)}, expected ({len(self.targets)},), one per input"
            )
        self.memory = self.u[self.targets].T @ (strength.float()[:, None] * self.e)
        return self

    def scores(self) -> Tensor:
        """u_y^T W e_x for every input and answer: ``(inputs, answers)``."""
        return self.e @ self.memory.T @ self.u.T

    def error(self, p: Tensor, targets: Tensor | None = None) -> float:
        """The mass of the inputs, under ``p``, that are answered wrongly; by other ``targets`` where they are given."""
        wrong = self.scores().argmax(dim=1) != (self.targets if targets is None else targets)
        return float(p[wrong].sum())


def thresholded(p: Tensor, keep: int) -> Tensor:
    """q(x) = 1 for the ``keep`` most frequent, else 0."""
    strength = torch.zeros_like(p)
    strength[p.topk(min(keep, len(p))).indices] = 1
    return strength


def room(width: int) -> int:
    """d / log d: how many associations a memory of this width has room for."""
    return max(1, round(width / math.log(width))) if width > 1 else 1


def train_memory(
    memory: AssocMemory, p: Tensor, steps: int, generator: torch.Generator, *, batch: int = 256, rate: float = 0.01
) -> AssocMemory:
    """Replace W by one that Adam finds: cross-entropy of softmax_y(u_y^T W e_x) on inputs drawn from ``p``."""
    w = torch.zeros_like(memory.memory, requires_grad=True)
    optimiser = torch.optim.Adam([w], lr=rate)
    for _ in range(steps):
        x = torch.multinomial(p, batch, replacement=True, generator=generator)  # (batch,)
        loss = torch.nn.functional.cross_entropy(memory.e[x] @ w.T @ memory.u.T, memory.targets[x])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    memory.memory = w.detach()
    return memory


def unseen_mass(p: Tensor, counts: Sequence[int], generator: torch.Generator) -> list[float]:
    """The mass of what has not been seen after each number of samples in ``counts`` (increasing), in one stream."""
    stream = torch.multinomial(p, max(counts), replacement=True, generator=generator)
    return [float(p.sum() - p[stream[:count].unique()].sum()) for count in counts]


def fit_exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """The slope b of log y = a + b log x by least squares; NaN where a y is 0. Raises InputError for fewer than two x,
    or any that is not positive."""
    if len(x) != len(y) or len(set(x)) < 2 or min(x) <= 0:
        raise InputError(f"x is {list(x)} with {len(y)} y, expected two or more different positive x and as many y")
    if min(y) <= 0:
        return math.nan
    a, b = (torch.tensor([math.log(value) for value in values], dtype=torch.float64) for values in (x, y))
    a = a - a.mean()
    return float((a * b).sum() / (a * a).sum())
