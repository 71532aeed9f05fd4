"""RWKV-4 of transformers: per channel a softmax over what was read, its weights falling with distance:

    alpha_ij = exp(k_j - (i - 1 - j) w) / Z_i  for j < i,   alpha_ii = exp(k_i + u) / Z_i,   w = exp(time_decay)

(RWKV: Reinventing RNNs for the Transformer Era, 2023, arXiv 2305.13048).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.interp.families.layer import Call, Layer
from seqmem.mixers._shared import read_diagonal
from seqmem.mixers.state import State


class RwkvState(NamedTuple):
    """Each (batch, channels). mlp_shift, shift: the inputs of the MLP and of the mixer one step ago. numerator,
    denominator: of the softmax, both divided by exp(largest)."""

    mlp_shift: Tensor
    shift: Tensor
    numerator: Tensor
    denominator: Tensor
    largest: Tensor


def layers(model: Any) -> list[Layer]:
    """One :class:`Layer` per block; every channel is a head."""
    return [_layer(i, block) for i, block in enumerate(model.rwkv.blocks)]


def _layer(index: int, block: Any) -> Layer:
    mixer = block.attention

    def started(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        state = kwargs.get("state")
        return state is not None and bool((state[4][:, :, index] > -1e29).any())

    def state(call: Call) -> State:
        raise InputError(
            f"layers.{index}.state: RWKV writes part of a layer's state in its MLP, after the mixer; "
            "use seqmem.interp.state_at(model, tokens, layer, position)"
        )

    lacks = {"state": "part of it is written by the MLP, after the mixer; use seqmem.interp.state_at"}
    size = mixer.attention_hidden_size
    norm = getattr(block, "pre_ln", None)  # of the first block
    return Layer(
        index, block, mixer, block.feed_forward, mixer.output, size, True, attention, read, started, state, lacks, norm
    )


def attention(call: Call, channels: slice) -> Tensor:
    """(batch, channels, time, time); rows sum to 1."""
    mixer = call.kwargs["mixer"]
    _, key, _, _ = mixer.extract_key_value(call.x)
    key = key[..., channels].mT  # (batch, channels, time)
    time = torch.arange(key.shape[-1], device=key.device)
    distance = (time[:, None] - time - 1).to(key.dtype)  # i - 1 - j
    score = key[..., None, :] - distance * mixer.time_decay[channels].exp()[:, None, None]
    own = torch.diag_embed(key + mixer.time_first[channels][:, None])
    score = torch.where(distance == -1, own, score)
    return score.masked_fill(distance < -1, -torch.inf).softmax(-1)


def read(call: Call, attention: Tensor) -> Tensor:
    """output(sigmoid(r) * alpha v)."""
    mixer = call.kwargs["mixer"]
    receptance, _, value, _ = mixer.extract_key_value(call.x)
    return mixer.output(receptance * read_diagonal(attention, value))


class Memory:
    """The list of five tensors that the model hands on, (batch, channels, layers) each."""

    def __init__(self, model: Any, batch: int) -> None:
        self.model = model
        self.state: list[Tensor] | None = None

    def feed(self, tokens: Tensor) -> Tensor:
        if self.state is not None and tokens.shape[1] == 1 and tokens.shape[0] > 1:
            # the single step of transformers 5 mixes the rows of a batch, so each row is read alone
            rows = [self._call(tokens[i : i + 1], [s[i : i + 1] for s in self.state]) for i in range(len(tokens))]
            self.state = [torch.cat(parts) for parts in zip(*(row[1] for row in rows), strict=True)]
            return torch.cat([row[0] for row in rows])
        logits, self.state = self._call(tokens, self.state)
        return logits

    def _call(self, tokens: Tensor, state: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        output = self.model(tokens, state=None if state is None else [s.clone() for s in state], use_cache=True)
        return output.logits, output.state

    def get(self, layer: int) -> State:
        assert self.state is not None  # feed() comes first
        return RwkvState(*(s[:, :, layer].clone() for s in self.state))

    def put(self, layer: int, state: RwkvState) -> None:
        assert self.state is not None
        for whole, part in zip(self.state, state, strict=True):
            whole[:, :, layer] = part
