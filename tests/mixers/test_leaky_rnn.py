"""The leaky network against its equation neuron by neuron, and against leaks that can be written down."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seqmem.errors import InputError
from seqmem.mixers.leaky_rnn import LeakyRNN, LeakyRNNState


@torch.no_grad()
def test_equal_to_the_equation_neuron_by_neuron(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    mixer = LeakyRNN(3, hidden=5, slope=0.2).double()
    mixer.time_constants.copy_(torch.tensor([0.3, 1.0, 1.5, 4.0, 20.0]))  # below 1 counts as 1
    x = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    start = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    y, state = mixer(x, LeakyRNNState(start))
    w, v, b = mixer.recurrent.tolist(), mixer.inputs.weight.tolist(), mixer.inputs.bias.tolist()
    tau = [1.0, 1.0, 1.5, 4.0, 20.0]
    for row in range(2):
        r = start[row].tolist()
        for t in range(6):
            new = []
            for i in range(5):
                drive = b[i] + sum(v[i][k] * float(x[row, t, k]) for k in range(3))
                drive += sum(w[i][j] * r[j] for j in range(5) if j != i)
                z = (1 - 1 / tau[i]) * r[i] + drive / tau[i]
                new.append(z if z > 0 else 0.2 * z)
            r = new
            expected = torch.tensor(r, dtype=torch.float64) @ mixer.out.weight.T
            torch.testing.assert_close(y[row, t], expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(state.hidden[row], torch.tensor(r, dtype=torch.float64), rtol=0, atol=1e-12)


@torch.no_grad()
def test_a_neuron_alone_forgets_by_its_time_constant() -> None:
    mixer = LeakyRNN(4, tau=5.0).double()
    mixer.recurrent.zero_().fill_diagonal_(7.0)  # never read: there are no self-connections
    mixer.inputs.bias.zero_()
    y, _ = mixer(torch.zeros(1, 10, 4, dtype=torch.float64), LeakyRNNState(torch.ones(1, 4, dtype=torch.float64)))
    torch.testing.assert_close(y[0, :, 0], 0.8 ** torch.arange(1, 11, dtype=torch.float64))


def test_time_constants_are_trained_unless_told_otherwise() -> None:
    for train in (True, False):
        mixer = LeakyRNN(4, train_tau=train)
        mixer(torch.randn(2, 5, 4))[0].square().sum().backward()
        assert (mixer.time_constants.grad is not None) == train
        assert mixer.recurrent.grad is not None
        assert not mixer.recurrent.grad.diagonal().any()


@torch.no_grad()
def test_silenced_neurons_say_nothing(generator: torch.Generator) -> None:
    mixer = LeakyRNN(6)
    x = torch.randn(2, 8, 6, generator=generator)
    mixer.silence([1, 4])
    y, _ = mixer(x)
    assert not y[..., [1, 4]].any()
    mixer.recurrent[:, [1, 4]] = 3.0  # what they would say: nothing
    torch.testing.assert_close(mixer(x)[0], y)
    with pytest.raises(InputError, match="0 to 5"):
        mixer.silence([6])


@pytest.mark.parametrize("bad", [{"tau": 0.5}, {"hidden": 0}])
def test_impossible_networks_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        LeakyRNN(8, **bad)
