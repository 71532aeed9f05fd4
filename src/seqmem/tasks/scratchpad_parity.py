"""Parity with its running value written down, in layouts that differ in how a step finds its bit.

Source: Your Context Is Not an Array: Unveiling Random Access Limitations in Transformers (2024), arXiv 2408.05506.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check, _draw
from seqmem.tasks.base import IGNORE, Batch, Split, Task

SEPARATOR, BLANK, FIRST_ANCHOR = 2, 3, 4
LAYOUTS = ("standard", "interleaved", "mnemonic", "none")


@dataclass(frozen=True)
class ScratchpadParity(Task):
    """Bits b_1 ... b_n, and p_i = b_1 + ... + b_i modulo 2, every p_i asked where it is to be written.

    standard: ``b_1 ... b_n | p_1 ... p_n``: a step must find its bit by its place. interleaved: ``b_1 p_1 ... b_n
    p_n``: its bit was the last token. mnemonic: ``a_1 b_1 ... a_n b_n | a_1 p_1 ... a_n p_n`` with anchors a_i, all
    different and drawn anew for every example: a step finds its bit by what stands before it. none: ``b_1 ... b_n |
    p_n``. The right p_i are read on from, as in training with a teacher; steps that are left over are blank.

    Options:
        layout: one of those.
        length: time steps of a training example.
        vary: training examples have any number of bits from 2 up to what fits, drawn anew for every batch; validation
            and test examples as many as fit. False: training examples too.
        anchors: number of different anchors, for the mnemonic layout at least the bits of the longest test.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``.
    """

    layout: str = "standard"
    length: int = 40
    vary: bool = True
    anchors: int = 64
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check.choice("scratchpad_parity", "layout", self.layout, LAYOUTS)
        length = _check.integer("scratchpad_parity", "length", self.length, at_least=1)
        _check.boolean("scratchpad_parity", "vary", self.vary)
        _check.integer("scratchpad_parity", "anchors", self.anchors, at_least=1)
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("scratchpad_parity", self.test_lengths, length))
        for one in self.test_lengths:
            self.bits_in(one)

    @property
    def vocab_size(self) -> int:
        return FIRST_ANCHOR + (self.anchors if self.layout == "mnemonic" else 0)

    @property
    def chance(self) -> float:
        return 1 / 2

    def steps_of(self, bits: int) -> int:
        """Time steps of an example with so many bits: all but the last p, which nothing follows."""
        return {"mnemonic": 4 * bits, "none": bits + 1}.get(self.layout, 2 * bits)

    def bits_in(self, length: int) -> int:
        """The most bits that fit into ``length`` steps."""
        bits = length - 1 if self.layout == "none" else length // self.steps_of(1)
        if bits < 2:
            raise InputError(
                f"task 'scratchpad_parity': length={length} is too short for layout {self.layout}, expected at least "
                f"{self.steps_of(2)}"
            )
        if self.layout == "mnemonic" and bits > self.anchors:
            raise InputError(
                f"task 'scratchpad_parity': length={length} has {bits} bits and there are {self.anchors} anchors, "
                "expected as many at least; use more anchors or a smaller length"
            )
        return bits

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh examples of ``length`` steps, all with one number of bits."""
        _check.request("scratchpad_parity", batch_size, length, generator, split)
        count = self.bits_in(length)
        if self.vary and split == "train":
            count = int(torch.randint(2, count + 1, (), generator=generator))
        bits = torch.randint(2, (batch_size, count), generator=generator)
        parity = bits.cumsum(1) % 2
        inputs, asked = self._laid_out(bits, parity, generator)
        targets = torch.full((batch_size, length), IGNORE)
        targets[:, asked] = parity[:, -len(asked) :]
        blanks = torch.full((batch_size, length - inputs.shape[1]), BLANK)
        return Batch(torch.cat([inputs, blanks], 1), targets)

    def _laid_out(self, bits: Tensor, parity: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Inputs (batch, steps), and the steps at which the last parities are asked."""
        rows, count = bits.shape
        separator = torch.full((rows, 1), SEPARATOR)
        if self.layout == "none":
            return torch.cat([bits, separator], 1), torch.tensor([count])
        if self.layout == "standard":
            return torch.cat([bits, separator, parity[:, :-1]], 1), torch.arange(count, 2 * count)
        if self.layout == "interleaved":
            return torch.stack([bits, parity], 2).flatten(1), torch.arange(0, 2 * count, 2)
        anchors = FIRST_ANCHOR + _draw.shuffled(_draw.subsets(rows, count, self.anchors, generator), generator)
        prompt, scratch = (torch.stack([anchors, part], 2).flatten(1) for part in (bits, parity))
        return torch.cat([prompt, separator, scratch[:, :-1]], 1), torch.arange(2 * count + 1, 4 * count + 1, 2)

    def example(self, generator: torch.Generator) -> str:
        """Anchors as letters; a question mark where a parity is asked, the answer after it."""
        bits = min(5, self.bits_in(self.length))
        batch = self.sample(1, self.steps_of(bits), generator, split="test")
        words = []
        for token, target in zip(batch.inputs[0].tolist(), batch.targets[0].tolist(), strict=True):
            word = str(token) if token < SEPARATOR else "|" if token == SEPARATOR else f"a{token - FIRST_ANCHOR}"
            words.append(word if target == IGNORE else f"{word} ?")
        return f"{' '.join(words)}  ->  {batch.targets[0, -1]}"
