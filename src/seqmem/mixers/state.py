"""What can be done with any state: a plain value, namely a tensor, or (named) tuples of tensors, nested at will."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

State = Any  # a tensor, None, or a (named) tuple of states


def tensors(state: State) -> Iterator[Tensor]:
    """Every tensor in a state, in order."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict):
        for part in state.values():
            yield from tensors(part)
    elif isinstance(state, (tuple, list)):
        for part in state:
            yield from tensors(part)
    elif state is not None:
        raise TypeError(f"a state is made of tensors and tuples, found {type(state).__name__}")


def map_state(function: Callable[[Tensor], Tensor], state: State) -> State:
    """The same structure with ``function`` applied to every tensor."""
    if state is None:
        return None
    if isinstance(state, Tensor):
        return function(state)
    if isinstance(state, dict):
        return {key: map_state(function, part) for key, part in state.items()}
    parts = [map_state(function, part) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)


def detach(state: State) -> State:
    """The state without its history: one call makes back-propagation through time a truncated one."""
    return map_state(Tensor.detach, state)


def select(state: State, rows: Tensor) -> State:
    """The batch rows ``rows`` (int64) of a state: beam search and reordering."""
    return map_state(lambda x: x.index_select(0, rows.to(x.device)), state)


def state_bytes(state: State) -> int:
    """Bytes that all tensors of a state hold."""
    return sum(x.numel() * x.element_size() for x in tensors(state))
