"""The generalised delta rule against its loop, flash-linear-attention's, and the rules that it contains."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from seqmem.errors import InputError
from seqmem.ops import delta_rule, gated_linear_attention, generalized_delta_rule


def _inputs(generator: torch.Generator, time: int, key: int, value: int, dtype: torch.dtype) -> list[Tensor]:
    """q, k, v, a, b, g, s0 as RWKV-7 has them: a removes what b writes back in part."""
    batch, heads = 2, 2

    def normal(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator, dtype=dtype)

    q, k, v = normal(batch, time, heads, key), normal(batch, time, heads, key), normal(batch, time, heads, value)
    removed = normalize(normal(batch, time, heads, key), dim=-1)
    g = -normal(batch, time, heads, key).abs() / 2
    written = removed * normal(batch, time, heads, key).sigmoid()
    return [x.requires_grad_() for x in (q, k, v, -removed, written, g, normal(batch, heads, key, value))]


def _compare(inputs: list[Tensor], reset: Tensor | None, generator: torch.Generator) -> None:
    got = generalized_delta_rule(*inputs, reset=reset, backend="numba")
    expected = generalized_delta_rule(*inputs, reset=reset, backend="reference")
    given = [torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in expected]
    tolerance = 1e-10 if expected[0].dtype is torch.float64 else 3e-5
    for part in (slice(0, 1), slice(1, 2), slice(0, 2)):
        grads = torch.autograd.grad(got[part], inputs, given[part], retain_graph=True)
        wanted = torch.autograd.grad(expected[part], inputs, given[part], retain_graph=True, materialize_grads=True)
        for x, y in zip((*got, *grads), (*expected, *wanted), strict=True):
            torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance * max(1.0, float(y.detach().abs().max())))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("with_reset", [False, True])
def test_equals_the_loop(dtype, with_reset, generator) -> None:
    for time in (2, 9):
        reset = torch.rand((2, time), generator=generator) < 0.3 if with_reset else None
        _compare(_inputs(generator, time, 3, 5, dtype), reset, generator)


def test_decay_of_nought_and_reset_at_the_ends(generator) -> None:
    inputs = _inputs(generator, 5, 3, 5, torch.float64)
    with torch.no_grad():
        inputs[5][:, 2] = -torch.inf
    got = generalized_delta_rule(*inputs, backend="numba")
    torch.testing.assert_close(got, generalized_delta_rule(*inputs, backend="reference"))
    grads = torch.autograd.grad(got[0].sum(), inputs)
    assert all(x.isfinite().all() for x in grads)
    inputs = _inputs(generator, 5, 3, 5, torch.float64)
    _compare(inputs, torch.tensor([[1, 0, 0, 0, 1], [0, 0, 0, 0, 0]]).bool(), generator)


def test_gradcheck(generator) -> None:
    inputs = [x.detach().requires_grad_() for x in _inputs(generator, 4, 3, 5, torch.float64)]
    assert torch.autograd.gradcheck(lambda *x: generalized_delta_rule(*x, backend="numba"), inputs)


def test_contains_the_delta_rule_and_gated_linear_attention(generator) -> None:
    q, k, v, _, _, g, s0 = _inputs(generator, 7, 3, 5, torch.float64)
    k = normalize(k, dim=-1)
    beta = torch.rand(2, 7, 2, generator=generator, dtype=torch.float64)[..., None]
    expected = delta_rule(q, k, v, beta[..., 0], None, s0)
    got = generalized_delta_rule(q, beta * k, v, -k, beta * k, torch.zeros_like(g), s0)
    torch.testing.assert_close(got, expected)
    nothing = torch.zeros_like(k)
    torch.testing.assert_close(
        generalized_delta_rule(q, k, v, k, nothing, g, s0), gated_linear_attention(q, k, v, g, s0)
    )


def test_equals_flash_linear_attention(generator) -> None:
    spec = importlib.util.find_spec("fla")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("flash-linear-attention is not installed")
    path = Path(spec.submodule_search_locations[0]) / "ops" / "generalized_delta_rule" / "dplr" / "naive.py"
    module = importlib.util.spec_from_file_location("fla_dplr_naive", path)
    assert module is not None
    assert module.loader is not None
    naive = importlib.util.module_from_spec(module)
    module.loader.exec_module(naive)
    q, k, v, a, b, g, s0 = (x.detach() for x in _inputs(generator, 9, 4, 4, torch.float32))
    heads_first = [x.transpose(1, 2) for x in (q, k, v, a, b, g)]
    o, s = naive.dplr_recurrence(*heads_first, initial_state=s0, output_final_state=True)
    ours, state = generalized_delta_rule(q * 4**-0.5, k, v, a, b, g, s0)
    torch.testing.assert_close(ours, o.transpose(1, 2), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state, s, rtol=1e-4, atol=1e-5)


def test_any_cut_half_precision_and_one_step(generator) -> None:
    q, k, v, a, b, g, s0 = (x.detach() for x in _inputs(generator, 6, 3, 5, torch.float64))
    whole, last = generalized_delta_rule(q, k, v, a, b, g, s0)
    state, pieces = s0, []
    for piece in (slice(0, 1), slice(1, 4), slice(4, 6)):
        y, state = generalized_delta_rule(*[x[:, piece] for x in (q, k, v, a, b, g)], state)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, 1), whole)
    torch.testing.assert_close(state, last)
    o, s = generalized_delta_rule(*[x.bfloat16() for x in (q, k, v, a, b, g)])
    assert (o.dtype, s.dtype) == (torch.bfloat16, torch.float32)
    with pytest.raises(InputError, match="b has shape"):
        generalized_delta_rule(q, k, v, a, b[..., :1], g)
