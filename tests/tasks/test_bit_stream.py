"""The stream of bits against a reader that looks at the last N."""

from __future__ import annotations

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE
from seqmem.tasks.bit_stream import BitStream, answers, bits


def looked_up(stream: list[int], span: int, kind: str) -> int:
    if len(stream) < span:
        return IGNORE
    window = stream[len(stream) - span :]
    return window.count(1) % 2 if kind == "parity" else int(window[0] == window[-1])


@pytest.mark.parametrize("kind", ["parity", "match"])
@pytest.mark.parametrize("every_position", [True, False])
def test_answers_are_about_the_last_bits(generator: torch.Generator, kind: str, every_position: bool) -> None:
    task = BitStream(kind, spans=(2, 5, 3), length=12, every_position=every_position)
    batch = task.sample(31, 14, generator)
    assert batch.groups is not None
    counts = torch.bincount(batch.groups, minlength=3)
    assert int(counts.max() - counts.min()) <= 1
    for inputs, targets, group in zip(
        batch.inputs.tolist(), batch.targets.tolist(), batch.groups.tolist(), strict=True
    ):
        assert inputs[0] == 2 + group
        assert targets[0] == IGNORE
        for t in range(1, 14):
            expected = looked_up(inputs[1 : t + 1], task.spans[group], kind)
            assert targets[t] == (expected if every_position or t == 13 else IGNORE)


def test_answers_of_a_short_stream(generator: torch.Generator) -> None:
    stream = bits(3, 4, generator)
    found = answers(stream, (2, 9))
    assert (found[..., 1] == IGNORE).all()
    assert (found[:, 1:, 0] == (stream[:, 1:] + stream[:, :-1]) % 2).all()


@pytest.mark.parametrize("kind", ["parity", "match"])
def test_chance_is_a_coin(generator: torch.Generator, kind: str) -> None:
    targets = BitStream(kind).sample(2000, 32, generator).targets
    assert targets[targets != IGNORE].double().mean() == pytest.approx(0.5, abs=0.01)


def test_bits_are_balanced_or_have_a_share_of_their_own(generator: torch.Generator) -> None:
    assert bits(2000, 50, generator).double().mean() == pytest.approx(0.5, abs=0.01)
    share = bits(4000, 100, generator, balanced=False).double().mean(1)
    assert share.mean() == pytest.approx(0.5, abs=0.02)
    assert share.var() == pytest.approx(1 / 12, abs=0.01)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kind": "party"}, "Did you mean 'parity'"),
        ({"spans": (1, 2)}, "spans=1, expected at least 2"),
        ({"spans": ()}, "spans is empty"),
        ({"length": 4}, "length=4 is too short for spans=[2, 3, 4], expected at least 5"),
        ({"test_lengths": (3,)}, "length=3 is too short"),
        ({"every_position": 1}, "every_position=1"),
    ],
)
def test_bad_options_say_so(options: dict, says: str) -> None:
    with pytest.raises(InputError) as error:
        BitStream(**options)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_example_says_what_is_asked(generator: torch.Generator) -> None:
    stream, rest = BitStream(length=9).example(generator).split("  | the last ")
    span = int(rest.partition(":")[0])
    assert rest.endswith("yes" if looked_up([int(bit) for bit in stream.split()], span, "parity") else "no")
