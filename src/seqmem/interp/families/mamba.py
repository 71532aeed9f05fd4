"""Mamba and Mamba-2 of transformers, and their implicit attention:

    alpha_ij = C_i (prod_{k=j+1..i} Abar_k) Bbar_j,   y = alpha u + D u

(The Hidden Attention of Mamba Models, 2024, arXiv 2403.01590), per channel for Mamba, per head for Mamba-2. u is what
leaves the convolution and its SiLU. transformers calls neither the convolution nor the projection of the time step as
modules, so everything here is computed from the mixer's input and weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache

from seqmem.interp.families.layer import Call, Layer, given_cache, one_by_one
from seqmem.mixers._shared import diagonal_attention, read_diagonal
from seqmem.mixers.state import State
from seqmem.models.cache import NAME

CACHE = "cache" if NAME == "cache" else "cache_params"
NO_MLP = "this family has no MLP: a block is a mixer alone"


class MambaState(NamedTuple):
    """recurrent: Mamba (batch, channels, state size), Mamba-2 (batch, heads, head, state size); conv: (batch, channels
    of the convolution, kernel), the latest inputs of the convolution."""

    recurrent: Tensor
    conv: Tensor


def mamba_layers(model: Any) -> list[Layer]:
    """One :class:`Layer` per block of a Mamba; every channel is a head."""
    return [
        _layer(i, block, block.mixer.intermediate_size, True, attention_1, read_1)
        for i, block in enumerate(model.backbone.layers)
    ]


def mamba2_layers(model: Any) -> list[Layer]:
    """One :class:`Layer` per block of a Mamba-2."""
    return [
        _layer(i, block, block.mixer.num_heads, False, attention_2, read_2)
        for i, block in enumerate(model.backbone.layers)
    ]


def _layer(index: int, block: Any, heads: int, per_channel: bool, attention: Any, read: Any) -> Layer:
    def started(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        cache = given_cache(kwargs)
        return cache is not None and cache.has_previous_state(index)

    def state(call: Call) -> State:
        return _copy(call.cache(index), index)

    mixer = block.mixer
    lacks = {"mlp.out": NO_MLP}
    return Layer(index, block, mixer, None, mixer.out_proj, heads, per_channel, attention, read, started, state, lacks)


def _copy(cache: Any, index: int) -> MambaState:
    return MambaState(cache.get_recurrent_state(index).clone(), cache.get_conv_state(index).clone())


def _convolve(mixer: Any, x: Tensor) -> Tensor:
    """The causal convolution and its activation on (batch, time, channels)."""
    conv = mixer.conv1d
    y = F.conv1d(x.mT, conv.weight, conv.bias, padding=mixer.conv_kernel_size - 1, groups=conv.groups)
    return mixer.act(y[..., : x.shape[1]].mT)


def _parts_1(mixer: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """u, gate, dt (batch, time, channels); B, C (batch, time, state size)."""
    u, gate = mixer.in_proj(x).chunk(2, -1)
    u = _convolve(mixer, u)
    sizes = [mixer.time_step_rank, mixer.ssm_state_size, mixer.ssm_state_size]
    low_rank, B, C = mixer.x_proj(u).split(sizes, -1)
    return u, F.silu(gate), F.softplus(mixer.dt_proj(low_rank)), B, C


def attention_1(call: Call, channels: slice) -> Tensor:
    """(batch, channels, time, time): the weight of u_j in the channel's output at i, all states summed."""
    mixer = call.kwargs["mixer"]
    _, _, dt, B, C = _parts_1(mixer, call.x)
    A, dt = -mixer.A_log.exp()[channels], dt[..., channels]
    total = dt.new_zeros(dt.shape[0], dt.shape[2], dt.shape[1], dt.shape[1])
    for n in range(mixer.ssm_state_size):
        total += C[:, None, :, n, None] * diagonal_attention(dt * A[:, n], dt * B[..., n, None], None)
    return total


def read_1(call: Call, attention: Tensor) -> Tensor:
    """out_proj((alpha u + D u) * silu(gate))."""
    mixer = call.kwargs["mixer"]
    u, gate, *_ = _parts_1(mixer, call.x)
    return mixer.out_proj((read_diagonal(attention, u) + mixer.D * u) * gate)


def _parts_2(mixer: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """u (batch, time, heads, head), gate (batch, time, channels), dt (batch, time, heads), B, C (batch, time, heads,
    state size)."""
    inner, groups = mixer.intermediate_size, mixer.n_groups * mixer.ssm_state_size
    gate, mixed, dt = mixer.in_proj(x).split([inner, mixer.conv_dim, mixer.num_heads], -1)
    u, B, C = _convolve(mixer, mixed).split([inner, groups, groups], -1)
    repeats = mixer.num_heads // mixer.n_groups
    B, C = (part.unflatten(-1, (mixer.n_groups, -1)).repeat_interleave(repeats, 2) for part in (B, C))
    dt = F.softplus(dt + mixer.dt_bias).clamp(*mixer.time_step_limit)
    return u.unflatten(-1, (mixer.num_heads, -1)), gate, dt, B, C


def attention_2(call: Call, channels: slice) -> Tensor:
    """(batch, heads, time, time)."""
    mixer = call.kwargs["mixer"]
    _, _, dt, B, C = _parts_2(mixer, call.x)
    scores = torch.einsum("bihn,bjhn->bhij", C[:, :, channels], B[:, :, channels])
    dt = dt[..., channels]
    return scores * diagonal_attention(-mixer.A_log.exp()[channels] * dt, dt, None)


def read_2(call: Call, attention: Tensor) -> Tensor:
    """out_proj(norm(alpha u + D u, gate))."""
    mixer = call.kwargs["mixer"]
    u, gate, *_ = _parts_2(mixer, call.x)
    y = torch.einsum("bhij,bjhp->bihp", attention, u) + mixer.D[:, None] * u
    return mixer.out_proj(mixer.norm(y.flatten(2), gate).to(call.x.dtype))


class Memory:
    """transformers' cache. After the first call tokens are read one by one: a longer call of Mamba would begin its
    recurrence at zero, whatever the cache holds."""

    def __init__(self, model: Any, batch: int) -> None:
        self.model = model
        self.cache: Any = DynamicCache(config=model.config)

    def feed(self, tokens: Tensor) -> Tensor:
        return one_by_one(self._call, tokens) if self.cache.has_previous_state(0) else self._call(tokens)

    def _call(self, tokens: Tensor) -> Tensor:
        return self.model(tokens, **{CACHE: self.cache}, use_cache=True).logits

    def get(self, layer: int) -> State:
        return _copy(self.cache, layer)

    def put(self, layer: int, state: MambaState) -> None:
        recurrent, conv = state
        self.cache.layers[layer].recurrent_states[0] = recurrent.clone()  # the steps write into it
        self.cache.layers[layer].conv_states[0] = conv.clone()
