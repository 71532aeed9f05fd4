"""The Jordan network and the IRNN against torch's modules and their equations."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seqmem.mixers.irnn import IRNN
from seqmem.mixers.jordan import Jordan, JordanState


@pytest.mark.parametrize("time", [1, 9])
@pytest.mark.parametrize("form", ["auto", "recurrent"])
def test_jordan_feeds_its_output_back(form: str, time: int, generator: torch.Generator) -> None:
    mixer = Jordan(5, hidden=7).double()
    x = torch.randn(3, time, 5, generator=generator, dtype=torch.float64)
    h = torch.randn(3, 7, generator=generator, dtype=torch.float64)
    y, state = mixer(x, JordanState(h), form=form)
    fed_back = h @ mixer.out.weight.T
    for t in range(time):
        h = torch.tanh(x[:, t] @ mixer.inputs.weight.T + mixer.inputs.bias + fed_back @ mixer.feedback.weight.T)
        fed_back = h @ mixer.out.weight.T
        torch.testing.assert_close(y[:, t], fed_back, rtol=0, atol=1e-12)
    torch.testing.assert_close(state.hidden, h, rtol=0, atol=1e-12)


def test_jordan_has_the_gradients_of_the_loop(generator: torch.Generator) -> None:
    mixer = Jordan(5, hidden=7).double()
    x = torch.randn(4, 23, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(4, 23, generator=generator) > 0.2
    reset = torch.rand(4, 23, generator=generator) > 0.85
    weigh = torch.randn(4, 23, 5, generator=generator, dtype=torch.float64) * mask[..., None]
    gradients = []
    for form in ("parallel", "recurrent"):
        y, state = mixer(x, mask=mask, reset=reset, form=form)
        loss = (y * weigh).sum() + state.hidden.sin().sum()
        gradients.append(torch.autograd.grad(loss, [x, *mixer.parameters()]))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_irnn_is_torch_s_network_of_rectified_units(generator: torch.Generator) -> None:
    engine = nn.RNN(6, 6, nonlinearity="relu", batch_first=True)
    mixer = IRNN(6)
    mixer.rnn.load_state_dict(engine.state_dict())
    x = torch.randn(2, 11, 6, generator=generator)
    torch.testing.assert_close(mixer(x)[0], engine(x)[0], rtol=0, atol=1e-6)


def test_a_new_irnn_adds_up_what_it_reads(generator: torch.Generator) -> None:
    """Where no sum has fallen below zero, h_t is the sum of W x."""
    mixer = IRNN(6, hidden=32).double()
    x = torch.rand(2, 50, 6, generator=generator, dtype=torch.float64)
    w = mixer.rnn.all_weights[0][0]
    assert 0.0005 < w.std().item() < 0.0015
    sums = (x @ w.T).cumsum(1)
    kept = (sums > 0).all(1)  # (batch, hidden)
    _, state = mixer(x)
    assert kept.any()
    torch.testing.assert_close(state.hidden[kept], sums[:, -1][kept], rtol=0, atol=1e-12)
    assert torch.equal(IRNN(4, scale=0.01).rnn.all_weights[0][1].detach(), 0.01 * torch.eye(4))
