"""running_softmax and wkv: kernels against the equations' loops, softmax itself and Hugging Face's RWKV."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.ops import SoftmaxState, running_softmax, wkv
from seqmem.ops.running_softmax import running_softmax_reference
from seqmem.ops.wkv import wkv_reference

BATCH, TIME, HEADS, VALUE = 3, 8, 2, 5


def _softmax_inputs(generator: torch.Generator, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    def normal(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator, dtype=dtype)

    state = normal(BATCH, HEADS), normal(BATCH, HEADS).abs() + 0.5, normal(BATCH, HEADS, VALUE)
    return [3 * normal(BATCH, TIME, HEADS), normal(BATCH, TIME, HEADS, VALUE), *state]


def _wkv_inputs(generator: torch.Generator, dtype: torch.dtype = torch.float64, channels: int = 5) -> list[Tensor]:
    def normal(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator, dtype=dtype)

    state = normal(BATCH, channels), normal(BATCH, channels).abs() + 0.5, normal(BATCH, channels)
    k, v = 3 * normal(BATCH, TIME, channels), normal(BATCH, TIME, channels)
    return [k, v, -normal(channels).abs(), normal(channels), *state]


def _flat(op, inputs: list[Tensor], reset: Tensor | None, **options) -> list[Tensor]:
    y, state = op(*inputs[:-3], SoftmaxState(*inputs[-3:]), reset=reset, **options)
    return [y, *state]


RESETS = [None, torch.tensor([[0, 0, 0, 1, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0, 0, 1], [0] * 8]).bool()]


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("op", [running_softmax, wkv])
def test_equals_the_loop(op, dtype, reset, generator) -> None:
    inputs = (_softmax_inputs if op is running_softmax else _wkv_inputs)(generator, dtype)
    inputs = [x.requires_grad_() for x in inputs]
    got, expected = _flat(op, inputs, reset, backend="numba"), _flat(op, inputs, reset, backend="reference")
    given = [torch.randn(x.shape, generator=generator, dtype=dtype) for x in expected]
    tolerance = 2e-5 if dtype is torch.float32 else 1e-10
    for part in (slice(0, 1), slice(1, 4), slice(0, 4)):
        grads = torch.autograd.grad(got[part], inputs, given[part], retain_graph=True)
        wanted = torch.autograd.grad(expected[part], inputs, given[part], retain_graph=True, materialize_grads=True)
        for x, y in zip((*got, *grads), (*expected, *wanted), strict=True):
            torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance * max(1.0, float(y.detach().abs().max())))


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("op", [running_softmax, wkv])
def test_gradients_against_finite_differences(op, reset, generator) -> None:
    inputs = [x.requires_grad_() for x in (_softmax_inputs if op is running_softmax else _wkv_inputs)(generator)]
    assert torch.autograd.gradcheck(lambda *x: tuple(_flat(op, list(x), reset, backend="numba")), inputs)


def test_is_the_softmax_over_what_was_read(generator) -> None:
    s, v = _softmax_inputs(generator)[:2]
    o, state = running_softmax(s, v)
    for t in range(TIME):
        torch.testing.assert_close(o[:, t], (s[:, : t + 1].softmax(1)[..., None] * v[:, : t + 1]).sum(1))
    torch.testing.assert_close(state.maximum + state.denominator.log(), s.logsumexp(1))


def test_is_hugging_faces_rwkv(generator) -> None:
    from transformers.models.rwkv.modeling_rwkv import rwkv_linear_attention_cpu

    k, v, g, bonus = _wkv_inputs(generator, torch.float32, channels=33)[:4]
    expected, (numerator, denominator, maximum) = rwkv_linear_attention_cpu(
        (-g).log(), bonus, k, v, return_state=True
    )  # it takes the logarithm of the decay's size
    o, state = wkv(k, v, g, bonus)
    torch.testing.assert_close(o, expected)
    torch.testing.assert_close(tuple(state), (maximum, denominator, numerator))


def test_any_cut_gives_the_same(generator) -> None:
    for op, inputs in ((running_softmax, _softmax_inputs(generator)), (wkv, _wkv_inputs(generator))):
        whole, last = op(*inputs[:-3])
        over_time = 2  # arguments with a time axis: s and v, k and v
        state, pieces = None, []
        for piece in (slice(0, 3), slice(3, 4), slice(4, 8)):
            y, state = op(*[x[:, piece] for x in inputs[:over_time]], *inputs[over_time:-3], state)
            pieces.append(y)
        torch.testing.assert_close(torch.cat(pieces, 1), whole)
        torch.testing.assert_close(tuple(state), tuple(last))


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_scores_of_any_size(backend) -> None:
    s = torch.tensor([-torch.inf, 1e4, -1e4, 1e4 - 1, -torch.inf]).view(1, 5, 1).requires_grad_()
    v = torch.arange(5.0).view(1, 5, 1, 1).requires_grad_()
    o, state = running_softmax(s, v, backend=backend)
    share = 1 / (1 + torch.tensor(1.0).exp())  # of the fourth beside the second
    expected = torch.tensor([0.0, 1.0, 1.0, 1 + 2 * share, 1 + 2 * share])
    torch.testing.assert_close(o.flatten(), expected)
    ds, dv = torch.autograd.grad(o.sum() + state.denominator.sum(), (s, v))
    assert ds.isfinite().all()
    torch.testing.assert_close(dv.flatten(), torch.tensor([0, 4 - 2 * share, 0, 2 * share, 0]))
    k = torch.full((1, 3, 2), -torch.inf)
    o, state = wkv(k, torch.ones(1, 3, 2), -torch.ones(2), torch.ones(2), backend=backend)
    assert torch.equal(o, torch.zeros(1, 3, 2))
    assert (state.maximum == -torch.inf).all()


def test_long_sequences_neither_overflow_nor_drift() -> None:
    time = 100_000
    v = torch.ones(1, time, 1, 2)
    o, state = running_softmax(torch.zeros(1, time, 1), v)
    torch.testing.assert_close(o, v, rtol=1e-4, atol=0)
    assert float(state.denominator) == time
    k = torch.linspace(-50, 50, time).view(1, time, 1)
    o, _ = wkv(k, v[..., 0, :1], -torch.ones(1) * 1e-3, torch.zeros(1))
    torch.testing.assert_close(o, v[..., 0, :1], rtol=1e-4, atol=0)


def test_nan_stays_in_its_row(generator) -> None:
    for op, inputs in ((running_softmax, _softmax_inputs(generator)), (wkv, _wkv_inputs(generator))):
        inputs[0][1, 2] = torch.nan
        y, state = op(*inputs[:-3], tuple(inputs[-3:]), backend="numba")
        assert y[1, 2:].isnan().all()
        assert not y[[0, 2]].isnan().any()
        assert not y[1, :2].isnan().any()
        assert not any(x[[0, 2]].isnan().any() for x in state)


def test_half_precision_strides_and_no_rows(generator) -> None:
    s, v = _softmax_inputs(generator, torch.float32)[:2]
    o, state = running_softmax(s.bfloat16(), v.bfloat16())
    assert (o.dtype, state.numerator.dtype) == (torch.bfloat16, torch.float32)
    one_score = s[..., :1].expand_as(s)  # expanded over heads
    turned = v.transpose(2, 3).contiguous().transpose(2, 3)
    torch.testing.assert_close(
        running_softmax(one_score, turned)[0], running_softmax_reference(one_score, v, _empty(v))[0]
    )
    assert running_softmax(s[:0], v[:0])[0].shape == (0, TIME, HEADS, VALUE)
    k, v, g, bonus = _wkv_inputs(generator)[:4]
    assert wkv(k[:0], v[:0], g, bonus)[0].shape == (0, TIME, 5)
    start = SoftmaxState(*(x.new_full((BATCH, 5), y) for x, y in ((k, -torch.inf), (k, 0.0), (k, 0.0))))
    torch.testing.assert_close(
        wkv(k[:, :1], v[:, :1], g, bonus)[0], wkv_reference(k[:, :1], v[:, :1], g, bonus, start)[0]
    )


def _empty(v: Tensor) -> SoftmaxState:
    zero = v.new_zeros(BATCH, HEADS)
    return SoftmaxState(zero - torch.inf, zero, v.new_zeros(BATCH, HEADS, VALUE))


def test_wrong_shapes_are_named(generator) -> None:
    s, v = _softmax_inputs(generator)[:2]
    with pytest.raises(InputError, match=r"s has shape \(3, 8, 1\)"):
        running_softmax(s[..., :1], v)
    with pytest.raises(InputError, match="numerator has shape"):
        running_softmax(s, v, (s[:, 0], s[:, 0], s[:, 0]))
    k, v, g, bonus = _wkv_inputs(generator)[:4]
    with pytest.raises(InputError, match="bonus has shape"):
        wkv(k, v, g, bonus[:2])
