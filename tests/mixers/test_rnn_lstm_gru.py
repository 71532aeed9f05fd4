"""The recurrent networks against their equations in float64, and against torch's modules with the same weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from seqmem.mixers.gru import GRU, GRUState
from seqmem.mixers.lstm import LSTM, LSTMState
from seqmem.mixers.rnn import RNN, RNNState


def rnn_loop(mixer: RNN, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    w, u, b, c = mixer.rnn.all_weights[0]
    f = {"relu": torch.relu, "tanh": torch.tanh}[mixer.rnn.nonlinearity] if not mixer.linear else torch.clone
    hs = []
    for t in range(x.shape[1]):
        h = f(x[:, t] @ w.T + b + h @ u.T + c)
        hs.append(h)
    return torch.stack(hs, 1), h


def lstm_loop(mixer: LSTM, x: Tensor, h: Tensor, cell: Tensor) -> tuple[Tensor, ...]:
    w, u, b, c = mixer.lstm.all_weights[0]
    hs = []
    for t in range(x.shape[1]):
        i, f, g, o = (x[:, t] @ w.T + b + h @ u.T + c).chunk(4, -1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        h = o.sigmoid() * cell.tanh()
        hs.append(h)
    return torch.stack(hs, 1), h, cell


def gru_loop(mixer: GRU, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    w, u, b, c = mixer.gru.all_weights[0]
    hs = []
    for t in range(x.shape[1]):
        of_x, of_h = (x[:, t] @ w.T + b).chunk(3, -1), (h @ u.T + c).chunk(3, -1)
        r, z = (of_x[0] + of_h[0]).sigmoid(), (of_x[1] + of_h[1]).sigmoid()
        h = z * h + (1 - z) * (of_x[2] + r * of_h[2]).tanh()
        hs.append(h)
    return torch.stack(hs, 1), h


CASES: dict[str, tuple[Callable, Callable, type, int]] = {
    "tanh": (lambda hidden: RNN(6, hidden=hidden), rnn_loop, RNNState, 1),
    "relu": (lambda hidden: RNN(6, hidden=hidden, nonlinearity="relu"), rnn_loop, RNNState, 1),
    "linear": (lambda hidden: RNN(6, hidden=hidden, nonlinearity="linear"), rnn_loop, RNNState, 1),
    "lstm": (lambda hidden: LSTM(6, hidden=hidden), lstm_loop, LSTMState, 2),
    "gru": (lambda hidden: GRU(6, hidden=hidden), gru_loop, GRUState, 1),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("hidden", [None, 4])
@pytest.mark.parametrize("time", [1, 9])
@pytest.mark.parametrize("form", ["auto", "recurrent"])
def test_equals_the_equation(case: str, hidden: int | None, time: int, form: str, generator: torch.Generator) -> None:
    build, loop, state_type, parts = CASES[case]
    mixer = build(hidden).double()
    x = torch.randn(3, time, 6, generator=generator, dtype=torch.float64)
    begin = state_type(*(torch.randn(3, hidden or 6, generator=generator, dtype=torch.float64) for _ in range(parts)))
    hs, *last = loop(mixer, x, *begin)
    expected = hs if hidden is None else hs @ mixer.out.weight.T
    y, state = mixer(x, begin, form=form)
    assert isinstance(state, state_type)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    for got, wanted in zip(state, last, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("ours", "theirs"), [(RNN, nn.RNN), (LSTM, nn.LSTM), (GRU, nn.GRU)])
def test_takes_the_weights_of_torch(ours: type, theirs: type, generator: torch.Generator) -> None:
    engine = theirs(16, 16, batch_first=True)
    mixer = ours(16)
    getattr(mixer, ours.__name__.lower()).load_state_dict(engine.state_dict())
    x = torch.randn(4, 20, 16, generator=generator)
    torch.testing.assert_close(mixer(x)[0], engine(x)[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("flags", ["mask", "reset", "both"])
def test_documents_side_by_side_have_the_gradients_of_the_cell(
    case: str, flags: str, generator: torch.Generator
) -> None:
    """Documents of many lengths in one batch: the cell in a loop is the oracle for values and gradients."""
    build, _, state_type, parts = CASES[case]
    mixer = build(4).double()
    x = torch.randn(5, 37, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    begin = state_type(
        *(torch.randn(5, 4, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(parts))
    )
    mask = torch.rand(5, 37, generator=generator) > 0.2 if flags != "reset" else None
    reset = torch.rand(5, 37, generator=generator) > 0.85 if flags != "mask" else None
    leaves = [x, *begin, *mixer.parameters()]
    weigh = torch.randn(5, 37, 6, generator=generator, dtype=torch.float64)
    results = []
    for form in ("parallel", "recurrent"):
        y, state = mixer(x, begin, mask=mask, reset=reset, form=form)
        y = y if mask is None else y.masked_fill(~mask[..., None], 0)
        loss = (y * weigh).sum() + sum(part.sin().sum() for part in state)
        results.append([y, *state, *torch.autograd.grad(loss, leaves)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_the_forget_gate_begins_open() -> None:
    mixer = LSTM(8, forget_bias=2.0)
    _, _, b, c = mixer.lstm.all_weights[0]
    assert torch.equal((b + c)[8:16], torch.full((8,), 2.0))
    _, _, b, c = LSTM(8).lstm.all_weights[0]
    assert torch.equal((b + c)[8:16], torch.ones(8))
