"""Landmark attention against a loop over queries and blocks, and a query that retrieves against the whole matrix."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.mixers.landmark import Landmark, insert_landmarks
from seqmem.testing import check_mixer

TIME, WIDTH, HEADS, HEAD = 23, 8, 2, 4
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {"block": 3, "blocks": 2},
    "inserted": {"block": 3, "blocks": 2, "inserted": True},
    "all blocks": {"block": 4, "blocks": None, "inserted": True},
    "one choice for all heads": {"block": 3, "blocks": 1, "per_head": False},
    "nothing retrieved": {"block": 3, "blocks": 0},
    "blocks of one": {"block": 1, "blocks": 3, "qk_norm": False},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def made(options: dict[str, Any]) -> Landmark:
    torch.manual_seed(1)
    layer = Landmark(WIDTH, heads=HEADS, **options).double()
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return layer


def turned(x: Tensor, place: int) -> Tensor:
    half = HEAD // 2
    angle = torch.tensor([place * 10_000.0 ** (-i / half) for i in range(half)], dtype=x.dtype)
    a, b = x[:half], x[half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()])


def by_loop(layer: Landmark, x: Tensor) -> Tensor:
    """The weights (heads, time, time) of one row, x (time, width), query by query as the paper words it."""
    size, k = layer.slots, layer.blocks
    query, key, _ = (part[0] for part in layer._projected(x[None]))
    weights = torch.zeros(HEADS, len(x), len(x), dtype=x.dtype)
    for t in range(len(x)):
        own, offset = divmod(t, size)

        def score(h: int, vector: Tensor, j: int, t: int = t, own: int = own, offset: int = offset) -> Tensor:
            block, slot = divmod(j, size)
            if k is not None and own - block > k:  # stands in the block before the latest k
                return turned(query[t, h], (k + 1) * size + offset) @ turned(vector, slot) / HEAD**0.5
            return turned(query[t, h], t) @ turned(vector, j) / HEAD**0.5

        gates = torch.zeros(HEADS, own, dtype=x.dtype)
        for h in range(HEADS):
            for block in range(own):
                last = block * size + size - 1
                landmark = key[last, h] if layer.landmark is None else key[last, h] @ layer.landmark[h]
                gates[h, block] = score(h, landmark, last)
        merit = gates if layer.per_head else gates.amax(0, keepdim=True).expand_as(gates)
        for h in range(HEADS):
            read = sorted(range(own), key=lambda b: merit[h, b].item(), reverse=True)[:k]
            tokens = [j for j in range(own * size, t + 1) if j % size < layer.block]
            group = [score(h, key[j, h], j) for j in tokens] + [gates[h, b] for b in read]
            share = torch.stack(group).softmax(0)
            weights[h, t, tokens] = share[: len(tokens)]
            for n, b in enumerate(read):
                inside = list(range(b * size, b * size + layer.block))
                within = torch.stack([score(h, key[j, h], j) for j in inside]).softmax(0)
                weights[h, t, inside] = share[len(tokens) + n] * within
    return weights


@every_option
def test_weights_are_those_of_the_loop(options: dict[str, Any], generator: torch.Generator) -> None:
    layer = made(options)
    x = torch.randn(2, TIME, WIDTH, dtype=torch.float64, generator=generator)
    with torch.no_grad():
        wanted = torch.stack([by_loop(layer, row) for row in x])
        torch.testing.assert_close(layer.attention(x), wanted, rtol=0, atol=1e-12)
        torch.testing.assert_close(layer(x)[0], layer.read(x, wanted), rtol=0, atol=1e-12)


@every_option
def test_rows_sum_to_one_and_landmarks_are_not_read(options: dict[str, Any], generator: torch.Generator) -> None:
    layer = made(options)
    weights = layer.attention(torch.randn(2, TIME, WIDTH, dtype=torch.float64, generator=generator))
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, HEADS, TIME, dtype=torch.float64))
    if layer.inserted:
        assert not weights[..., layer.block :: layer.slots].any()
    read = (weights > 0).sum(-1).amax()
    assert read <= layer.slots + (TIME if layer.blocks is None else layer.blocks * layer.block)


@every_option
def test_a_query_that_retrieves_reads_what_the_matrix_reads(
    options: dict[str, Any], generator: torch.Generator
) -> None:
    """Rows of different lengths, after padding and a reset, one position at a time."""
    layer = made(options)
    x = torch.randn(3, TIME, WIDTH, dtype=torch.float64, generator=generator)
    mask = torch.ones(3, TIME, dtype=torch.bool)
    mask[1, 2:6] = False
    reset = torch.zeros(3, TIME, dtype=torch.bool)
    reset[2, 15] = True
    _, state = layer(x, mask=mask, reset=reset)
    more = torch.randn(3, 6, WIDTH, dtype=torch.float64, generator=generator)
    whole, after = layer(more, state)
    for t in range(6):
        y, state = layer(more[:, t : t + 1], state)
        torch.testing.assert_close(y[:, 0], whole[:, t], rtol=0, atol=1e-12)
    for a, b in zip(state, after, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_retrieving_all_blocks_is_reading_the_whole(generator: torch.Generator) -> None:
    """With room for every block nothing is far, so that positions are those of a layer that chooses nothing."""
    few, every = made({"block": 3, "blocks": 7}), made({"block": 3, "blocks": None})
    x = torch.randn(1, TIME, WIDTH, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(few(x, form="recurrent")[0], every(x)[0], rtol=0, atol=1e-12)


def test_of_equal_landmarks_the_latest_wins() -> None:
    layer = made({"block": 2, "blocks": 1})
    x = torch.ones(1, 12, WIDTH, dtype=torch.float64)
    far_and_equal = layer.attention(x)[0, 0, -1]
    assert far_and_equal[:8].sum() == 0 or far_and_equal[8:10].sum() == 0  # one block
    score = torch.tensor([[[[1.0, 3.0, 3.0, 0.0]]]])
    assert layer._chosen(score, torch.ones(1, 1, 1, 4, dtype=torch.bool)).tolist() == [[[[2]]]]


@pytest.mark.parametrize("options", [{"block": 5, "blocks": 2, "inserted": True}, {"blocks": None, "block": 4}])
def test_the_contract_with_other_options(options: dict[str, Any]) -> None:
    check_mixer(functools.partial(Landmark, heads=2, **options), width=8, points=(1, 4))


def test_landmark_tokens_go_behind_every_block() -> None:
    tokens = torch.arange(1, 9)[None]
    assert insert_landmarks(tokens, 3, 0).tolist() == [[1, 2, 3, 0, 4, 5, 6, 0, 7, 8]]
    assert insert_landmarks(tokens[:, :2], 3, 0).tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Landmark(8, block=0), "block 0"),
        (lambda: Landmark(8, blocks=-1), "blocks -1"),
        (lambda: Landmark(6, heads=2), "even size"),
        (lambda: insert_landmarks(torch.zeros(3), 2, 0), "batch, time"),
    ],
)
def test_bad_input_says_what_is_expected(make: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()
