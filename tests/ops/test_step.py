"""Decoding: a step without gradients takes a kernel on addresses. It equals the reference, and its inputs stay."""

from __future__ import annotations

import pytest
import torch

from seqmem.ops import causal_conv, delta_rule, explain, gated_linear_attention, selective_scan, ssd

BATCH, HEADS, KEY, VALUE, CHANNELS, STATE = 3, 2, 7, 9, 20, 5


def _inputs(dtype: torch.dtype) -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    both = draw(BATCH, 1, 2 * HEADS * KEY)  # q and k are views with a stride over the batch, as a layer's split gives
    q, k = (part.unflatten(-1, (HEADS, KEY)) for part in both.chunk(2, -1))
    v, s0 = draw(BATCH, 1, HEADS, VALUE), draw(BATCH, HEADS, KEY, VALUE)
    g, beta = -draw(BATCH, 1, HEADS).abs(), draw(BATCH, 1, HEADS).sigmoid()
    u, dt = draw(BATCH, 1, CHANNELS), draw(BATCH, 1, CHANNELS).abs()
    A, B, C = -draw(CHANNELS, STATE).abs(), draw(BATCH, 1, STATE), draw(BATCH, 1, STATE)
    past = draw(BATCH, CHANNELS, 3).mT  # not contiguous
    return {
        "ssd": (ssd, (q, k, v, g, s0)),
        "linear attention": (ssd, (q, k, v, None, s0)),
        "empty": (ssd, (q, k, v, g, None)),
        "gla": (gated_linear_attention, (q, k, v, -draw(BATCH, 1, HEADS, KEY).abs(), s0)),
        "delta": (delta_rule, (q, k, v, beta, None, s0)),
        "gated delta": (delta_rule, (q, k, v, beta, g, s0)),
        "forgets all": (delta_rule, (q, k, v, beta, torch.full_like(g, -torch.inf), s0)),
        "selective": (selective_scan, (u, dt, A, B, C, draw(BATCH, CHANNELS, STATE))),
        "selective, empty": (selective_scan, (u, dt, A, B, C)),
        "conv": (causal_conv, (u, draw(CHANNELS, 4), draw(CHANNELS), past)),
        "conv of one": (causal_conv, (u, draw(CHANNELS, 1), None, draw(BATCH, 0, CHANNELS))),
        "no rows": (ssd, (q[:0], k[:0], v[:0], g[:0], s0[:0])),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", list(_inputs(torch.float64)))
def test_one_step_is_the_reference(name: str, dtype: torch.dtype) -> None:
    op, arguments = _inputs(dtype)[name]
    before = [x.clone() if x is not None else None for x in arguments]
    y, state = op(*arguments)
    assert explain()[op.__name__].startswith("step")
    expected, expected_state = op(*arguments, backend="reference")
    tolerance = 1e-5 if dtype is torch.float32 else 1e-12
    torch.testing.assert_close(y, expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(state, expected_state, rtol=tolerance, atol=tolerance)
    for x, old in zip(arguments, before, strict=True):
        assert x is None or torch.equal(x, old)


@pytest.mark.parametrize("name", ["ssd", "gla", "gated delta", "selective", "conv", "empty"])
def test_a_reset_empties_the_state_first(name: str) -> None:
    op, arguments = _inputs(torch.float64)[name]
    reset = torch.tensor([[True], [False], [True]])
    result = op(*arguments, reset=reset)
    torch.testing.assert_close(result, op(*arguments, reset=reset, backend="reference"), rtol=1e-12, atol=1e-12)


def test_nan_stays_in_its_row() -> None:
    op, (q, k, v, beta, g, s0) = _inputs(torch.float32)["gated delta"]
    s0 = s0.clone()
    s0[1, 0, 0, 0] = torch.nan
    o, s = op(q, k, v, beta, g, s0)
    assert o[1].isnan().any()
    assert not o[[0, 2]].isnan().any()
    assert not s[[0, 2]].isnan().any()


@pytest.mark.parametrize("name", ["gated delta", "selective", "conv"])
def test_where_it_may_not_run(name: str) -> None:
    """Gradients, mixed dtypes, half precision and a mask take the reference."""
    op, arguments = _inputs(torch.float32)[name]
    learned = (arguments[0].clone().requires_grad_(), *arguments[1:])
    y, _ = op(*learned)
    assert explain()[op.__name__].startswith("reference")
    assert y.requires_grad
    with torch.no_grad():
        op(*learned)
    assert explain()[op.__name__].startswith("step")
    half = [x.bfloat16() if x is not None else None for x in arguments]
    assert op(*half)[0].dtype is torch.bfloat16
    assert explain()[op.__name__].startswith("reference")
    if op is causal_conv:
        op(*arguments, mask=torch.ones(BATCH, 1, dtype=torch.bool))
        assert explain()[op.__name__].startswith("reference")


def test_the_environment_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    op, arguments = _inputs(torch.float32)["ssd"]
    monkeypatch.setenv("SEQMEM_BACKEND", "reference")
    op(*arguments)
    assert explain()["ssd"].startswith("reference")


def test_forward_mode_and_vmap_do_not_reach_it() -> None:
    """Both would be lost on addresses."""
    op, (q, k, v, g, s0) = _inputs(torch.float64)["ssd"]
    _, tangent = torch.func.jvp(lambda x: op(x, k, v, g, s0)[0], (q,), (torch.ones_like(q),))
    expected = op(torch.ones_like(q), k, v, g, s0)[0]  # o is linear in q
    torch.testing.assert_close(tangent, expected)
