"""Gated linear attention against its attention matrix, and against flash-linear-attention's plain loop where that is
installed."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.ops import gated_linear_attention
from seqmem.ops.gated_linear_attention import gated_linear_attention_reference


def test_equals_its_attention_matrix(generator: torch.Generator) -> None:
    """o_t = sum_{s<=t} sum_i q_t[i] exp(g_{s+1}[i] + ... + g_t[i]) k_s[i] v_s."""
    q, k, v = (torch.randn(2, 9, 2, n, generator=generator, dtype=torch.float64) for n in (3, 3, 5))
    g = -3 * torch.rand(2, 9, 2, 3, generator=generator, dtype=torch.float64)
    total = g.cumsum(1)
    decay = (total[:, :, None] - total[:, None]).exp()  # (batch, to, from, heads, key)
    causal = torch.ones(9, 9, dtype=torch.float64).tril()
    attention = torch.einsum("bthi,bshi,btshi,ts->bhts", q, k, decay, causal)
    o, s = gated_linear_attention(q, k, v, g, backend="numba")
    torch.testing.assert_close(o, torch.einsum("bhts,bshv->bthv", attention, v))
    torch.testing.assert_close(s, torch.einsum("bshi,bshi,bshv->bhiv", k, decay[:, -1], v))


def test_equals_the_loop_of_flash_linear_attention(generator: torch.Generator) -> None:
    package = importlib.util.find_spec("fla")
    if package is None or not package.submodule_search_locations:
        pytest.skip("flash-linear-attention is not installed")
    file = Path(next(iter(package.submodule_search_locations))) / "ops" / "gla" / "naive.py"
    spec = importlib.util.spec_from_file_location("fla_gla_naive", file)
    assert spec is not None
    assert spec.loader is not None
    naive = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(naive)
    q, k, v = (torch.randn(2, 21, 2, n, generator=generator) for n in (16, 16, 17))
    g = -torch.rand(2, 21, 2, 16, generator=generator)
    s0 = torch.randn(2, 2, 16, 17, generator=generator)
    expected, state = naive.naive_recurrent_gla(q, k, v, g, initial_state=s0, output_final_state=True)
    o, s = gated_linear_attention(q * 16**-0.5, k, v, g, s0, backend="numba")
    torch.testing.assert_close(o, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(s, state, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("time", [1, 6])
@pytest.mark.parametrize("with_reset", [False, True])
def test_bonus_of_the_present_position(time, with_reset, generator) -> None:
    """Outputs, final state and every gradient, against the loop that reads before it decays."""

    def normal(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator, dtype=torch.float64).requires_grad_()

    q, k, v, s0, bonus = (
        normal(2, time, 2, 3),
        normal(2, time, 2, 3),
        normal(2, time, 2, 4),
        normal(2, 2, 3, 4),
        normal(2, 3),
    )
    g = normal(2, time, 2, 3)
    reset = torch.tensor([[0, 0, 0, 1, 0, 0], [1, 0, 0, 0, 0, 1]]).bool()[:, :time] if with_reset else None
    got = gated_linear_attention(q, k, v, -g.abs(), s0, bonus=bonus, reset=reset)
    expected = gated_linear_attention_reference(q, k, v, -g.abs(), s0, reset, bonus)
    inputs = (q, k, v, g, s0, bonus)
    given = [torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in expected]
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(
        torch.autograd.grad(got, inputs, given), torch.autograd.grad(expected, inputs, given), rtol=1e-9, atol=1e-9
    )
    with pytest.raises(InputError, match="bonus has shape"):
        gated_linear_attention(q, k, v, g, bonus=bonus[0])
