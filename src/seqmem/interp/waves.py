"""Waves in a ring of units: how fast activity travels, from the spectrum of a hidden state in space and time.

Traveling Waves Encode the Recent Past and Enhance Sequence Learning (2024), arXiv 2309.08045, reads it the same way.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqmem.errors import InputError


def wave_spectrum(hidden: Tensor) -> Tensor:
    """Energy by frequency in time and in space, (time, units): |2-D Fourier transform|^2 of hidden (batch, time, units,
    channels), summed over the batch and channels. Frequencies are those of ``torch.fft.fft2``.
    """
    return torch.fft.fft2(_checked(hidden), dim=(1, 2)).abs().square().sum((0, 3))


def wave_share(hidden: Tensor, speeds: Tensor) -> Tensor:
    """How much of the activity is a wave of each of these speeds, in units a step; (speeds,), from 0 to 1.

    hidden: (batch, time, units, channels), units on a ring. It is the energy on the line  frequency = -speed x wave
    number  of the spectrum, over the most that there can be: 1 for any pattern that travels and does not change. What
    does not vary in space (wave number 0) is left out.
    """
    h = torch.fft.fft(_checked(hidden).to(torch.float64), dim=2)[:, :, 1:]  # (batch, time, wave number, channels)
    _, time, numbers, _ = h.shape
    energy = h.abs().square().sum()
    if not energy > 0:
        return torch.zeros(len(speeds), dtype=torch.float64)
    number = torch.arange(1, numbers + 1, dtype=torch.float64)
    number = torch.where(number > (numbers + 1) / 2, number - numbers - 1, number)  # from the negative half
    t = torch.arange(time, dtype=torch.float64)
    shares = []
    for speed in speeds.double().tolist():
        back = torch.polar(
            torch.ones(time, numbers, dtype=torch.float64), 2 * math.pi / (numbers + 1) * speed * t[:, None] * number
        )
        shares.append((h * back[..., None]).sum(1).abs().square().sum() / (time * energy))
    return torch.stack(shares)


def wave_speed(hidden: Tensor, speeds: Tensor | None = None) -> float:
    """The speed, in units a step, of which :func:`wave_share` is largest; speeds: by default -2 to 2 by 0.05."""
    speeds = torch.linspace(-2, 2, 81) if speeds is None else speeds
    return float(speeds[wave_share(hidden, speeds).argmax()])


def _checked(hidden: Tensor) -> Tensor:
    if hidden.ndim != 4 or min(hidden.shape[1:3]) < 2:
        raise InputError(
            f"hidden has shape {tuple(hidden.shape)}, expected (batch, time, units, channels) with 2 steps and units "
            "or more"
        )
    return hidden.detach()
