"""Brackets against a stack in plain Python, their shapes against all shapes that there are."""

from __future__ import annotations

import itertools

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE
from seqmem.tasks.dyck import Dyck


@pytest.mark.parametrize(("pairs", "depth", "length"), [(2, 4, 20), (3, 2, 12), (2, 1, 4), (2, 4, 200)])
def test_what_opens_closes(generator: torch.Generator, pairs: int, depth: int, length: int) -> None:
    batch = Dyck(pairs=pairs, depth=depth).sample(60, length, generator)
    deepest = 0
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        stack: list[int] = []
        for t, token in enumerate(inputs):
            if token < pairs:
                stack.append(token)
                assert t == 0 or targets[t - 1] == IGNORE
            else:
                kind = stack.pop()
                assert token == pairs + kind == targets[t - 1]
            deepest = max(deepest, len(stack))
            assert len(stack) <= depth
        assert not stack
        assert targets[-1] == IGNORE
    assert deepest == depth


def test_every_shape_is_equally_likely(generator: torch.Generator) -> None:
    def fits(steps: tuple[int, ...]) -> bool:
        depths = list(itertools.accumulate(steps))
        return min(depths) >= 0 and max(depths) <= 3 and depths[-1] == 0

    shapes = [steps for steps in itertools.product((1, -1), repeat=8) if fits(steps)]
    rows = 20_000
    opens = Dyck(depth=3).sample(rows, 8, generator).inputs < 2
    code = (opens.long() * 2 ** torch.arange(8)).sum(1)
    counts = torch.bincount(code)
    counts = counts[counts > 0]
    assert len(counts) == len(shapes) == 13
    assert (counts / rows - 1 / 13).abs().max() < 5 * (12 / 13**2 / rows) ** 0.5


def test_a_shape_takes_other_kinds(generator: torch.Generator) -> None:
    task = Dyck()
    first = task.sample(500, 20, generator)
    other = task.strings(first.inputs < 2, generator)
    assert torch.equal(first.inputs < 2, other.inputs < 2)
    asked = first.targets != IGNORE
    assert torch.equal(asked, other.targets != IGNORE)
    assert float((first.targets == other.targets)[asked].float().mean()) == pytest.approx(0.5, abs=0.05)


def test_chance_is_what_a_blind_guess_scores(generator: torch.Generator) -> None:
    targets = Dyck(pairs=3).sample(1000, 20, generator).targets
    targets = targets[targets != IGNORE]
    assert torch.bincount(targets).max().item() / len(targets) == pytest.approx(1 / 3, abs=0.03)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"length": 7}, "length=7 is odd"),
        ({"test_lengths": (20, 41)}, "length=41 is odd"),
        ({"pairs": 1}, "pairs=1, expected at least 2"),
        ({"depth": 0}, "depth=0, expected at least 1"),
    ],
)
def test_bad_options_say_so(options, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=says):
        Dyck(**options)


def test_example_shows_what_was_asked_under_each_bracket(generator: torch.Generator) -> None:
    string, asked = (line.split()[1:] for line in Dyck().example(generator).splitlines())
    assert all(below in (".", above) for above, below in zip(string, asked, strict=True))
    assert [above for above, below in zip(string, asked, strict=True) if below != "."] == [
        token for token in string if token in ")]"
    ]
    assert set(Dyck(pairs=5).example(generator).split()[1:21]) <= set(map(str, range(10)))
