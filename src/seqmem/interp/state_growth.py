"""Does a state settle, or does it grow with the text? Its statistics by position, head by head, what is left of the
first token (Stuffed Mamba, 2024, arXiv 2410.07145); :mod:`seqmem.interp.document` has the loss by position."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.interp.attention import evaluating
from seqmem.interp.families import layers_of, memory_of
from seqmem.interp.hooks import record
from seqmem.mixers.state import tensors


class StateGrowth(NamedTuple):
    """One layer's memory after so many positions; each (heads,), over rows and the entries of a head.

    mean, deviation, largest: of the entries, the last in size. norm: root of the mean over rows of the squared
    Frobenius norm. outliers: share of channels (of a matrix state: its last axis) whose root mean square is more than
    ``times`` the median channel's, one number per head; 0 where the entries have one channel.
    """

    layer: int
    position: int
    mean: Tensor
    deviation: Tensor
    norm: Tensor
    largest: Tensor
    outliers: Tensor


def state_growth(
    model: nn.Module,
    tokens: Tensor,
    positions: Iterable[int],
    *,
    layers: Iterable[int] | None = None,
    times: float = 3.0,
) -> list[StateGrowth]:
    """One :class:`StateGrowth` per layer and position, position by position.

    tokens: (batch, time). positions: after how many tokens the memory is looked at, each from 1 to time. The memory is
    what a layer's state calls memory, hidden or recurrent, else its largest tensor, (batch, heads, ...); a state
    (batch, channels) has a head per channel. For every family of :mod:`seqmem.interp`; softmax attention's keys grow by
    definition, (batch, heads, read, head).
    InputError for positions outside of the text.
    """
    when = sorted(set(positions))
    if tokens.ndim != 2 or not when or when[0] < 1 or when[-1] > tokens.shape[1]:
        raise InputError(
            f"positions are {when} of tokens of shape {tuple(tokens.shape)}, expected (batch, time) and some from 1 to "
            "time"
        )
    chosen = list(range(len(layers_of(model)))) if layers is None else list(layers)
    rows: list[StateGrowth] = []
    with torch.no_grad(), evaluating(model):
        memory, read = memory_of(model, tokens.shape[0]), 0
        for position in when:
            memory.feed(tokens[:, read:position])
            read = position
            rows += [_measured(layer, position, memory.get(layer), times) for layer in chosen]
    return rows


def _measured(layer: int, position: int, state: Any, times: float) -> StateGrowth:
    memory = _memory(state)
    if memory is None:
        raise InputError(f"layer {layer} keeps no numbers: its state has no tensor of floating point")
    x = memory.double().flatten(2) if memory.ndim > 2 else memory.double()[..., None]  # (batch, heads, entries)
    channels = memory.shape[-1] if memory.ndim > 3 else 1
    size = x.unflatten(-1, (-1, channels)).square().mean((0, 2)).sqrt()  # (heads, channels)
    outliers = (size > times * size.median(-1, keepdim=True).values).double().mean(-1)
    return StateGrowth(
        layer,
        position,
        x.mean((0, 2)).float(),
        x.std((0, 2), correction=0).float(),
        x.square().sum(-1).mean(0).sqrt().float(),
        x.abs().amax((0, 2)).float(),
        outliers.float(),
    )


def _memory(state: Any) -> Tensor | None:
    """The tensor by its name, or the largest."""
    named = state
    while hasattr(named, "_fields"):
        names = [name for name in ("memory", "hidden", "recurrent", "mixer") if name in named._fields]
        if not names:
            break
        named = getattr(named, names[0])
    if isinstance(named, Tensor):
        return named
    parts = [part for part in tensors(state) if part.is_floating_point()]
    return max(parts, key=lambda part: part[0].numel()) if parts else None


def retention(model: nn.Module, tokens: Tensor, *, layers: Iterable[int] | None = None) -> dict[int, Tensor]:
    """``{layer: (batch, heads, time)}``: a_1 a_2 ... a_t, what is left at position t of what the first token's memory
    held, for the Mamba-2 layers of a SequenceLM (of transformers' Mamba-2: after ``SequenceLM.from_hf``).

    InputError where a layer that was asked for is none; without ``layers``, where the model has none.
    """
    from seqmem.mixers.mamba2 import Mamba2

    found = {layer.index: layer.mixer for layer in layers_of(model)}
    if layers is None:
        chosen = [index for index, mixer in found.items() if isinstance(mixer, Mamba2)]
    else:
        chosen = list(layers)
    wrong = [index for index in chosen if not isinstance(found.get(index), Mamba2)]
    if wrong or not chosen:
        kinds = ", ".join(type(mixer).__name__ for mixer in found.values())
        raise InputError(
            f"retention is of Mamba-2 layers of a SequenceLM; asked for {wrong or 'all'}, there are {kinds}"
        )
    with torch.no_grad(), evaluating(model), record(model, [f"layers.{i}.mixer.in" for i in chosen]) as trace:
        model(tokens)
        results = {}
        for index in chosen:
            mixer: Any = found[index]
            dt = mixer._inputs(trace[f"layers.{index}.mixer.in"], None, None, None)[3]
            results[index] = mixer._log_decay(dt).double().cumsum(1).exp().to(dt.dtype).mT  # (batch, heads, time)
    return results
