"""Cross-serial dependencies: a^m b^n c^m d^n, where the c's answer to the a's and the d's to the b's.

Source: Assessing the Unitary RNN as an End-to-End Compositional Model of Syntax (2022), arXiv 2208.05719, after
Evidence Against the Context-Freeness of Natural Language (1985), Linguistics and Philosophy 8.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check
from seqmem.tasks.base import IGNORE, Batch, Split, Task

EDGE, A, B, C, D = range(5)  # EDGE stands before a string, and after it to the end of the row
WORDS = ".abcd"
SHORTEST = 5  # . a b c d


@dataclass(frozen=True)
class CrossSerial(Task):
    """An edge, then a^m b^n c^m d^n with m, n >= 1, then edges; the next token is asked where the string decides it:
    from the first c on, to the edge after the last d.

    All (m, n) that fit are equally likely: 2 (m + n) < ``length``. Two numbers have to be kept while the other is
    counted; no grammar without context says this.

    Options:
        length: time steps of a training example.
        everywhere: ask for every next token of the string, also where several are legal (see :func:`legal`).
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``.
    """

    length: int = 9
    everywhere: bool = False
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = _check.integer("cross_serial", "length", self.length, at_least=1)
        _check.boolean("cross_serial", "everywhere", self.everywhere)
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("cross_serial", self.test_lengths, length))
        for one in self.test_lengths:
            _check_length(one)

    @property
    def vocab_size(self) -> int:
        return len(WORDS)

    @property
    def chance(self) -> float:
        """Of the commonest answer in strings of the training length."""
        m, n = _counts(self.length)
        answers = self.strings(m, n, self.length).targets
        counts = torch.bincount(answers[answers != IGNORE])
        return float(counts.max() / counts.sum())

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh strings that fit into ``length`` steps."""
        _check.request("cross_serial", batch_size, length, generator, split)
        _check_length(length)
        m, n = _counts(length)
        drawn = torch.randint(len(m), (batch_size,), generator=generator)
        return self.strings(m[drawn], n[drawn], length)

    def strings(self, m: Tensor, n: Tensor, length: int) -> Batch:
        """The strings of these m and n, (batch,) int64 each, in rows of ``length`` steps."""
        needed = 1 + 2 * int((m + n).max())
        if length < needed:
            raise InputError(f"task 'cross_serial': length={length} is too short, expected at least {needed}")
        ends = torch.stack([torch.ones_like(m), m, n, m, n], 1).cumsum(1)  # where the next letter begins
        place = torch.arange(length + 1).expand(len(m), -1).contiguous()
        tokens = torch.searchsorted(ends, place, right=True) % len(WORDS)  # after the d's comes EDGE again
        inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
        asked = place[:, :-1] < ends[:, 4, None]
        if not self.everywhere:
            asked &= inputs >= C
        return Batch(inputs, targets.masked_fill(~asked, IGNORE))

    def example(self, generator: torch.Generator) -> str:
        """The string, and under each letter what is asked there."""
        batch = self.sample(1, self.length, generator)
        answers = ("_" if token == IGNORE else WORDS[token] for token in batch.targets[0].tolist())
        return f"string  {' '.join(WORDS[t] for t in batch.inputs[0].tolist())}\nasked   {' '.join(answers)}"


def legal(inputs: Tensor) -> Tensor:
    """Which tokens may follow each position of these rows, (batch, time, token) bool: a or b after an a, b or c after a
    b; from the first c on the one that the counts demand, and after the string an edge."""
    counts = torch.stack([(inputs == token).cumsum(1) for token in range(len(WORDS))], -1)  # (batch, time, token)
    total = counts[:, -1:]
    more_c, more_d = counts[..., C] < total[..., A], counts[..., D] < total[..., B]
    may = torch.zeros(*inputs.shape, len(WORDS), dtype=torch.bool)
    begun = counts[..., A] > 0
    may[..., A] = (inputs == A) | ~begun
    may[..., B] = (inputs == A) | (inputs == B)
    may[..., C] = (inputs == B) | ((inputs == C) & more_c)
    may[..., D] = ((inputs == C) & ~more_c) | ((inputs == D) & more_d)
    may[..., EDGE] = begun & (((inputs == D) & ~more_d) | (inputs == EDGE))
    return may


def _counts(length: int) -> tuple[Tensor, Tensor]:
    """All m and n whose strings fit into ``length`` steps."""
    most = (length - 1) // 2
    pairs = [(m, n) for m in range(1, most) for n in range(1, most - m + 1)]
    m, n = torch.tensor(pairs).unbind(1)
    return m, n


def _check_length(length: int) -> None:
    if length < SHORTEST:
        raise InputError(
            f"task 'cross_serial': length={length} is too short, expected at least {SHORTEST} (an edge and a b c d)"
        )
