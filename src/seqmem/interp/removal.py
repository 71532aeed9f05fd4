"""Removing heads for good: their rows and columns are cut out of the projections, so that the model is smaller and
faster (Are Sixteen Heads Really Better than One?, 2019, arXiv 1905.10650)."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.interp.families import Layer, layers_of

OURS = ("Attention", "LocalAttention")


def remove_heads(model: Any, heads: Mapping[int, Iterable[int]]) -> Any:
    """A copy of the model without these heads; the model given is left as it is.

    heads: ``{layer: heads}``, as for :func:`seqmem.interp.ablate_heads`, and as :func:`seqmem.interp.without_least`
    gives them. The copy computes what the model computes with those heads ablated to zero, with fewer parameters and a
    smaller cache. For GPT-2, Llama, and the layers ``attention`` and ``local_attention`` of a SequenceLM. Where query
    heads share keys and values only whole groups can go.

    ``save_pretrained`` writes what ``from_pretrained`` reads again where the config can say it: always for a
    SequenceLM; for Llama when every layer keeps the same number of heads and that divides the width; never for GPT-2.
    Elsewhere it raises InputError; then keep the original and ``heads``, and remove them again after loading.

    InputError for a layer of another kind, a head that is not there, part of a group, and for a layer that would keep
    no head.
    """
    known = layers_of(model)
    kept: dict[int, Tensor] = {}
    for layer, which in heads.items():
        if not 0 <= layer < len(known):
            raise InputError(f"layer is {layer}, expected 0 to {len(known) - 1}")
        if gone := sorted(set(which)):
            kept[layer] = _kept(known[layer], gone)
    smaller = copy.deepcopy(model)
    found = layers_of(smaller)
    with torch.no_grad():
        for layer, stay in kept.items():
            _CUT[_kind(found[layer])](found[layer].mixer, stay)
    if kept and (reason := _describe(smaller, kept)):
        smaller.save_pretrained = partial(_refuse, reason)
    return smaller


def _kind(layer: Layer) -> str:
    kind = type(layer.mixer).__name__
    kind = "ours" if kind in OURS else kind
    if kind not in _CUT:
        raise InputError(
            f"layer {layer.index} is a {kind}, whose heads cannot be removed; those of GPT-2, Llama and seqmem's own "
            "softmax attention can, and ablate_heads silences those of any layer"
        )
    return kind


def _kept(layer: Layer, gone: list[int]) -> Tensor:
    """The query heads that stay, in order."""
    _kind(layer)
    if wrong := [head for head in gone if not 0 <= head < layer.heads]:
        raise InputError(f"layer {layer.index} has heads 0 to {layer.heads - 1}, head {wrong[0]} was to be removed")
    group = _group(layer.mixer)
    for first in range(0, layer.heads, group):
        part = [head for head in gone if first <= head < first + group]
        if part and len(part) < group:
            raise InputError(
                f"layer {layer.index}: heads {first} to {first + group - 1} share keys and values and can only be "
                f"removed together; of them {part} were given"
            )
    if len(gone) == layer.heads:
        raise InputError(f"layer {layer.index} would keep no head; leave one, or silence them with ablate_heads")
    return torch.tensor([head for head in range(layer.heads) if head not in gone])


def _group(mixer: Any) -> int:
    """Query heads to a pair of keys and values."""
    if type(mixer).__name__ in OURS:
        return mixer.heads // mixer.kv_heads
    return getattr(mixer, "num_key_value_groups", 1)


def _places(heads: Tensor, size: int) -> Tensor:
    """The channels of these heads."""
    return (heads[:, None] * size + torch.arange(size)).flatten()


def _slice(module: Any, places: Tensor, axis: int, biased: bool) -> None:
    """Only these places of the weight's axis, and of the bias where it lies along that axis."""
    weight = module.weight
    module.weight = nn.Parameter(weight.index_select(axis, places.to(weight.device)), weight.requires_grad)
    if biased and module.bias is not None:
        bias = module.bias
        module.bias = nn.Parameter(bias.index_select(0, places.to(bias.device)), bias.requires_grad)


def _cut_gpt2(mixer: Any, stay: Tensor) -> None:
    own = _places(stay, mixer.head_dim)
    _slice(mixer.c_attn, torch.cat([own + part * mixer.split_size for part in range(3)]), 1, True)  # (in, out)
    _slice(mixer.c_proj, own, 0, False)
    mixer.num_heads, mixer.split_size = len(stay), len(own)
    mixer.c_attn.nf = 3 * len(own)
    mixer.c_proj.nx = len(own)


def _cut_llama(mixer: Any, stay: Tensor) -> None:
    group, size = mixer.num_key_value_groups, mixer.head_dim
    own, pairs = _places(stay, size), _places(stay[::group] // group, size)
    for linear, places in ((mixer.q_proj, own), (mixer.k_proj, pairs), (mixer.v_proj, pairs)):
        _slice(linear, places, 0, True)
        linear.out_features = len(places)
    _slice(mixer.o_proj, own, 1, False)
    mixer.o_proj.in_features = len(own)


def _cut_ours(mixer: Any, stay: Tensor) -> None:
    group, size = mixer.heads // mixer.kv_heads, mixer.head
    pairs = stay[::group] // group
    keys, values = mixer.heads + pairs, mixer.heads + mixer.kv_heads + pairs  # in the order of qkv
    own = _places(stay, size)
    _slice(mixer.qkv, _places(torch.cat([stay, keys, values]), size), 0, True)
    if mixer.gate is not None:
        _slice(mixer.gate, own, 0, True)
        mixer.gate.out_features = len(own)
    _slice(mixer.out, own, 1, False)
    mixer.heads, mixer.kv_heads = len(stay), len(pairs)
    mixer.qkv.out_features, mixer.out.in_features = mixer.qkv.weight.shape[0], len(own)


_CUT = {"GPT2Attention": _cut_gpt2, "LlamaAttention": _cut_llama, "ours": _cut_ours}


def _describe(model: Any, changed: Iterable[int]) -> str:
    """Bring the config up to date; or the reason why it cannot say what the model has become."""
    config = model.config
    if config.model_type == "seqmem":
        for layer in changed:
            name, options = config.mixer(layer)
            mixer = model.layers[layer].mixer
            options |= {"heads": mixer.heads, "kv_heads": mixer.kv_heads, "head": mixer.head}
            config.layers[layer] = {"name": name, **options}
        return ""
    if config.model_type == "gpt2":
        return "GPT-2's config has no place for the size of a head, so it cannot describe fewer heads"
    counts = {layer.heads for layer in layers_of(model)}
    count = counts.pop()
    if counts:
        return "Llama's config has one number of heads for all layers, and the layers have different ones now"
    if config.hidden_size % count:
        return f"Llama's config wants the width {config.hidden_size} to be a multiple of the heads, now {count}"
    config.num_key_value_heads = count * config.num_key_value_heads // config.num_attention_heads
    config.num_attention_heads = count
    return ""


def _refuse(reason: str, *_: Any, **__: Any) -> None:
    raise InputError(f"this model cannot be saved as such: {reason}; save the original, and remove_heads after loading")
