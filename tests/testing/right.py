"""Layers that keep the contract, with states of several shapes."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

WIDTH = 4


class Leaky(nn.Module):
    """A gated running mean, one position after the other. Most wrong layers spoil one thing of it."""

    memory = "constant"

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def initial_state(self, batch_size: int) -> Any:
        return (self.gate.weight.new_zeros(batch_size, self.gate.in_features),)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is kept of the memory, and what is added to it."""
        keep = self.gate(x).sigmoid()
        return keep, (1 - keep) * self.value(x)

    def forward(
        self, x: Tensor, state: Any = None, *, mask: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        (h,) = self.initial_state(len(x)) if state is None else state
        keep, add = self.parts(x)
        hs = []
        for t in range(x.shape[1]):
            if reset is not None:
                h = torch.where(reset[:, t, None], 0.0, h)
            new = keep[:, t] * h + add[:, t]
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

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.decay.expand_as(x), (1 - self.decay**2).sqrt() * self.value(x)


RIGHT = [Leaky, BareTensor, Nested, LinearRead, KeyValue, Pointwise, Frozen]
