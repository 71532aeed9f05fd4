"""ListOps against a reader of the printed text."""

from __future__ import annotations

import statistics

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks._trees import capacity
from seqmem.tasks.base import IGNORE
from seqmem.tasks.listops import ListOps, written


def solve(text: str) -> tuple[int, int, int, int]:
    """By recursion on the words: value, deepest nesting, and the fewest and most arguments of a list."""
    words = text.split()

    def read(at: int, depth: int) -> tuple[int, int, int, int, int]:
        """Value, where it ends, depth, fewest, most."""
        if not words[at].startswith("["):
            return int(words[at]), at + 1, depth, 99, 0
        name, at, arguments = words[at][1:], at + 1, []
        deep, fewest, most = depth + 1, 99, 0
        while words[at] != "]":
            value, at, d, f, m = read(at, depth + 1)
            arguments.append(value)
            deep, fewest, most = max(deep, d), min(fewest, f), max(most, m)
        function = {
            "MAX": max, "MIN": min, "MED": lambda a: int(statistics.median(a)), "SM": lambda a: sum(a) % 10,
        }[name]  # fmt: skip
        return function(arguments), at + 1, deep, min(fewest, len(arguments)), max(most, len(arguments))

    value, end, deep, fewest, most = read(0, 0)
    assert end == len(words)
    return value, deep, fewest, most


def test_the_reader() -> None:
    assert solve("[MAX 4 [MIN 2 3 ] 1 0 [MED 1 5 8 9 2 ] ]") == (5, 2, 2, 5)
    assert solve("[SM 7 8 [MED 1 2 ] ]") == (6, 2, 2, 3)


@pytest.mark.parametrize("options", [{}, {"depth": 2, "arguments": 4, "length": 26}, {"depth": 7, "arguments": 2}])
def test_answers(generator: torch.Generator, options: dict[str, int]) -> None:
    task = ListOps(**options, test_lengths=(options.get("length", 64),))
    depths, fewest, most = set(), set(), set()
    for length in (4, 7, 19, task.length):
        batch = task.sample(60, length, generator)
        assert (batch.targets[:, :-1] == IGNORE).all()
        for inputs, answer in zip(batch.inputs.tolist(), batch.targets[:, -1].tolist(), strict=True):
            value, d, f, m = solve(written(inputs))
            assert answer == value + 1
            blanks = inputs.count(0)
            assert inputs[:blanks] == [0] * blanks
            assert blanks <= 8
            depths.add(d)
            fewest.add(f)
            most.add(m)
    assert max(depths) == task.depth or task.depth > 4
    assert min(fewest) == 2
    assert max(most) == task.arguments


def test_every_answer_is_as_likely_and_every_operation_comes(generator: torch.Generator) -> None:
    batch = ListOps().sample(4000, 64, generator)
    share = torch.bincount(batch.targets[:, -1], minlength=11)[1:] / 4000
    assert (share - ListOps().chance).abs().max() < 0.025
    assert torch.bincount(batch.inputs.flatten(), minlength=16)[1:].min() > 1000


def test_no_operation_alone_tells_the_answer(generator: torch.Generator) -> None:
    """A guess from the outermost operation, which a reader of the first token can make, is far from the answer."""
    batch = ListOps().sample(8000, 64, generator)
    first = batch.inputs.gather(1, (batch.inputs != 0).long().argmax(1, keepdim=True))[:, 0]
    right = sum(torch.bincount(batch.targets[first == op, -1]).max().item() for op in first.unique())
    assert right / 8000 < 0.4


def test_bad_options_say_so(generator: torch.Generator) -> None:
    assert capacity(2, 3) == 2 + 3 * (2 + 3)
    with pytest.raises(InputError, match="length=64, expected at most 17, which is all that depth=2 and arguments=3"):
        ListOps(depth=2, arguments=3)
    with pytest.raises(InputError, match="task 'listops': length=3, expected at least 4"):
        ListOps().sample(2, 3, generator)
