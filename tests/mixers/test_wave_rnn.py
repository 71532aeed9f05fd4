"""The wave network against torch's circular convolution, and its wave against what a wave is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from seqmem.errors import InputError
from seqmem.mixers.wave_rnn import WaveRNN, WaveRNNState


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_equal_to_a_circular_convolution(kernel: int, generator: torch.Generator) -> None:
    mixer = WaveRNN(5, units=7, channels=3, kernel=kernel, shift=0).double()
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in mixer.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    conv = nn.Conv1d(3, 3, kernel, padding=kernel // 2, padding_mode="circular").double()
    with torch.no_grad():
        conv.weight.copy_(mixer.ring.unflatten(0, (kernel, 3)).permute(2, 1, 0))
        conv.bias.copy_(mixer.bias)  # type: ignore[union-attr]
    x = torch.randn(2, 9, 5, generator=generator, dtype=torch.float64)
    h = torch.rand(2, 7, 3, generator=generator, dtype=torch.float64)
    y, state = mixer(x, WaveRNNState(h))
    for t in range(9):
        enters = (x[:, t] @ mixer.inputs.weight.T + mixer.inputs.bias).view(2, 7, 3)
        h = torch.relu(conv(h.mT).mT + enters)
        expected = h.flatten(1) @ mixer.out.weight.T + mixer.out.bias
        torch.testing.assert_close(y[:, t], expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(state.hidden, h, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shift", [1, -1, 0])
def test_a_new_network_has_a_wave_of_its_speed(shift: int, generator: torch.Generator) -> None:
    """What came in t steps ago stands shift * t units on; the energy in space and time lies on a line of that slope."""
    mixer = WaveRNN(2, units=32, channels=2, shift=shift)
    pulse = torch.zeros(1, 20, 2)
    pulse[:, 0] = 1
    h, _ = mixer.waves(pulse)
    for t in range(20):
        assert h[0, t].nonzero()[:, 0].unique().tolist() == [shift * t % 32]
    x = torch.rand(1, 64, 2, generator=generator)
    h, _ = mixer.waves(x)
    energy = torch.fft.fft2(h[0, 32:, :, 0] if shift else h[0, :32, :, 0]).abs()  # (frequency in time, in space)
    energy[0, 0] = 0
    time, space = divmod(int(energy.argmax()), 32)
    if shift:
        assert (time + shift * space) % 32 == 0


def test_inputs_may_enter_a_channel_each() -> None:
    mixer = WaveRNN(5, units=4, channels=3, source="identity")
    x = torch.arange(1.0, 6.0)[None, None]
    h, _ = mixer.waves(x)
    assert h[0, 0, 0].tolist() == [1 + 4, 2 + 5, 3]
    assert not h[0, 0, 1:].any()


@pytest.mark.parametrize("bad", [{"kernel": 4}, {"shift": 2}, {"units": 0}, {"source": "first"}])
def test_impossible_rings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        WaveRNN(8, **bad)
