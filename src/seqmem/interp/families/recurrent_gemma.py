"""RecurrentGemma: RG-LRU blocks and local attention (Griffin, 2024, arXiv 2402.19427). The recurrence is

    h_i = a_i h_{i-1} + m_i g_i u_i,   alpha_ij = (prod_{k=j+1..i} a_k) m_j g_j

per channel, with u what leaves the convolution, g the input gate, m_j = sqrt(1 - a_j^2) and m = 1 at the first
position. transformers keeps its state on the modules, not in a cache.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache

from seqmem.interp.families.layer import Call, Layer, one_by_one
from seqmem.interp.families.transformer import attention_layer, read_llama
from seqmem.mixers._shared import diagonal_attention, read_diagonal
from seqmem.mixers.state import State
from seqmem.models.cache import NAME


class GriffinState(NamedTuple):
    """recurrent: (batch, channels), float32; conv: (batch, channels, kernel - 1)."""

    recurrent: Tensor
    conv: Tensor


def layers(model: Any) -> list[Layer]:
    """One :class:`Layer` per block: attention by heads, recurrence by channels."""
    return [_layer(i, block) for i, block in enumerate(model.model.layers)]


def _layer(index: int, block: Any) -> Layer:
    mixer = block.temporal_block
    if not _recurs(mixer):
        heads = mixer.num_attention_heads
        return attention_layer(index, block, mixer, block.mlp_block, mixer.o_proj, heads, read_llama)

    def started(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        return bool((kwargs["position_ids"][:, 0] != 0).any())

    return Layer(
        index,
        block,
        mixer,
        block.mlp_block,
        mixer.linear_out,
        mixer.lru_width,
        True,
        attention,
        read,
        started,
        lambda call: _copy(call.kwargs["mixer"]),
    )


def _recurs(mixer: Any) -> bool:
    return hasattr(mixer, "rg_lru")


def _copy(mixer: Any) -> GriffinState:
    return GriffinState(mixer.rg_lru.recurrent_states.clone(), mixer.conv1d_state.clone())


def _convolved(mixer: Any, x: Tensor) -> Tensor:
    return mixer.conv_1d(mixer.linear_x(x).mT)[..., : x.shape[1]].mT


def attention(call: Call, channels: slice) -> Tensor:
    """(batch, channels, time, time)."""
    mixer = call.kwargs["mixer"]
    unit = mixer.rg_lru
    u = _convolved(mixer, call.x)
    blocks = u.unflatten(-1, (unit.num_attention_heads, -1))  # (batch, time, heads, block)

    def gate(weight: Tensor, bias: Tensor) -> Tensor:
        return torch.sigmoid(torch.einsum("bthi,hio->btho", blocks, weight) + bias).flatten(-2)[..., channels]

    recurrence = gate(unit.recurrent_gate_weight, unit.recurrent_gate_bias)
    write = gate(unit.input_gate_weight, unit.input_gate_bias)
    log_keep = -8.0 * recurrence * F.softplus(unit.recurrent_param[channels])
    room = torch.sqrt(-torch.expm1(2 * log_keep))
    room = torch.cat([torch.ones_like(room[:, :1]), room[:, 1:]], 1)
    return diagonal_attention(log_keep, room * write, None)


def read(call: Call, attention: Tensor) -> Tensor:
    """linear_out(alpha u * gelu(linear_y(x)))."""
    mixer = call.kwargs["mixer"]
    hidden = read_diagonal(attention, _convolved(mixer, call.x))
    return mixer.linear_out(hidden * mixer.act_fn(mixer.linear_y(call.x)))


class Memory:
    """The states on the modules and the attention layers' cache; tokens after the first call are read one by one, as
    the convolution takes its state from the modules only then."""

    def __init__(self, model: Any, batch: int) -> None:
        self.model = model
        self.cache: Any = DynamicCache(config=model.config)
        self.mixers = [block.temporal_block for block in model.model.layers]
        self.read = 0
        for mixer in filter(_recurs, self.mixers):
            empty = mixer.linear_x.weight.new_zeros(batch, mixer.lru_width, mixer.conv1d_width - 1)
            mixer.conv1d_state = empty
            mixer.rg_lru.recurrent_states = empty.new_zeros(batch, mixer.lru_width, dtype=torch.float32)

    def feed(self, tokens: Tensor) -> Tensor:
        return one_by_one(self._call, tokens) if self.read else self._call(tokens)

    def _call(self, tokens: Tensor) -> Tensor:
        position = torch.arange(self.read, self.read + tokens.shape[1], device=tokens.device)[None]
        self.read += tokens.shape[1]
        return self.model(tokens, position_ids=position, **{NAME: self.cache}, use_cache=True).logits

    def get(self, layer: int) -> State:
        if _recurs(self.mixers[layer]):
            return _copy(self.mixers[layer])
        return self.cache.layers[layer].keys.clone(), self.cache.layers[layer].values.clone()

    def put(self, layer: int, state: Any) -> None:
        mixer = self.mixers[layer]
        one, other = (part.clone() for part in state)
        if _recurs(mixer):
            mixer.rg_lru.recurrent_states, mixer.conv1d_state = one, other
        else:
            self.cache.layers[layer].keys, self.cache.layers[layer].values = one, other
