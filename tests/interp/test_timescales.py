"""Timescales, dimensions and noise on processes and models whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.interp import (
    autocorrelation,
    dimensionality,
    fit_timescale,
    network_timescales,
    with_weight_noise,
)
from seqmem.mixers.leaky_rnn import LeakyRNN


def leaky_noise(taus: list[float], time: int, generator: torch.Generator) -> Tensor:
    """(4, time, units): r_t = (1 - 1 / tau) r_{t-1} + noise, of which the autocorrelation is (1 - 1 / tau)^lag."""
    keep = 1 - 1 / torch.tensor(taus, dtype=torch.float64)
    noise = torch.randn(4, time, len(taus), generator=generator, dtype=torch.float64)
    r, out = torch.zeros(4, len(taus), dtype=torch.float64), []
    for t in range(time):
        r = keep * r + noise[:, t]
        out.append(r)
    return torch.stack(out, 1)


def test_autocorrelation_is_the_covariance_over_the_variance(generator: torch.Generator) -> None:
    x = torch.randn(3, 40, 2, generator=generator).cumsum(1)
    found = autocorrelation(x, 6)
    for unit in range(2):
        rows = x[..., unit].double().numpy()
        rows = rows - rows.mean(1, keepdims=True)
        expected = [np.mean(rows[:, : 40 - k] * rows[:, k:]) for k in range(7)]
        torch.testing.assert_close(found[unit], torch.tensor(expected) / expected[0])
    assert autocorrelation(torch.ones(1, 9, 1), 3).isnan().all()


def test_leaky_noise_has_the_timescale_of_its_leak(generator: torch.Generator) -> None:
    taus = [1.5, 3.0, 8.0]
    found = network_timescales(leaky_noise(taus, 6000, generator)[:, 200:], lags=25)
    for tau, fitted in zip(taus, found, strict=True):
        assert fitted.effective == pytest.approx(-1 / math.log(1 - 1 / tau), rel=0.15)


def test_one_exponential_or_two() -> None:
    t = torch.arange(31, dtype=torch.float64)
    once = fit_timescale(0.9 * torch.exp(-t / 4))
    assert once.exponentials == 1
    assert once.slow == pytest.approx(4, rel=1e-3)
    assert math.isnan(once.fast)
    twice = fit_timescale(0.6 * torch.exp(-t / 1.2) + 0.4 * torch.exp(-t / 15))
    assert twice.exponentials == 2
    assert (twice.fast, twice.slow, twice.share) == pytest.approx((1.2, 15, 0.4), rel=1e-2)
    assert twice.effective == pytest.approx(0.6 * 1.2 + 0.4 * 15, rel=1e-2)
    assert fit_timescale(torch.full((31,), math.nan)).exponentials == 0


def test_dimensions(generator: torch.Generator) -> None:
    basis = torch.linalg.qr(torch.randn(10, 3, generator=generator))[0]
    x = torch.randn(5, 200, 3, generator=generator) @ basis.mT
    assert dimensionality(x, 0.999) == 3
    assert dimensionality(x + 7, 0.999) == 3  # the mean is no dimension
    assert dimensionality(torch.randn(20_000, 8, generator=generator), 0.9) == 8
    values = np.linalg.svd((x - x.mean((0, 1))).reshape(-1, 10).double().numpy(), compute_uv=False) ** 2
    held = np.cumsum(values) / values.sum()
    assert dimensionality(x, 0.6) == int(np.searchsorted(held, 0.6)) + 1


def test_noise_has_the_size_that_is_asked(generator: torch.Generator) -> None:
    mixer = LeakyRNN(6)
    noisy = with_weight_noise(mixer, ["recurrent"], 0.3, generator)
    moved = noisy.recurrent - mixer.recurrent
    assert float(moved.norm()) == pytest.approx(0.3 * float(mixer.recurrent.norm()), rel=1e-5)
    assert torch.equal(noisy.time_constants, mixer.time_constants)
    slower = with_weight_noise(mixer, ["time_constants"], 0.5, generator, upwards=True)
    assert (slower.time_constants >= mixer.time_constants).all()
    assert torch.equal(with_weight_noise(mixer, ["recurrent"], 0.0, generator).recurrent, mixer.recurrent)


def test_bad_input_says_so(generator: torch.Generator) -> None:
    with pytest.raises(InputError, match="time above"):
        autocorrelation(torch.zeros(1, 5, 2), 5)
    with pytest.raises(InputError, match="no weight 'wight'; it has weight, bias"):
        with_weight_noise(nn.Linear(2, 2), ["wight"], 0.1, generator)
    with pytest.raises(InputError, match="share is 0"):
        dimensionality(torch.zeros(3, 2), 0)
    with pytest.raises(InputError, match="at least 6"):
        fit_timescale(torch.ones(3))
