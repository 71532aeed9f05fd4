"""A stream of bits, asked about its last N: is the number of ones odd, or is the last bit the one N - 1 steps before?

Source: Emergent mechanisms for long timescales depend on training curriculum and affect performance in memory tasks
(2024), arXiv 2309.12927, its N-parity and N-delayed match to sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task

KINDS = ("parity", "match")


def bits(rows: int, length: int, generator: torch.Generator, *, balanced: bool = True) -> Tensor:
    """(rows, length) int64 of 0 and 1, each as likely; unless ``balanced``, a row's ones have a probability of its own,
    from U(0, 1), as the paper trains parity."""
    if balanced:
        return torch.randint(2, (rows, length), generator=generator)
    share = torch.rand(rows, 1, generator=generator)
    return (torch.rand(rows, length, generator=generator) < share).long()


def answers(stream: Tensor, spans: Sequence[int], kind: str = "parity") -> Tensor:
    """What is asked of the last N bits, for every N of ``spans`` after every bit: (rows, length) to (rows, length,
    spans), 0 or 1, and -100 where fewer than N bits were read."""
    found = torch.full((*stream.shape, len(spans)), IGNORE)
    ones = torch.nn.functional.pad(stream.cumsum(1), (1, 0))
    for n, span in enumerate(spans):
        if span > stream.shape[1]:
            continue
        if kind == "parity":
            found[:, span - 1 :, n] = (ones[:, span:] - ones[:, : ones.shape[1] - span]) % 2
        else:
            first = stream[:, : stream.shape[1] - span + 1]
            found[:, span - 1 :, n] = (stream[:, span - 1 :] == first).long()
    return found


@dataclass(frozen=True)
class BitStream(Task):
    """A token that names N, then random bits; from the N-th on, the answer at every one is about the last N.

    Options:
        kind: "parity": 1 where the number of ones among them is odd; "match": 1 where the last bit equals the first of
            them, N - 1 steps before.
        spans: the N that are asked, one in each example, evenly; at least 2.
        length: time steps of a training example, the naming one included.
        every_position: ask at every step; False asks at the last only, as in the source.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``; the memory that is needed stays.
    """

    changes: ClassVar[Changes] = {"kind": ("match",), "spans": ((4, 6, 8), (8, 12, 16)), "length": (64, 128)}

    kind: Literal["parity", "match"] = "parity"
    spans: tuple[int, ...] = (2, 3, 4)
    length: int = 32
    every_position: bool = True
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check.choice("bit_stream", "kind", self.kind, KINDS)
        object.__setattr__(self, "spans", _check.integers("bit_stream", "spans", self.spans, at_least=2))
        length = _check.integer("bit_stream", "length", self.length, at_least=1)
        _check.boolean("bit_stream", "every_position", self.every_position)
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("bit_stream", self.test_lengths, length))
        for one in self.test_lengths:
            self._check_length(one)

    @property
    def vocab_size(self) -> int:
        return 2 + len(self.spans)

    @property
    def slices(self) -> tuple[str, ...]:
        return tuple(f"N={span}" for span in self.spans)

    @property
    def chance(self) -> float:
        return 0.5

    def _check_length(self, length: int) -> None:
        if length <= max(self.spans):
            raise InputError(
                f"task 'bit_stream': length={length} is too short for spans={list(self.spans)}, expected at least "
                f"{max(self.spans) + 1} (a token that names N, and N bits)"
            )

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh examples of ``length`` steps."""
        _check.request("bit_stream", batch_size, length, generator, split)
        self._check_length(length)
        groups = torch.randperm(batch_size, generator=generator) % len(self.spans)
        stream = bits(batch_size, length - 1, generator)
        asked = answers(stream, self.spans, self.kind)[torch.arange(batch_size), :, groups]
        if not self.every_position:
            asked[:, :-1] = IGNORE
        inputs = torch.cat([2 + groups[:, None], stream], 1)
        return Batch(inputs, torch.nn.functional.pad(asked, (1, 0), value=IGNORE), groups)

    def example(self, generator: torch.Generator) -> str:
        """The question, the bits, and the last answer."""
        batch = self.sample(1, self.length, generator)
        span = self.spans[int(batch.inputs[0, 0]) - 2]
        stream = " ".join(map(str, batch.inputs[0, 1:].tolist()))
        question = "odd" if self.kind == "parity" else "first as last"
        return f"{stream}  | the last {span}: {question}? -> {'yes' if batch.targets[0, -1] else 'no'}"
