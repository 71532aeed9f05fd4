"""RecurrentGemma: RG-LRU blocks, local attention, norms whose gain is 1 + weight, scaled embeddings, capped logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqmem.models.from_hf.parts import (
    Converted,
    Linear,
    gated_mlp,
    one_more,
    only,
    put,
    put_rows,
    reordered,
    turning,
)


def convert(model: Any) -> Converted:
    """Every option but another activation than the tanh form of GELU, which the recurrent block has."""
    config, body = model.config, model.model
    advice = "the recurrent block has this one; use the model as it is"
    only(config, "hidden_activation", ["gelu_pytorch_tanh", "gelu_new"], advice)
    scale = float(body.normalizer)  # sqrt(width), as the model rounds it
    layers: list[dict[str, Any]] = []
    weights: dict[str, Tensor] = {}
    for i, block in enumerate(body.layers):
        read = _recurrent if hasattr(block.temporal_block, "rg_lru") else _attention
        layers.append(read(config, weights, f"layers.{i}.mixer", block.temporal_block))
        put(weights, f"layers.{i}.mixer_norm", one_more(block.temporal_pre_norm))
        put(weights, f"layers.{i}.mlp_norm", one_more(block.channel_pre_norm))
        gated_mlp(weights, f"layers.{i}.mlp", block.mlp_block)
    put(weights, "norm", one_more(body.final_norm))
    options = {
        "layers": layers,
        "mlp_width": config.intermediate_size // 2,
        "mlp": "gated",
        "mlp_activation": "gelu_tanh",
        "mlp_bias": True,
        "norm_eps": config.rms_norm_eps,
        "embedding_scale": scale,
        "logit_softcap": config.logits_soft_cap,
    }
    return Converted(options, weights)


def _recurrent(config: Any, weights: dict[str, Tensor], name: str, mixer: Any) -> dict[str, Any]:
    unit = mixer.rg_lru
    for ours, theirs in (("in_recurrent", "linear_x"), ("in_gate", "linear_y"), ("out", "linear_out")):
        put(weights, f"{name}.{ours}", getattr(mixer, theirs))
    put(weights, f"{name}.conv", Linear(mixer.conv_1d.weight[:, 0], mixer.conv_1d.bias))
    weights[f"{name}.gate_weight"] = torch.cat([unit.recurrent_gate_weight, unit.input_gate_weight], -1)
    weights[f"{name}.gate_bias"] = torch.cat([unit.recurrent_gate_bias, unit.input_gate_bias], -1)
    weights[f"{name}.decay_logit"] = -unit.recurrent_param  # softplus(-logit) = -log a
    return {
        "name": "rg_lru",
        "lru_width": config.lru_width,
        "heads": config.num_attention_heads,
        "conv": config.conv1d_width,
    }


def _attention(config: Any, weights: dict[str, Tensor], name: str, mixer: Any) -> dict[str, Any]:
    turns, order, factor = turning(config, mixer.rotary_emb, mixer.head_dim)
    query, key = reordered(mixer.q_proj, order, factor), reordered(mixer.k_proj, order)
    put_rows(weights, f"{name}.qkv", (query, key, mixer.v_proj))
    put(weights, f"{name}.out", mixer.o_proj)
    return {
        "name": "local_attention",
        "window": mixer.sliding_window,
        "heads": mixer.num_attention_heads,
        "kv_heads": mixer.num_key_value_heads,
        "head": mixer.head_dim,
        "qk_norm": False,
        "bias": config.attention_bias,
        "out_bias": True,
        **turns,
    }
