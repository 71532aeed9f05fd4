"""Curricula over N: what they train next, and that a network learns by them what a reader would say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seqmem.errors import InputError
from seqmem.mixers import get_mixer
from seqmem.mixers.leaky_rnn import LeakyRNN
from seqmem.training.span_curriculum import (
    SpanCurriculum,
    SpanNetwork,
    draw_streams,
    refit_heads,
    span_accuracy,
    train_spans,
)


def ladder(curriculum: SpanCurriculum, rungs: int) -> list[tuple[int, ...]]:
    spans, found = curriculum.beginning, []
    for _ in range(rungs):
        found.append(spans)
        spans = curriculum.after(spans)
    return found


def test_what_comes_next() -> None:
    assert ladder(SpanCurriculum("single"), 3) == [(2,), (3,), (4,)]
    assert ladder(SpanCurriculum("multi"), 3) == [(2,), (2, 3), (2, 3, 4)]
    assert ladder(SpanCurriculum("sliding", window=2), 4) == [(2,), (2, 3), (3, 4), (4, 5)]
    assert ladder(SpanCurriculum("none", first=3, last=5), 2) == [(3, 4, 5), ()]


@pytest.mark.parametrize("kind", ["parity", "match"])
def test_streams_are_long_enough_and_asked_at_their_end(generator: torch.Generator, kind: str) -> None:
    lengths = set()
    for _ in range(60):
        stream, wanted = draw_streams((2, 4), 5, kind, generator, balanced=True)
        lengths.add(stream.shape[1])
        for row, (two, four) in zip(stream.tolist(), wanted.tolist(), strict=True):
            assert two == (sum(row[-2:]) % 2 if kind == "parity" else row[-1] == row[-2])
            assert four == (sum(row[-4:]) % 2 if kind == "parity" else row[-1] == row[-4])
    assert min(lengths) == 6
    assert max(lengths) == 17


class Shifts(nn.Module):
    """A layer that does not learn: y holds the last four bits, and all their products."""

    width = 16

    def forward(self, x: torch.Tensor, state: None = None) -> tuple[torch.Tensor, None]:
        sign = x[..., :1]
        last = [nn.functional.pad(sign, (0, 0, n, 0))[:, : x.shape[1]] for n in range(4)]
        products = [torch.stack([last[n] for n in range(4) if k >> n & 1] or [sign * 0 + 1]).prod(0) for k in range(16)]
        return torch.cat(products, -1), None


def shifting(most: int = 8) -> SpanNetwork:
    network = SpanNetwork(Shifts(), most=most)
    with torch.no_grad():
        network.embed.weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, 16))
    network.embed.weight.requires_grad_(False)
    return network


@pytest.mark.parametrize("kind", ["parity", "match"])
def test_the_curriculum_stops_where_the_memory_ends(generator: torch.Generator, kind: str) -> None:
    """Four bits are in view: 2, 3 and 4 are learned by linear heads, five never."""
    network = shifting()
    said: list[int] = []
    history = train_spans(
        network,
        SpanCurriculum("multi"),
        5000,
        generator,
        kind=kind,
        batch=64,
        rate=0.2,
        every=20,
        balanced=True,
        on_learned=lambda span, _: said.append(span),
        watch=lambda network: float(network.bias.detach().sum()),
    )
    assert history.reached == 4
    assert said == [2, 3, 4] == list(history.tokens)
    assert history.spans == (2, 3, 4, 5)
    assert history.accuracy[4] > 0.98
    assert history.accuracy[5] < 0.7
    assert [read for read, _ in history.curve] == sorted(read for read, _ in history.curve)
    right = span_accuracy(network, [2, 3, 4, 5], generator, kind=kind, length=40)
    assert (right[:3] == 1).all()
    assert right[3] < 0.7


def test_heads_fitted_anew_find_what_the_states_hold(generator: torch.Generator) -> None:
    network = shifting()
    spans = [2, 3, 4, 5]
    assert span_accuracy(network, spans, generator)[:3].max() < 0.95  # heads as they were drawn
    right = span_accuracy(network, spans, generator, heads=refit_heads(network, spans, generator))
    assert right[:3].tolist() == [1, 1, 1]
    assert right[3] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("name", ["leaky_rnn", "gru", "lstm", "attention"])
def test_any_layer_trains(name: str) -> None:
    torch.manual_seed(0)
    network = SpanNetwork(get_mixer(name)(8), most=6, start=0 if name == "attention" else 0.1)
    history = train_spans(
        network, SpanCurriculum("none", last=3), 60, torch.Generator().manual_seed(0), batch=4, every=3, tests=8
    )
    assert set(history.accuracy) == {2, 3}


def test_a_leaky_network_learns_the_first_spans() -> None:
    torch.manual_seed(0)
    network = SpanNetwork(LeakyRNN(30))
    history = train_spans(
        network, SpanCurriculum("multi"), 2500, torch.Generator().manual_seed(0), batch=64, rate=0.1, every=25
    )
    assert history.reached >= 3


def test_bad_requests_say_so(generator: torch.Generator) -> None:
    with pytest.raises(InputError, match="kind is 'double', expected one of single"):
        SpanCurriculum("double")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no last before the first"):
        SpanCurriculum("none", first=5, last=4)
    with pytest.raises(InputError, match="N from 2 to 8"):
        shifting()(torch.zeros(1, 4, dtype=torch.long), [9])
    with pytest.raises(InputError, match="kind is 'sum', expected one of parity, match"):
        train_spans(shifting(), SpanCurriculum(), 10, generator, kind="sum")
