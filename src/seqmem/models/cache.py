"""What ``generate`` carries from one token to the next: the layers' states, in the clothes of a transformers cache."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import CausalLMOutputWithPast

from seqmem.errors import InputError
from seqmem.mixers.state import State, map_state, select, state_bytes

#: what transformers calls a model's memory, in calls and in outputs: "cache" since 5.24, "past_key_values" before
NAME = "cache" if "cache" in {field.name for field in fields(CausalLMOutputWithPast)} else "past_key_values"


def given_cache(past_key_values: Any, cache: Any) -> StateCache | None:
    """The one that was given under either name. InputError for two, or for another kind of cache."""
    if past_key_values is not None and cache is not None:
        raise InputError("cache and past_key_values are two names of one thing; give one of them")
    found = cache if past_key_values is None else past_key_values
    if found is not None and not isinstance(found, StateCache):
        name = "cache" if past_key_values is None else "past_key_values"
        raise InputError(f"{name} is a {type(found).__name__}, expected a seqmem.models.StateCache or None")
    return found


class StateCache:
    """The states of all layers and how many positions they have read.

    As every transformers cache, it is updated in place by the call that is given it. The states themselves are values
    that no layer changes, so :meth:`copy` costs nothing: copy a cache to continue one prefix in several ways.
    """

    is_compileable = False
    is_croppable = False  # a recurrent state cannot forget its last tokens
    is_linear = (False,)  # ``generate`` then leaves out what was read already

    def __init__(self, states: tuple[State, ...] | None = None, length: int = 0) -> None:
        self.states = states  # one per layer, or None: nothing read yet
        self.length = length  # positions read so far, padding included

    def update(self, states: tuple[State, ...], positions: int) -> None:
        """Replace the states by those after ``positions`` more."""
        self.states, self.length = states, self.length + positions

    def copy(self) -> StateCache:
        """A second cache that holds the same states."""
        return StateCache(self.states, self.length)

    def reset(self) -> None:
        """Forget everything."""
        self.states, self.length = None, 0

    @property
    def bytes(self) -> int:
        """What the states of the whole batch occupy."""
        return state_bytes(self.states)

    # The names below are those that transformers calls.

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Positions read so far, padding included: the column of the attention mask that comes next."""
        return self.length

    def get_max_length(self, layer_idx: int | None = None) -> int:
        """-1: there is no limit."""
        return -1

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Row ``i`` continues what was row ``beam_idx[i]``. beam_idx: (batch,)."""
        self.states = select(self.states, beam_idx.long())

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the batch rows ``indices``."""
        self.reorder_cache(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every batch row ``repeats`` times."""
        self.states = map_state(lambda x: torch.repeat_interleave(x, repeats, dim=0), self.states)

    def crop(self, tokens_to_remove: int) -> None:
        """Not possible: a recurrent state does not keep what it was before."""
        raise InputError(
            f"a StateCache cannot go back by {tokens_to_remove} tokens; keep a cache.copy() of the point to return to"
        )
