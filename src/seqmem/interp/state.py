"""Patching a state write: what a layer remembers is replaced at one position, and the model reads on from there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.interp.attention import evaluating
from seqmem.interp.families import layers_of, memory_of
from seqmem.mixers.state import State, tensors


def patch_state(
    model: nn.Module, tokens: Tensor, layer: int, position: int, state: State | Callable[[State], State]
) -> Tensor:
    """The logits (batch, time, vocab) of ``tokens`` when layer ``layer`` holds ``state`` after reading ``position``.

    state: what :func:`state_at` returns for the same layer and batch, or a function from the state that is there to the
    one to go on with. Logits up to ``position`` are those of the plain run; all later ones may change. Patching a
    read-out, which leaves the memory alone, is :func:`seqmem.interp.intervene`. InputError for a position that is not
    in the text, and a state of another structure or shape.
    """
    _check(model, tokens, layer, position)
    with torch.no_grad(), evaluating(model):
        memory = memory_of(model, tokens.shape[0])
        logits = memory.feed(tokens[:, : position + 1])
        old = memory.get(layer)
        new = state(memory.get(layer)) if callable(state) else state
        shapes = _shapes(old)
        if _shapes(new) != shapes:
            raise InputError(
                f"the state for layer {layer} has tensors of shapes {_shapes(new)}, expected {shapes}; take it from "
                "state_at(model, tokens, layer, position) with as many rows"
            )
        memory.put(layer, new)
        if position + 1 == tokens.shape[1]:
            return logits
        return torch.cat([logits, memory.feed(tokens[:, position + 1 :])], 1)


def state_at(model: nn.Module, tokens: Tensor, layer: int, position: int) -> State:
    """What layer ``layer`` remembers after reading ``tokens[:, : position + 1]``: a plain value, (named) tuples of
    tensors, batch first; of softmax attention the keys and values."""
    _check(model, tokens, layer, position)
    with torch.no_grad(), evaluating(model):
        memory = memory_of(model, tokens.shape[0])
        memory.feed(tokens[:, : position + 1])
        return memory.get(layer)


def _shapes(state: Any) -> list[tuple[int, ...]]:
    try:
        return [tuple(x.shape) for x in tensors(state)]
    except TypeError as error:
        raise InputError(f"the state is not made of tensors and tuples: {error}") from None


def _check(model: nn.Module, tokens: Tensor, layer: int, position: int) -> None:
    if tokens.ndim != 2 or tokens.shape[1] < 1:
        raise InputError(f"tokens has shape {tuple(tokens.shape)}, expected (batch, time >= 1)")
    if not 0 <= position < tokens.shape[1]:
        raise InputError(f"position is {position}, expected 0 to {tokens.shape[1] - 1}")
    count = len(layers_of(model))
    if not 0 <= layer < count:
        raise InputError(f"layer is {layer}, expected 0 to {count - 1}")
