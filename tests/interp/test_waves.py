"""Waves and linear recall on signals whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch

from seqmem.errors import InputError
from seqmem.interp import linear_recall, wave_share, wave_spectrum, wave_speed


@pytest.mark.parametrize("speed", [1.0, -1.0, 0.5, 2.0])
def test_a_travelling_pattern_has_its_speed(generator: torch.Generator, speed: float) -> None:
    x, t = torch.arange(24), torch.arange(30)[:, None]
    phase = 2 * math.pi * (x - speed * t) / 24
    pattern = sum(torch.cos(k * phase + k) * a for k, a in enumerate((1.0, 0.5, 0.2), 1)) + 3
    hidden = pattern[None, :, :, None].expand(2, -1, -1, 3)
    assert wave_speed(hidden) == pytest.approx(speed, abs=1e-6)
    shares = wave_share(hidden, torch.tensor([speed, 0.0]))
    assert float(shares[0]) == pytest.approx(1, abs=1e-5)
    assert float(shares[1]) < 0.2


def test_noise_has_no_speed(generator: torch.Generator) -> None:
    noise = torch.randn(1, 200, 16, 4, generator=generator)
    assert wave_share(noise, torch.linspace(-2, 2, 81)).max() < 0.05
    assert wave_share(torch.ones(1, 5, 4, 1), torch.tensor([1.0])).tolist() == [0.0]  # nothing varies in space


def test_the_share_is_the_energy_on_a_line_of_the_spectrum(generator: torch.Generator) -> None:
    """For a whole speed and as many steps as units the line goes through the transform's own frequencies."""
    hidden = torch.rand(2, 12, 12, 3, generator=generator)
    energy = wave_spectrum(hidden)
    number = torch.arange(1, 12)
    for speed in (1, -1, 0):
        expected = energy[(-speed * number) % 12, number].sum() / energy[:, 1:].sum()
        assert float(wave_share(hidden, torch.tensor([speed]))[0]) == pytest.approx(float(expected), rel=1e-4)


def test_a_shift_register_recalls_as_far_as_it_is_long(generator: torch.Generator) -> None:
    inputs = torch.randn(8, 60, generator=generator)
    states = torch.stack([torch.nn.functional.pad(inputs, (lag, 0))[:, :60] for lag in range(5)], -1)
    mixed = states @ torch.randn(5, 9, generator=generator)  # any linear mixture will do
    found = linear_recall(mixed, inputs, [0, 2, 4, 5, 9])
    assert (found[:3] > 0.999).all()
    assert (found[3:] < 0.1).all()
    with pytest.raises(InputError, match="lags below"):
        linear_recall(mixed, inputs, [60])


def test_impossible_states_are_refused() -> None:
    with pytest.raises(InputError, match="with 2 steps and units"):
        wave_speed(torch.zeros(2, 5, 4))
