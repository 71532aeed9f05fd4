"""What the rest of the room needs to know of one layer of a model, whatever family the model is of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers.state import State


class Call(NamedTuple):
    """One call of a mixer, as a hook sees it."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any

    @property
    def x(self) -> Tensor:
        """The mixer's input, (batch, time, width)."""
        return self.args[0] if self.args else self.kwargs["hidden_states"]

    def cache(self, layer: int) -> Any:
        """transformers' cache. InputError, which names the layer, where the model was called without one."""
        found = given_cache(self.kwargs)
        if found is None:
            raise InputError(f"layers.{layer}.state: the model was called without a cache; call it with use_cache=True")
        return found


@dataclass(frozen=True)
class Layer:
    """One layer: the modules that its sites hang on, and its exact attention.

    heads: how many parts the input of the output projection ``out`` has; where ``per_channel``, each part is one
    channel of a recurrence. ``attention(call, channels)`` gives (batch, heads, time, time), ``channels`` choosing some
    heads (a slice) before anything large is made; ``read(call, attention)`` gives the mixer's output from all heads.
    ``started(args, kwargs)`` says whether a call continues from a memory. ``state(call)`` is what is left at its end.
    ``lacks``: for each site that is not there, why. ``embedding_norm``: a norm at the beginning of the first block,
    after which the residual stream begins.
    """

    index: int
    block: nn.Module
    mixer: nn.Module
    mlp: nn.Module | None
    out: nn.Module
    heads: int
    per_channel: bool
    attention: Callable[[Call, slice], Tensor] | None
    read: Callable[[Call, Tensor], Tensor] | None
    started: Callable[[tuple[Any, ...], dict[str, Any]], bool]
    state: Callable[[Call], State]
    lacks: Mapping[str, str] = field(default_factory=dict)
    embedding_norm: nn.Module | None = None


class Memory(Protocol):
    """All states of a model between two calls; used by :func:`seqmem.interp.patch_state`."""

    def feed(self, tokens: Tensor) -> Tensor:
        """Read (batch, time) tokens on; the logits (batch, time, vocab)."""
        ...

    def get(self, layer: int) -> State:
        """A copy of the state of a layer."""
        ...

    def put(self, layer: int, state: State) -> None:
        """Replace the state of a layer."""
        ...


def given_cache(kwargs: Mapping[str, Any]) -> Any:
    """transformers' cache among the arguments of a call, or None. It has one name since 5.24, and had several."""
    found = (kwargs.get(name) for name in ("cache", "past_key_values", "cache_params"))
    return next((cache for cache in found if cache is not None), None)


def first(output: Any) -> Tensor:
    """The tensor of a module's output: itself, or the first of several."""
    return output if isinstance(output, Tensor) else output[0]


def with_first(output: Any, value: Tensor) -> Any:
    """The same output with another tensor in its first place."""
    if isinstance(output, Tensor):
        return value
    rest = [value, *output[1:]]
    return type(output)(*rest) if hasattr(output, "_fields") else type(output)(rest)


def one_by_one(step: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
    """The logits of several tokens read in single steps, where a family's longer call would start from nothing."""
    return torch.cat([step(tokens[:, t : t + 1]) for t in range(tokens.shape[1])], 1)
