"""The delta rule against the functions of Qwen3-Next, and where its answer is known exactly."""

from collections.abc import Callable

import pytest
import torch
from torch.nn.functional import normalize
from transformers.models.qwen3_next.modeling_qwen3_next import (
    torch_chunk_gated_delta_rule,
    torch_recurrent_gated_delta_rule,
)

from seqmem.ops import delta_rule


@pytest.mark.parametrize("oracle", [torch_recurrent_gated_delta_rule, torch_chunk_gated_delta_rule])
@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("largest_beta", [1, 2])
def test_equals_qwen3_next(
    oracle: Callable[..., tuple[torch.Tensor, torch.Tensor]], gated: bool, largest_beta: int, generator: torch.Generator
) -> None:
    batch, time, heads, key, value = 2, 37, 3, 16, 17
    q = torch.randn(batch, time, heads, key, generator=generator)
    k = normalize(torch.randn(batch, time, heads, key, generator=generator), dim=-1)
    v = torch.randn(batch, time, heads, value, generator=generator)
    beta = largest_beta * torch.rand(batch, time, heads, generator=generator)
    g = -torch.rand(batch, time, heads, generator=generator) * gated
    s0 = torch.randn(batch, heads, key, value, generator=generator)
    inputs = [x.requires_grad_() for x in (q, k, v, beta, s0)]
    expected = oracle(q, k, v, g, beta, initial_state=s0, output_final_state=True)
    got = delta_rule(q * key**-0.5, k, v, beta, g if gated else None, s0, backend="numba")
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-5)
    ours = torch.autograd.grad(got[0].square().sum() + got[1].square().sum(), inputs)
    theirs = torch.autograd.grad(expected[0].square().sum() + expected[1].square().sum(), inputs)
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).norm() <= 2e-5 * b.norm()


def test_a_rewritten_key_returns_its_latest_value() -> None:
    """With beta = 1 a write replaces what the key held, and orthogonal keys do not disturb each other."""
    keys = torch.eye(3, dtype=torch.float64)[[0, 1, 2, 0, 2, 1]][None, :, None]  # (batch, time, heads, key)
    values = torch.arange(30.0, dtype=torch.float64).reshape(1, 6, 1, 5)
    _, s = delta_rule(keys, keys, values, torch.ones(1, 6, 1, dtype=torch.float64), backend="numba")
    torch.testing.assert_close(s[0, 0], values[0, [3, 5, 4], 0], rtol=0, atol=0)


def test_beta_of_two_reflects() -> None:
    """1 - beta = -1: what the key holds changes its sign at every step, which counts parity."""
    k = torch.tensor([1.0, 0, 0], dtype=torch.float64).expand(1, 7, 1, 3)
    v = torch.zeros(1, 7, 1, 5, dtype=torch.float64)
    s0 = torch.ones(1, 1, 3, 5, dtype=torch.float64)
    o, s = delta_rule(k, k, v, torch.full((1, 7, 1), 2.0, dtype=torch.float64), s0=s0, backend="numba")
    assert o[0, :, 0, 0].tolist() == [-1, 1, -1, 1, -1, 1, -1]
    assert s[0, 0, :, 0].tolist() == [-1, 1, 1]


def test_beta_of_zero_leaves_the_state(generator: torch.Generator) -> None:
    q, k, v = (torch.randn(1, 5, 2, n, generator=generator, dtype=torch.float64) for n in (3, 3, 5))
    s0 = torch.randn(1, 2, 3, 5, generator=generator, dtype=torch.float64)
    nothing = torch.zeros(1, 5, 2, dtype=torch.float64)
    _, s = delta_rule(q, k, v, nothing, nothing, s0, backend="numba")
    torch.testing.assert_close(s, s0, rtol=0, atol=0)
