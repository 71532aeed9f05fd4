"""The gradient horizon where it is known exactly."""

from __future__ import annotations

import math

import pytest
import torch

from seqmem.errors import InputError
from seqmem.theory.gradient_horizon import classic_cells, decay_per_step, gradient_horizon


def test_a_linear_recurrence_decays_as_its_gate() -> None:
    xs = torch.randn(1, 30, 3, dtype=torch.float64)
    norms = gradient_horizon(lambda x, s: (x, 0.7 * s + x[:, 0]), xs, torch.zeros(1, 3, dtype=torch.float64))
    torch.testing.assert_close(norms[:-1] / norms[1:], torch.full((29,), 0.7, dtype=torch.float64))
    assert decay_per_step(norms) == pytest.approx(-math.log(0.7))
    assert math.isnan(decay_per_step(torch.zeros(10)))
    with pytest.raises(InputError, match="at least 2"):
        gradient_horizon(lambda x, s: (x, s), xs[:, :1], torch.zeros(1, 3))


def test_an_elman_cell_against_the_product_of_jacobians(generator) -> None:
    step, state, _ = classic_cells(4, generator)["elman"]
    xs = torch.randn(1, 6, 4, generator=generator, dtype=torch.float64)
    norms = gradient_horizon(step, xs, state)
    states = [state]
    for t in range(6):
        states.append(step(xs[:, t : t + 1], states[-1])[1])
    v = torch.cos(torch.arange(4, dtype=torch.float64))
    for t in range(5, 0, -1):
        jacobian = torch.autograd.functional.jacobian(lambda s, t=t: step(xs[:, t : t + 1], s)[1], states[t])[0, :, 0]
        v = v @ jacobian
        torch.testing.assert_close(norms[t - 1], v.norm())
