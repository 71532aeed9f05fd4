"""GPT-2 and Llama: softmax attention, whose weights transformers returns when it runs in eager mode."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from seqmem.errors import InputError
from seqmem.interp.families.layer import Call, Layer
from seqmem.mixers.state import State
from seqmem.models.cache import NAME


def gpt2_layers(model: Any) -> list[Layer]:
    """One :class:`Layer` per block of a GPT-2."""
    return [
        attention_layer(i, block, block.attn, block.mlp, block.attn.c_proj, block.attn.num_heads, read_gpt2)
        for i, block in enumerate(model.transformer.h)
    ]


def llama_layers(model: Any) -> list[Layer]:
    """One :class:`Layer` per block of a Llama, grouped-query or not."""
    mixers = [block.self_attn for block in model.model.layers]
    counts = [mixer.o_proj.in_features // mixer.head_dim for mixer in mixers]  # remove_heads changes them one by one
    return [
        attention_layer(i, block, block.self_attn, block.mlp, block.self_attn.o_proj, counts[i], read_llama)
        for i, block in enumerate(model.model.layers)
    ]


def attention_layer(index: int, block: Any, mixer: Any, mlp: Any, out: Any, heads: int, read: Any) -> Layer:
    """A layer of softmax attention; its state is the (keys, values) of the cache."""

    def state(call: Call) -> State:
        kept = call.cache(index).layers[index]
        return kept.keys.clone(), kept.values.clone()

    return Layer(index, block, mixer, mlp, out, heads, False, weights, read, lambda *_: False, state)


def weights(call: Call, channels: slice) -> Tensor:
    """The softmax weights that the module returned, (batch, heads, time, time)."""
    found = call.output[1]
    if found is None:
        raise InputError("the model did not return its attention weights; is its attention implementation 'eager'?")
    if found.shape[-1] != found.shape[-2]:
        raise InputError(
            f"attention covers {found.shape[-1]} positions of which {found.shape[-2]} are new; "
            "give the whole text in one call, without a cache that has read something"
        )
    return found[:, channels]


def read_gpt2(call: Call, attention: Tensor) -> Tensor:
    """c_proj(A V), (batch, time, width)."""
    mixer = call.kwargs["mixer"]
    value = mixer.c_attn(call.x)[..., -mixer.split_size :].unflatten(-1, (mixer.num_heads, -1)).transpose(1, 2)
    return mixer.resid_dropout(mixer.c_proj((attention @ value).transpose(1, 2).flatten(2)))


def read_llama(call: Call, attention: Tensor) -> Tensor:
    """o_proj(A V), every value head being read by the query heads of its group."""
    mixer = call.kwargs["mixer"]
    value = mixer.v_proj(call.x).unflatten(-1, (-1, mixer.head_dim)).transpose(1, 2)
    value = value.repeat_interleave(attention.shape[1] // value.shape[1], 1)  # (batch, heads, time, head)
    return mixer.o_proj((attention @ value).transpose(1, 2).flatten(2))


class Memory:
    """A DynamicCache of keys and values."""

    def __init__(self, model: Any, batch: int) -> None:
        self.model = model
        self.cache: Any = DynamicCache(config=model.config)

    def feed(self, tokens: Tensor) -> Tensor:
        return self.model(tokens, **{NAME: self.cache}, use_cache=True).logits

    def get(self, layer: int) -> State:
        return self.cache.layers[layer].keys.clone(), self.cache.layers[layer].values.clone()

    def put(self, layer: int, state: tuple[Tensor, Tensor]) -> None:
        self.cache.layers[layer].keys, self.cache.layers[layer].values = (torch.clone(part) for part in state)
