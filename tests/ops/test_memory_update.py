"""memory_update against the rule itself, one token at a time, with gradients by autograd."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.errors import InputError
from seqmem.ops import MemoryState, delta_rule, memory_update
from seqmem.ops.memory_update import recall

BATCH, TIME, HEADS, KEY, VALUE, INNER = 2, 11, 2, 3, 4, 5


def _f(x: Tensor, weights: list[Tensor]) -> Tensor:
    return x @ weights[0] if len(weights) == 1 else F.silu(x @ weights[0]) @ weights[1]


def _token_by_token(q, k, v, rate, weights, momentum, forget, chunk, reset=None, mask=None) -> Tensor:
    """The equations for one row and one head, nothing vectorised. q, k, v: (time, ...)."""
    now, speed = [w.clone() for w in weights], [torch.zeros_like(w) for w in weights]
    position, outputs = 0, []
    for t in range(len(q)):
        if reset is not None and reset[t]:
            now, speed, position = [w.clone() for w in weights], [torch.zeros_like(w) for w in weights], 0
        if mask is not None and not mask[t]:
            outputs.append(torch.full_like(v[t], torch.nan))
            continue
        if position % chunk == 0:
            anchor = [w.detach().clone().requires_grad_() for w in now]
        loss = (_f(k[t], anchor) - v[t]).square().sum() / 2
        slopes = torch.autograd.grad(loss, anchor)
        speed = [momentum[t] * s - rate[t] * g for s, g in zip(speed, slopes, strict=True)]
        now = [(1 - forget[t]) * w + s for w, s in zip(now, speed, strict=True)]
        outputs.append(_f(q[t], now))
        position += 1
    return torch.stack(outputs)


def _inputs(generator: torch.Generator, deep: bool) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    def normal(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator, dtype=torch.float64)

    def unit(*sizes: int) -> Tensor:
        return torch.rand(*sizes, generator=generator, dtype=torch.float64)

    shape = (BATCH, TIME, HEADS)
    q, k, v = normal(*shape, KEY), normal(*shape, KEY), normal(*shape, VALUE)
    rates = [unit(*shape) * 0.05, unit(*shape), unit(*shape) * 0.5]
    weights = (normal(HEADS, KEY, INNER), normal(HEADS, INNER, VALUE)) if deep else (normal(HEADS, KEY, VALUE),)
    return [q, k, v, *rates], weights


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("chunk", [1, 4, 16])
def test_equals_the_rule(deep, chunk, generator) -> None:
    (q, k, v, rate, momentum, forget), weights = _inputs(generator, deep)
    forget[0, 3] = 1  # forgets all
    momentum[1, 5] = 0
    reset, mask = torch.zeros(BATCH, TIME, dtype=torch.bool), torch.ones(BATCH, TIME, dtype=torch.bool)
    reset[0, 6] = reset[1, [0, 4]] = True
    mask[0, [2, 7]] = mask[1, 10] = False
    for flags in ({}, {"reset": reset}, {"reset": reset, "mask": mask}):
        y, _ = memory_update(q, k, v, rate, weights, momentum=momentum, forget=forget, chunk=chunk, **flags)
        for b in range(BATCH):
            for h in range(HEADS):
                rows = {name: x[b] for name, x in flags.items()}
                expected = _token_by_token(
                    *(x[b, :, h] for x in (q, k, v, rate)), [w[h] for w in weights], momentum[b, :, h],
                    forget[b, :, h], chunk, **rows,
                )  # fmt: skip
                real = rows.get("mask", torch.ones(TIME, dtype=torch.bool))
                torch.testing.assert_close(y[b, real, h], expected[real], rtol=1e-9, atol=1e-9)
        assert y.isfinite().all()


@pytest.mark.parametrize("deep", [False, True])
def test_a_norm_inside_is_differentiated_through(deep, generator) -> None:
    """One row and head, gradients by autograd through torch's own layer norm."""
    (q, k, v, rate, momentum, forget), weights = _inputs(generator, deep)
    gain, bias = (torch.randn(HEADS, VALUE, generator=generator, dtype=torch.float64) for _ in range(2))
    gates = {"momentum": momentum, "forget": forget}
    y, state = memory_update(q, k, v, rate, weights, norm=(gain, bias), chunk=4, **gates)

    def f(x: Tensor, w: list[Tensor]) -> Tensor:
        return F.layer_norm(_f(x, w), (VALUE,), gain[1], bias[1], 1e-6)

    now, speed = [w[1].clone() for w in weights], [torch.zeros_like(w[1]) for w in weights]
    for t in range(TIME):
        if t % 4 == 0:
            anchor = [w.clone().requires_grad_() for w in now]
        loss = (f(k[0, t, 1], anchor) - v[0, t, 1]).square().sum() / 2
        slopes = torch.autograd.grad(loss, anchor)
        speed = [momentum[0, t, 1] * s - rate[0, t, 1] * g for s, g in zip(speed, slopes, strict=True)]
        now = [(1 - forget[0, t, 1]) * w + s for w, s in zip(now, speed, strict=True)]
        torch.testing.assert_close(y[0, t, 1], f(q[0, t, 1], now), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(recall(q[:, -1:], state.weights, (gain, bias)), y[:, -1:])


@pytest.mark.parametrize("deep", [False, True])
def test_any_cut_gives_the_same(deep, generator) -> None:
    (q, k, v, rate, momentum, forget), weights = _inputs(generator, deep)
    reset = torch.zeros(BATCH, TIME, dtype=torch.bool)
    reset[0, 5] = True

    def run(t: slice, state: MemoryState | None) -> tuple[Tensor, MemoryState]:
        gates = {"momentum": momentum[:, t], "forget": forget[:, t], "reset": reset[:, t]}
        return memory_update(q[:, t], k[:, t], v[:, t], rate[:, t], weights, state, chunk=4, **gates)

    whole, last = run(slice(0, TIME), None)
    for cuts in ([0, 3, 4, 9, TIME], list(range(TIME + 1))):
        state, pieces = None, []
        for start, stop in pairwise(cuts):
            y, state = run(slice(start, stop), state)
            pieces.append(y)
        torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-9, atol=1e-9)
        assert state is not None
        torch.testing.assert_close(state.weights, last.weights, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(state.momentum, last.momentum, rtol=1e-9, atol=1e-9)


def test_a_chunk_of_one_without_momentum_is_the_delta_rule(generator) -> None:
    (q, k, v, rate, _, _), _ = _inputs(generator, False)
    nothing = torch.zeros(HEADS, KEY, VALUE, dtype=torch.float64)
    y, state = memory_update(q, k, v, rate, (nothing,), chunk=1)
    o, s = delta_rule(q, k, v, rate)
    torch.testing.assert_close(y, o)
    torch.testing.assert_close(state.weights[0], s)


@pytest.mark.parametrize("deep", [False, True])
def test_gradients(deep, generator) -> None:
    (q, k, v, rate, momentum, forget), weights = _inputs(generator, deep)
    given = [x[:1, :5].clone().requires_grad_() for x in (q, k, v, rate, momentum, forget)]
    learned = [w.clone().requires_grad_() for w in weights]

    def call(q, k, v, rate, momentum, forget, *weights):
        y, state = memory_update(q, k, v, rate, weights, momentum=momentum, forget=forget, chunk=2)
        return y, *state.weights, *state.momentum

    assert torch.autograd.gradcheck(call, (*given, *learned))


def test_what_is_computed_again_changes_nothing(generator) -> None:
    """Under torch.func everything is kept; with autograd alone most of it is computed again."""
    (q, k, v, rate, momentum, forget), weights = _inputs(generator, True)
    reset, mask = torch.rand(2, BATCH, TIME, generator=generator) < torch.tensor([0.2, 0.8])[:, None, None]

    def loss(k: Tensor, *weights: Tensor) -> Tensor:
        marks = {"momentum": momentum, "forget": forget, "chunk": 2, "reset": reset, "mask": mask}
        y, state = memory_update(q, k, v, rate, weights, **marks)
        return y.where(mask[..., None, None], 0).square().sum() + state.weights[0].sum()

    kept = torch.func.grad(loss, argnums=(0, 1, 2))(k, *weights)
    leaves = [x.clone().requires_grad_() for x in (k, *weights)]
    torch.testing.assert_close(torch.autograd.grad(loss(*leaves), leaves), kept)


def test_gates_at_their_ends_have_finite_gradients_of_the_rest(generator) -> None:
    (q, k, v, rate, _, _), weights = _inputs(generator, True)
    q = q.requires_grad_()
    y, _ = memory_update(q, k, v, rate, weights)  # momentum 0, forget 0
    (slope,) = torch.autograd.grad(y.sum(), q)
    assert slope.isfinite().all()


def test_wrong_input_is_named(generator) -> None:
    (q, k, v, rate, _, _), weights = _inputs(generator, False)
    with pytest.raises(InputError, match="weights have shapes"):
        memory_update(q, k, v, rate, (weights[0][..., :1],))
    with pytest.raises(InputError, match="chunk is 0"):
        memory_update(q, k, v, rate, weights, chunk=0)
    with pytest.raises(InputError, match="rate has shape"):
        memory_update(q, k, v, rate[..., :1], weights)
    half = [x.bfloat16() for x in (q, k, v, rate)]
    y, state = memory_update(*half, weights=tuple(w.bfloat16() for w in weights))
    assert (y.dtype, state.weights[0].dtype) == (torch.bfloat16, torch.float32)
