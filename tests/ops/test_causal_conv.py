"""causal_conv against a loop over positions that keeps a window, as a person would write it."""

import itertools

import pytest
import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.ops import causal_conv

FLAGS = list(itertools.product((False, True), repeat=2))


def _loop(x, weight, bias, state, mask, reset) -> tuple[Tensor, Tensor]:
    """y is 0 where the mask is False."""
    y, finals = torch.zeros_like(x), []
    for i in range(x.shape[0]):
        window = list(state[i])
        for t in range(x.shape[1]):
            if reset is not None and reset[i, t]:
                window = [torch.zeros_like(w) for w in window]
            if mask is None or mask[i, t]:
                window.append(x[i, t])
                y[i, t] = bias + sum(weight[:, j] * window[j] for j in range(len(window)))
                window.pop(0)
        finals.append(torch.stack(window) if window else state[i])
    return y, torch.stack(finals)


def _inputs(generator: torch.Generator, batch: int, time: int, channels: int, kernel: int, dtype=torch.float64):
    shapes = (batch, time, channels), (channels, kernel), (channels,), (batch, kernel - 1, channels)
    return [torch.randn(*s, generator=generator, dtype=dtype).requires_grad_() for s in shapes]


def _compare(inputs: list[Tensor], mask: Tensor | None, reset: Tensor | None) -> None:
    expected = _loop(*inputs, mask, reset)
    for backend in ("numba", "reference"):
        y, final = causal_conv(*inputs, mask=mask, reset=reset, backend=backend)
        assert y.isfinite().all()
        if mask is not None:
            y = y.where(mask[..., None], 0)
        torch.testing.assert_close((y, final), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("time", [1, 2, 3, 4])
def test_every_pattern_of_mask_and_reset(time, generator) -> None:
    """All 4^time patterns, one in each batch row, with kernels shorter and longer than the sequence."""
    patterns = torch.tensor(list(itertools.product(range(4), repeat=time)))
    mask, reset = patterns % 2 == 1, patterns >= 2
    for kernel in (1, 2, 4):
        inputs = [x.detach() for x in _inputs(generator, len(patterns), time, 2, kernel)]
        for m, r in itertools.product((None, mask), (None, reset)):
            _compare(inputs, m, r)


@pytest.mark.parametrize(("with_mask", "with_reset"), FLAGS)
def test_long_sequences(with_mask, with_reset, generator) -> None:
    inputs = [x.detach() for x in _inputs(generator, 3, 40, 5, 4)]
    mask = torch.rand(3, 40, generator=generator) < 0.6 if with_mask else None
    reset = torch.rand(3, 40, generator=generator) < 0.15 if with_reset else None
    _compare(inputs, mask, reset)


@pytest.mark.parametrize("backend", ["numba", "reference"])
@pytest.mark.parametrize(("with_mask", "with_reset"), FLAGS)
def test_gradcheck(with_mask, with_reset, backend, generator) -> None:
    mask = torch.tensor([[1, 0, 1, 1, 0, 1], [0, 0, 1, 0, 0, 0]], dtype=torch.bool) if with_mask else None
    reset = torch.tensor([[0, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 1]], dtype=torch.bool) if with_reset else None

    def call(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        y, final = causal_conv(*inputs, mask=mask, reset=reset, backend=backend)
        return (y if mask is None else y[mask]), final

    assert torch.autograd.gradcheck(call, _inputs(generator, 2, 6, 3, 4))


def test_what_is_masked_or_forgotten_cannot_do_harm(generator) -> None:
    x, weight, bias, state = (x.detach() for x in _inputs(generator, 1, 6, 3, 4))
    x[0, [1, 4]] = torch.nan
    state[0, 0] = torch.nan
    mask = torch.tensor([[1, 0, 1, 1, 0, 1]], dtype=torch.bool)
    reset = torch.tensor([[1, 0, 0, 0, 0, 0]], dtype=torch.bool)
    weight.requires_grad_()
    y, final = causal_conv(x, weight, bias, state, mask=mask, reset=reset)
    assert y.isfinite().all()
    assert final.isfinite().all()
    assert torch.autograd.grad(y.sum(), weight)[0].isfinite().all()


@pytest.mark.parametrize("cut", range(1, 7))
def test_any_cut_gives_the_same(cut, generator) -> None:
    x, weight, bias, state = (x.detach() for x in _inputs(generator, 4, 7, 3, 4))
    mask, reset = torch.rand(4, 7, generator=generator) < 0.6, torch.rand(4, 7, generator=generator) < 0.2
    for m, r in itertools.product((None, mask), (None, reset)):
        whole, final = causal_conv(x, weight, bias, state, mask=m, reset=r)
        parts = []
        carried = state
        for part in (slice(0, cut), slice(cut, 7)):
            flags = {"mask": None if m is None else m[:, part], "reset": None if r is None else r[:, part]}
            y, carried = causal_conv(x[:, part], weight, bias, carried, **flags)
            parts.append(y)
        seen = torch.ones_like(mask) if m is None else m
        torch.testing.assert_close(torch.cat(parts, 1)[seen], whole[seen])
        torch.testing.assert_close(carried, final)


def test_defaults_half_precision_and_strides(generator) -> None:
    x, weight, _, _ = (x.detach().float() for x in _inputs(generator, 2, 9, 4, 3))
    y, final = causal_conv(x, weight)
    padded = torch.nn.functional.pad(x.mT, (2, 0))
    torch.testing.assert_close(y, torch.nn.functional.conv1d(padded, weight[:, None], groups=4).mT)
    assert torch.equal(final, x[:, -2:])
    low, kept = causal_conv(x.bfloat16(), weight)
    assert (low.dtype, kept.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(causal_conv(x.mT.contiguous().mT, weight.t().contiguous().t())[0], y)


def test_spans_two_threads_and_single_precision(generator) -> None:
    """Longer than what one task takes: the spans' borders, and the sums over tasks."""
    torch.set_num_threads(2)
    inputs = [x.detach().float().requires_grad_() for x in _inputs(generator, 2, 600, 5, 4)]
    reset = torch.zeros(2, 600, dtype=torch.bool)
    reset[0, 257] = reset[1, 256] = True
    results = []
    for backend in ("numba", "reference"):
        y, final = causal_conv(*inputs, reset=reset, backend=backend)
        results.append((y, final, *torch.autograd.grad(y.square().sum() + final.sum(), inputs)))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-2)  # weight gradients are sums over 1,200 terms
    for x, expected in zip(*results, strict=True):
        assert (x - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(("batch", "time", "channels"), [(0, 5, 3), (2, 0, 3), (2, 5, 0)])
def test_empty(batch, time, channels, generator) -> None:
    inputs = _inputs(generator, batch, time, channels, 4)
    flags = torch.ones(batch, time, dtype=torch.bool)
    for kwargs in ({}, {"mask": flags}, {"reset": flags}, {"mask": flags, "reset": flags}):
        y, final = causal_conv(*inputs, **kwargs)
        assert y.shape == inputs[0].shape
        assert final.shape == inputs[3].shape


def test_wrong_input_is_one_line(generator) -> None:
    x, weight, bias, state = _inputs(generator, 2, 5, 3, 4)
    wrong = [(x, weight.t()), (x[0], weight), (x, weight, bias[:2]), (x, weight, bias, state[:, :2])]
    for inputs in wrong:
        with pytest.raises(InputError, match=r"^causal_conv: [^\n]*expected[^\n]*$"):
            causal_conv(*inputs)
