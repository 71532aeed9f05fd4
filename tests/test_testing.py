"""The contract's own test: right layers of several shapes pass, and every wrong one fails at the point that is about its fault."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from seqmem.cli_check import run_check
from seqmem.errors import InputError
from seqmem.mixers.state import map_state
from seqmem.testing import POINTS, ContractError, PointResult, check_mixer

WIDTH = 4


# ---------------------------------------------------------------- right layers


class Leaky(nn.Module):
    """A gated running mean, one position after the other. The wrong layers below each spoil one thing of it."""

    memory = "constant"

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def initial_state(self, batch_size: int) -> Any:
        return (self.gate.weight.new_zeros(batch_size, self.gate.in_features),)

    def step(self, h: Tensor, x: Tensor) -> Tensor:
        keep = self.gate(x).sigmoid()
        return keep * h + (1 - keep) * self.value(x)

    def forward(
        self, x: Tensor, state: Any = None, *, mask: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        (h,) = self.initial_state(len(x)) if state is None else state
        hs = []
        for t in range(x.shape[1]):
            if reset is not None:
                h = torch.where(reset[:, t, None], 0.0, h)
            new = self.step(h, x[:, t])
            h = new if mask is None else torch.where(mask[:, t, None], new, h)
            hs.append(h)
        return self.out(torch.stack(hs, dim=1)), (h,)


class BareTensor(Leaky):
    """The state is one tensor."""

    def initial_state(self, batch_size: int) -> Any:
        return super().initial_state(batch_size)[0]

    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, (h,) = super().forward(x, (self.initial_state(len(x)) if state is None else state,), **flags)
        return y, h


class Nested(Leaky):
    """A dictionary of nested tuples with a count of positions, and dropout, which acts in training only."""

    initial_state = None  # type: ignore[assignment]

    def forward(
        self, x: Tensor, state: Any = None, *, mask: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        zeros = x.new_zeros(len(x), x.shape[-1])
        h, count = (
            (zeros, torch.zeros(len(x), dtype=torch.long)) if state is None else (state["cells"][0][0], state["count"])
        )
        y, (h,) = Leaky.forward(self, x, (h,), mask=mask, reset=reset)
        real = torch.ones(x.shape[:2], dtype=torch.bool) if mask is None else mask
        if reset is not None:
            positions = torch.arange(x.shape[1])
            begin = torch.where(reset, positions, -1).amax(dim=1, keepdim=True)
            count = torch.where(reset.any(1), 0, count)
            real = real & (positions >= begin)
        return nn.functional.dropout(y, 0.1, self.training), {"cells": ((h,),), "count": count + real.sum(1)}


class Sums(NamedTuple):
    memory: Tensor  # (batch, key, value)
    scale: Tensor  # (batch, key)


class LinearRead(nn.Module):
    """Linear attention in two forms with its matrix: recurrent, and in parallel over the whole sequence."""

    memory = "constant"
    forms = ("parallel", "recurrent")

    def __init__(self, width: int) -> None:
        super().__init__()
        self.key, self.query, self.value = (nn.Linear(width, width) for _ in range(3))

    def features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return nn.functional.elu(self.key(x)) + 1, nn.functional.elu(self.query(x)) + 1, self.value(x)

    def forward(
        self,
        x: Tensor,
        state: Sums | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, Sums]:
        batch, time, width = x.shape
        key, query, value = self.features(x)
        s = Sums(x.new_zeros(batch, width, width), x.new_zeros(batch, width)) if state is None else state
        if mask is not None:
            key = torch.where(mask[..., None], key, 0.0)
        if form == "recurrent":
            ys = []
            for t in range(time):
                if reset is not None:
                    s = Sums(*(torch.where(reset[:, t].view(-1, *[1] * (p.ndim - 1)), 0.0, p) for p in s))
                s = Sums(s.memory + key[:, t, :, None] * value[:, t, None], s.scale + key[:, t])
                read = torch.einsum("bk,bkv->bv", query[:, t], s.memory)
                ys.append(read / (torch.einsum("bk,bk->b", query[:, t], s.scale)[:, None] + 1e-3))
            return torch.stack(ys, dim=1), s
        document = torch.zeros(batch, time, dtype=torch.long) if reset is None else reset.long().cumsum(1)
        same = (document[:, :, None] == document[:, None]).tril()  # (batch, time, time)
        first = (document == 0)[..., None]
        last = (document == document[:, -1:])[..., None]
        weights = (query @ key.mT) * same
        over = weights @ value + torch.where(first, query @ s.memory, 0.0)
        under = weights.sum(-1) + torch.where(first, query @ s.scale[..., None], 0.0)[..., 0]
        carry = (document[:, -1] == 0).to(x.dtype)
        kept = torch.where(last, key, 0.0)
        final = Sums(carry[:, None, None] * s.memory + kept.mT @ value, carry[:, None] * s.scale + kept.sum(1))
        return over / (under[..., None] + 1e-3), final

    def attention(self, x: Tensor) -> Tensor:
        key, query, _ = self.features(x)
        weights = (query @ key.mT).tril()
        return (weights / (weights.sum(-1, keepdim=True) + 1e-3))[:, None]

    def read(self, x: Tensor, attention: Tensor) -> Tensor:
        return attention[:, 0] @ self.value(x)


class KeyValue(nn.Module):
    """Softmax attention over everything read so far; padded and forgotten slots stay in the state as invalid ones."""

    memory = "linear"

    def __init__(self, width: int) -> None:
        super().__init__()
        self.key, self.query, self.value = (nn.Linear(width, width) for _ in range(3))

    def weights(self, query: Tensor, key: Tensor, allowed: Tensor) -> Tensor:
        scores = (query @ key.mT).masked_fill(~allowed, -1e30)
        return torch.where(allowed, scores.softmax(-1), 0.0)

    def forward(
        self, x: Tensor, state: Any = None, *, mask: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        time = x.shape[1]
        real = torch.ones(x.shape[:2], dtype=torch.bool) if mask is None else mask
        document = torch.zeros(x.shape[:2], dtype=torch.long) if reset is None else reset.long().cumsum(1)
        key, value, source = self.key(x), self.value(x), document
        if state is not None:
            key, value = torch.cat([state[0], key], 1), torch.cat([state[1], value], 1)
            real = torch.cat([state[2], real], 1)
            source = torch.cat([torch.zeros_like(state[2], dtype=torch.long), document], 1)
        past = key.shape[1] - time
        causal = torch.ones(time, key.shape[1], dtype=torch.bool).tril(past)
        allowed = causal & real[:, None] & (document[..., None] == source[:, None])
        y = self.weights(self.query(x), key, allowed) @ value
        return y, (key, value, real & (source == document[:, -1:]))

    def attention(self, x: Tensor) -> Tensor:
        allowed = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        return self.weights(self.query(x), self.key(x), allowed)[:, None]


class Pointwise(nn.Module):
    """Remembers nothing, with a state that holds nothing."""

    memory = "constant"

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lift = nn.Linear(width, width)
        self.attention = nn.Identity()  # a part that is called so is no method

    def forward(self, x: Tensor, state: Any = None, *, mask: Any = None, reset: Any = None) -> tuple[Tensor, Any]:
        return self.lift(x).relu(), ()


class Backwards(Leaky):
    """Reads from the end, and says so."""

    causal = False

    def forward(
        self, x: Tensor, state: Any = None, *, mask: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        y, state = super().forward(x, state, mask=mask, reset=reset)
        if reset is not None or mask is not None:
            return y, state
        return y + x.mean(1, keepdim=True), state


class Frozen(Leaky):
    """The decay's domain ends where noise on the weights would carry it: sqrt(1 - a^2)."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.decay = nn.Parameter(torch.full((width,), 0.9999))

    def step(self, h: Tensor, x: Tensor) -> Tensor:
        return self.decay * h + (1 - self.decay**2).sqrt() * self.value(x)


RIGHT = [Leaky, BareTensor, Nested, LinearRead, KeyValue, Pointwise, Frozen]


def failing(layer: Callable[[int], nn.Module], points: Collection[int] = range(1, 9)) -> dict[int, str]:
    """The points that fail with what they say."""
    return {r.point: r.message for r in check_mixer(layer, WIDTH, points=points, raise_on_failure=False) if not r.ok}


@pytest.mark.parametrize("layer", RIGHT, ids=lambda layer: layer.__name__)
def test_right_layers_pass(layer: type[nn.Module]) -> None:
    results = check_mixer(layer, WIDTH)
    assert [r.point for r in results] == list(range(1, 9))
    for r in results:
        assert r.ok
        assert r.measured is None or r.bound is None or r.measured <= r.bound


def test_points_that_do_not_apply_say_so() -> None:
    by_point = {r.point: r for r in check_mixer(Leaky, WIDTH, points=[8])}
    assert not by_point[8].applicable
    assert "no attention(x)" in by_point[8].message
    backwards = {r.point: r for r in check_mixer(Backwards, WIDTH, points=[1, 2])}
    for point in (1, 2):
        assert backwards[point].verdict == "n/a"
        assert "causal = False" in backwards[point].message
    assert "y was not compared" in {r.point: r.message for r in check_mixer(KeyValue, WIDTH, points=[8])}[8]


def test_same_seed_same_figures_and_no_trace_in_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    first = check_mixer(LinearRead, WIDTH, seed=3, points=[1, 3, 5, 7])
    assert check_mixer(LinearRead, WIDTH, seed=3, points=[1, 3, 5, 7]) == first
    assert torch.equal(torch.random.get_rng_state(), before)


# ---------------------------------------------------------------- wrong layers: (point, what the message must name)

WRONG: list[tuple[type[nn.Module], int, str]] = []


def wrong(point: int, says: str) -> Callable[[type[nn.Module]], type[nn.Module]]:
    def add(layer: type[nn.Module]) -> type[nn.Module]:
        WRONG.append((layer, point, says))
        return layer

    return add


@wrong(2, "the layer looks ahead")
class PeeksOne(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, state = super().forward(x, state, **flags)
        return y + 0.01 * torch.cat([x[:, 1:], x[:, -1:]], 1), state


@wrong(2, "position 0 changed when position")
class CentresOverTime(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        return super().forward(x - x.mean(1, keepdim=True), state, **flags)


@wrong(2, "in form 'parallel'")
class PeeksInOneForm(LinearRead):
    def forward(self, x: Tensor, state: Any = None, *, form: str = "auto", **flags: Any) -> tuple[Tensor, Any]:
        y, state = super().forward(x, state, form=form, **flags)
        return (y + 0.1 * x.flip(1) if form == "parallel" else y), state


@wrong(3, "training mode")
class BatchNormalised(Leaky):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        return super().forward(self.norm(x.mT).mT, state, **flags)


@wrong(3, "mixes the rows")
class RowsAttend(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        return super().forward(x + 0.1 * x.mean(0, keepdim=True), state, **flags)


@wrong(3, "the batch size matters")
class DividesByBatch(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        return super().forward(x / len(x), state, **flags)


@wrong(3, "expected the batch first")
class TimeFirstState(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, (h,) = super().forward(x, None if state is None else (state[0][0],), **flags)
        return y, (h[None],)

    def initial_state(self, batch_size: int) -> Any:
        return super().initial_state(batch_size)


@wrong(1, "it is lost")
class ReturnsZeros(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, state = super().forward(x, state, **flags)
        return y, map_state(torch.zeros_like, state)


@wrong(1, "differs")
class ReturnsWhatItWasGiven(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        state = self.initial_state(len(x)) if state is None else state
        return super().forward(x, state, **flags)[0], state


@wrong(1, "it is ignored")
class IgnoresItsState(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        return super().forward(x, None, **flags)


@wrong(1, "it is not the empty memory")
class StartsElsewhere(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        return super().forward(
            x, map_state(lambda h: h + 1, self.initial_state(len(x))) if state is None else state, **flags
        )


@wrong(1, "how the sequence is cut")
class CountsFromTheCut(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        return super().forward(x + torch.arange(x.shape[1])[:, None] * 0.01, state, **flags)


@wrong(1, "how the sequence is cut")
class ForgetsAtChunks(Leaky):
    """Empties its memory every 64 positions of a call."""

    def forward(
        self, x: Tensor, state: Any = None, *, reset: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        ends = (torch.arange(x.shape[1]) % 64 == 63).expand(x.shape[:2])
        return super().forward(x, state, mask=mask, reset=ends if reset is None else ends | reset)


@wrong(1, "the forms are not equal")
class FormsDisagree(LinearRead):
    def forward(self, x: Tensor, state: Any = None, *, form: str = "auto", **flags: Any) -> tuple[Tensor, Any]:
        y, state = super().forward(x, state, form=form, **flags)
        return (1.001 * y if form == "recurrent" else y), state


@wrong(1, "equal to float32 precision only")
@wrong(6, "below float32 precision")
class SumsInSingle(Leaky):
    """A running sum in float32, whatever the dtype of x."""

    def forward(self, x: Tensor, state: Any = None, *, mask: Any = None, reset: Any = None) -> tuple[Tensor, Any]:
        start = self.initial_state(len(x))[0] if state is None else state[0]
        h = (x.float() / 7).cumsum(1) + start[:, None].float()
        return self.out(h.to(x.dtype)), (h[:, -1],)


@wrong(3, "outside the state")
class HidesItsState(Leaky):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.hidden: Any = None

    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, self.hidden = super().forward(
            x, map_state(Tensor.detach, self.hidden) if self.hidden and len(self.hidden[0]) == len(x) else None, **flags
        )
        return y, ()


@wrong(3, "outside the state")
class HidesBehindAToken(Leaky):
    """Starts anew without a state, but with any state goes on from where the layer itself was last."""

    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, self.last = super().forward(x, None if state is None else self.last, **flags)
        return y, map_state(torch.zeros_like, self.last)


@wrong(3, "buffer 'seen' changed")
class KeepsABuffer(Leaky):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        self.seen = self.seen + x.detach().sum()
        return super().forward(x, state, **flags)


@wrong(3, "random numbers in eval mode")
class RollsDice(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, state = super().forward(x, state, **flags)
        return y + 0.1 * torch.randn_like(y), state


@wrong(6, "final state; it is detached before it is returned")
class DetachesFinal(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, state = super().forward(x, state, **flags)
        return y, map_state(Tensor.detach, state)


@wrong(6, "initial state; it is detached when it is read")
class DetachesInitial(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        return super().forward(x, map_state(Tensor.detach, state), **flags)


@wrong(5, "changed the state it was given in place")
class WritesIntoItsState(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, (h,) = super().forward(x, state, **flags)
        if state is not None and not torch.is_grad_enabled():
            state[0].copy_(h)
        return y, (h,)


@wrong(5, "changed its input x in place")
class WritesIntoItsInput(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        if not torch.is_grad_enabled():
            x.mul_(0.5)
        return super().forward(x, state, **flags)


@wrong(4, "the mask is ignored")
class IgnoresTheMask(Leaky):
    def forward(self, x: Tensor, state: Any = None, *, mask: Any = None, reset: Any = None) -> tuple[Tensor, Any]:
        return super().forward(x, state, reset=reset)


@wrong(4, "written to the memory or read")
class MasksOnlyItsAnswer(Leaky):
    def forward(self, x: Tensor, state: Any = None, *, mask: Any = None, reset: Any = None) -> tuple[Tensor, Any]:
        y, state = super().forward(x, state, reset=reset)
        return (y if mask is None else y * mask[..., None]), state


@wrong(4, "it takes up time")
class DecaysInPadding(Leaky):
    """Padding is read as zeros: nothing leaks, and yet the memory fades."""

    def forward(self, x: Tensor, state: Any = None, *, mask: Any = None, reset: Any = None) -> tuple[Tensor, Any]:
        return super().forward(x if mask is None else x * mask[..., None], state, reset=reset)


@wrong(4, "y is not finite with padding")
class DividesByReal(KeyValue):
    def weights(self, query: Tensor, key: Tensor, allowed: Tensor) -> Tensor:
        return (query @ key.mT).masked_fill(~allowed, -torch.inf).softmax(-1)


@wrong(4, "resets are ignored")
class IgnoresResets(Leaky):
    def forward(self, x: Tensor, state: Any = None, *, mask: Any = None, reset: Any = None) -> tuple[Tensor, Any]:
        return super().forward(x, state, mask=mask)


@wrong(4, "a reset does not leave the memory empty")
class ResetsByHalf(Leaky):
    def forward(self, x: Tensor, state: Any = None, *, mask: Any = None, reset: Any = None) -> tuple[Tensor, Any]:
        (h,) = self.initial_state(len(x)) if state is None else state
        ys = []
        for t in range(x.shape[1]):
            if reset is not None:
                h = torch.where(reset[:, t, None], 0.5 * h, h)
            one = None if mask is None else mask[:, t : t + 1]
            y, (h,) = super().forward(x[:, t : t + 1], (h,), mask=one)
            ys.append(y)
        return torch.cat(ys, 1), (h,)


@wrong(4, "forward() does not accept mask; forward() does not accept reset")
class TakesNoFlags(Leaky):
    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:  # type: ignore[override]
        return super().forward(x, state)


@wrong(5, "declared constant, but")
class SaysConstant(KeyValue):
    memory = "constant"


@wrong(5, 'say memory = "constant"')
class SaysLinear(Leaky):
    memory = "linear"


@wrong(5, 'expected memory = "constant" or "linear"')
class SaysNothing(Leaky):
    memory = None  # type: ignore[assignment]


@wrong(5, "grows with every call")
class GrowsPerCall(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, (h,) = super().forward(x, None if state is None else state[:1], **flags)
        return y, (h, torch.ones(len(x), 1 if state is None else state[1].shape[1] + 1))


class _HalfGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1.0

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return 0.99 * gradients[0]


@wrong(6, "weight 'value.weight'")
class WrongBackwardOfAWeight(Leaky):
    def step(self, h: Tensor, x: Tensor) -> Tensor:
        keep = self.gate(x).sigmoid()
        return keep * h + (1 - keep) * nn.functional.linear(x, _HalfGradient.apply(self.value.weight), self.value.bias)


@wrong(6, "the backward pass is wrong")
class WrongBackwardOfX(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        return super().forward(_HalfGradient.apply(x), state, **flags)


@wrong(6, "x through the state")
class WrongBackwardOfTheState(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, state = super().forward(x, state, **flags)
        return y, map_state(_HalfGradient.apply, state)


@wrong(6, "y is not finite from position")
class Overflows(Leaky):
    def step(self, h: Tensor, x: Tensor) -> Tensor:
        return 1.05 * h + self.value(x)


@wrong(6, "the recurrence is unstable")
class Explodes(Leaky):
    def step(self, h: Tensor, x: Tensor) -> Tensor:
        return 1.01 * h + self.value(x)


@wrong(6, "is not finite over 4096 positions")
class GradientOverflows(Leaky):
    """A cumulative product kept in float32: y stays finite, and its gradient does not."""

    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, state = super().forward(x, state, **flags)
        if x.shape[1] == 4096:
            y = y + (x[:, :1] * 0).abs().sqrt()
        return y, state


@wrong(7, "'rotation' is not in state_dict()")
class HidesAWeight(Leaky):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.rotation = torch.randn(width, width) / width

    def step(self, h: Tensor, x: Tensor) -> Tensor:
        return super().step(h, x @ self.rotation.to(x.dtype))


@wrong(7, "'scale' asks for gradients")
class TrainsAPlainTensor(Leaky):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.scale = torch.ones(width, requires_grad=True)

    def step(self, h: Tensor, x: Tensor) -> Tensor:
        return super().step(h, x * self.scale)


@wrong(7, "'parts[0].weight' asks for gradients")
class KeepsModulesInAList(Leaky):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.parts = [nn.Linear(width, width)]

    def step(self, h: Tensor, x: Tensor) -> Tensor:
        return super().step(h, self.parts[0].to(x.dtype)(x))


@wrong(7, "not in state_dict()")
class DrawsInPython(Leaky):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.shift = float(torch.rand(()))

    def step(self, h: Tensor, x: Tensor) -> Tensor:
        return super().step(h, x + self.shift)


@wrong(7, "under bfloat16 autocast")
class CannotMixPrecision(Leaky):
    def step(self, h: Tensor, x: Tensor) -> Tensor:
        return torch.lerp(h, self.value(x), 0.5)


@wrong(8, "not the matrix behind y")
class WrongMatrix(LinearRead):
    def attention(self, x: Tensor) -> Tensor:
        return super().attention(x).square()


@wrong(8, "lets position 0 read position 1")
class MatrixLooksAhead(KeyValue):
    def attention(self, x: Tensor) -> Tensor:
        return self.weights(self.query(x), self.key(x), torch.ones(x.shape[1], x.shape[1], dtype=torch.bool))[:, None]


@wrong(8, "expected (2, heads, 21, 21)")
class MatrixOfOneRow(KeyValue):
    def attention(self, x: Tensor) -> Tensor:
        return super().attention(x)[:, 0]


@wrong(8, "whatever matrix")
class ReadsWithoutTheMatrix(LinearRead):
    def read(self, x: Tensor, attention: Tensor) -> Tensor:
        return self(x)[0]


@wrong(1, "expected the pair (y, state)")
class ReturnsOnlyY(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> Any:
        return super().forward(x, state, **flags)[0]


@wrong(1, "expected a tensor of the shape of x")
class ReturnsLess(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, state = super().forward(x, state, **flags)
        return y[:, -1], state


@wrong(1, "a state is made of tensors and tuples, found int")
class StateWithANumber(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, (h,) = super().forward(x, None if state is None else state[:1], **flags)
        return y, (h, 1)


@wrong(1, "raised RuntimeError: cannot read a single position")
class NeedsTwo(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        if x.shape[1] < 2:
            raise RuntimeError("cannot read\na single position")
        return super().forward(x, state, **flags)


@wrong(1, "new tensors should take the dtype of x")
class FixedDtype(Leaky):
    def initial_state(self, batch_size: int) -> Any:
        return (torch.zeros(batch_size, WIDTH),)

    def step(self, h: Tensor, x: Tensor) -> Tensor:
        return self.value(h) + x


@pytest.mark.parametrize(("layer", "point", "says"), WRONG, ids=[layer.__name__ for layer, _, _ in WRONG])
def test_wrong_layers_fail_at_their_point(layer: type[nn.Module], point: int, says: str) -> None:
    found = failing(layer, {point})
    assert point in found, "holds, though wrong"
    assert says in found[point]
    assert "\n" not in found[point]


# Faults that touch one thing only must not be blamed on another point.
ONLY = [BatchNormalised, KeepsABuffer, DetachesFinal, DetachesInitial, IgnoresTheMask, DecaysInPadding, DividesByReal, IgnoresResets,
        TakesNoFlags, SaysConstant, SaysLinear, SaysNothing, WrongBackwardOfAWeight, WrongBackwardOfX, WrongBackwardOfTheState, GradientOverflows,
        HidesAWeight, DrawsInPython, WrongMatrix, MatrixLooksAhead, MatrixOfOneRow, ReadsWithoutTheMatrix]  # fmt: skip


@pytest.mark.parametrize("layer", ONLY, ids=lambda layer: layer.__name__)
def test_a_single_fault_fails_a_single_point(layer: type[nn.Module]) -> None:
    point = next(point for wrong_layer, point, _ in WRONG if wrong_layer is layer)
    found = failing(layer, {point, *range(1, 9)} - ({6} - {point}))  # point 6 is the slow one
    assert list(found) == [point], found


# ---------------------------------------------------------------- the calls around it


def test_contract_error_lists_every_failing_point() -> None:
    with pytest.raises(ContractError, match="TakesNoFlags breaks the mixer contract in 1 of 8 points") as caught:
        check_mixer(TakesNoFlags, WIDTH)
    assert "4 padding and resets: forward() does not accept mask" in str(caught.value)
    assert len(caught.value.results) == len(POINTS) == 8
    assert isinstance(caught.value, AssertionError)


def _raises(width: int) -> nn.Module:
    raise ValueError("needs two\narguments")


@pytest.mark.parametrize(
    ("target", "width", "says"),
    [
        (_raises, 4, "raised ValueError: needs two arguments"),
        (lambda width: width, 4, "gave int, expected a torch.nn.Module"),
        (Leaky(4), 4, "expected a class or a function of the width"),
        (Leaky, True, "width is True, expected a whole number"),
        (Leaky, 0, "width is 0, expected a whole number"),
        ("mambo", 4, "unknown mixer 'mambo'"),
        ("no.such.module:Layer", 4, "cannot import 'no.such.module'"),
        ("json:JSONDecoder", 4, "expected a class derived from torch.nn.Module"),
    ],
)
def test_what_cannot_be_built_is_an_input_error(target: Any, width: int, says: str) -> None:
    with pytest.raises(InputError) as caught:
        check_mixer(target, width)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_command_prints_a_line_per_point_and_returns_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_check(f"{__name__}:LinearRead", width=WIDTH) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{__name__}:LinearRead, width {WIDTH}, constant memory, forms: parallel, recurrent"
    assert [line.split()[0] for line in lines[1:9]] == list("12345678")
    assert {line[22:26].strip() for line in lines[1:9]} == {"ok"}
    assert lines[9:] == ["all 8 points hold"]
    assert "\x1b" not in "".join(lines)


def test_command_explains_and_returns_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_check(f"{__name__}:ReturnsOnlyY", width=WIDTH) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("forward() returned one Tensor, expected the pair (y, state)")
    assert lines[2].endswith("FAIL  as in point 1")
    assert lines[-1].startswith("7 of 8 points fail: 1 split invariance, 2 causality")


def test_command_writes_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_check(f"{__name__}:Overflows", width=WIDTH, json=True) == 1

    def no_constants(name: str) -> None:
        raise ValueError(name)

    report = json.loads(capsys.readouterr().out, parse_constant=no_constants)
    assert report["mixer"] == f"{__name__}:Overflows"
    assert report["width"] == WIDTH
    assert report["ok"] is False
    assert [p["point"] for p in report["points"] if not p["ok"]] == [6]
    assert set(report["points"][0]) >= {"point", "name", "ok", "measured", "bound", "message"}
    assert report["points"][0]["measured"] <= report["points"][0]["bound"]


def test_command_returns_2_with_one_line() -> None:
    console = Console(record=True, file=io.StringIO(), width=60)
    assert run_check("tests.nowhere:Layer", console=console) == 2
    assert len(console.export_text().splitlines()) == 1
    assert run_check(f"{__name__}:_raises", console=console) == 2


def test_result_reads_as_a_line() -> None:
    assert (
        str(PointResult(2, "causality", False, 0.3, 1e-9, "the layer looks ahead"))
        == "2 causality           FAIL  the layer looks ahead"
    )
