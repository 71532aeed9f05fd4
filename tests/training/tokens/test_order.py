"""Which tokens a step reads: all of them once an epoch, in an order that follows from seed and step alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from seqmem.errors import InputError
from seqmem.training.tokens.order import Order
from seqmem.training.tokens.stream import Stream


class InMemory:
    def __init__(self, ids: np.ndarray) -> None:
        self.ids, self.tokens, self.begins = ids, len(ids), np.zeros(1, np.int64)

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.ids[start:stop]


def numbered(tokens: int, starts: list[int]) -> Stream:
    """Token n is n, in two files."""
    ids = np.arange(tokens)
    halves = [InMemory(ids[: tokens // 3]), InMemory(ids[tokens // 3 :])]
    return Stream(halves, np.array(starts, np.int64), tokens, name="numbers")


STARTS = [0, 1, 5, 40, 41, 77]


def test_shuffled_windows_are_read_once_an_epoch() -> None:
    order = Order(numbered(101, STARTS), window=7, batch_size=3, seed=1)
    assert order.windows == 14
    rows = [row for step in range(28) for row in order.batch(step).inputs.tolist()]  # six epochs
    for epoch in range(6):
        part = rows[14 * epoch : 14 * (epoch + 1)]
        assert sorted(row[0] for row in part) == list(range(0, 98, 7))
        assert all(row == list(range(row[0], row[0] + 7)) for row in part)
    assert rows[:14] != rows[14:28]
    assert [order.epoch(step) for step in (0, 4, 5)] == [0, 0, 1]
    assert all(order.starts_over(step) for step in range(5))


def test_carried_rows_read_the_shuffled_documents_end_to_end() -> None:
    order = Order(numbered(101, STARTS), window=7, batch_size=3, seed=1, carry=True)
    assert order.windows == (101 // 3 - 1) // 7
    lengths = np.diff([*STARTS, 101])
    seen = []
    for epoch in range(3):
        steps = range(epoch * order.windows, (epoch + 1) * order.windows)
        assert [order.starts_over(step) for step in steps] == [True] + [False] * (order.windows - 1)
        assert {order.epoch(step) for step in steps} == {epoch}
        rows = torch.cat([order.batch(step).inputs for step in steps], 1)  # (3, read)
        resets = torch.cat([order.batch(step).reset for step in steps], 1)
        for ids, reset in zip(rows.tolist(), resets.tolist(), strict=True):
            for (before, after), new in zip(pairwise(ids), reset[1:], strict=True):
                assert new == (after in STARTS)
                assert new or after == before + 1
                assert not new or before + 1 in [*STARTS, 101]
        seen.append(tuple(rows[0].tolist()))
        assert len(set(rows.flatten().tolist())) == rows.numel()
    assert len(set(seen)) > 1
    assert lengths.sum() == 101


@pytest.mark.parametrize("carry", [False, True])
def test_targets_follow_and_first_tokens_are_not_asked(carry: bool) -> None:
    order = Order(numbered(101, STARTS), window=7, batch_size=4, seed=2, carry=carry)
    for step in range(9):
        inputs, targets, reset = order.batch(step)
        asked = targets >= 0
        assert torch.equal(targets[asked], inputs[asked] + 1)
        assert order.asked(step) == int(asked.sum())
        assert torch.equal(reset, torch.isin(inputs, torch.tensor(STARTS)))
        one, two = order.batch(step, 0, 2), order.batch(step, 2, 4)  # what two processes read
        for first, second, whole in zip(one, two, (inputs, targets, reset), strict=True):
            assert torch.equal(torch.cat([first, second]), whole)
        again = Order(numbered(101, STARTS), window=7, batch_size=4, seed=2, carry=carry).batch(step)
        assert torch.equal(again.inputs, inputs)


def test_too_little_text() -> None:
    with pytest.raises(InputError, match=r"has 7 tokens, expected window \+ 1 = 8"):
        Order(numbered(7, [0]), window=7, batch_size=1)
    with pytest.raises(InputError, match="for each of 4 rows"):
        Order(numbered(31, [0]), window=7, batch_size=4, carry=True)
    Order(numbered(32, [0]), window=7, batch_size=4, carry=True)
