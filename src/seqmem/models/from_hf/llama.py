"""Llama: softmax attention with rotary positions, RMSNorm, a gated MLP."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from seqmem.models.from_hf.parts import (
    Converted,
    activation,
    gated_mlp,
    mlp_options,
    put,
    put_rows,
    reordered,
    turning,
)


def convert(model: Any) -> Converted:
    """All of Llama's options, and every rotary type but those that depend on the length of the text."""
    config, body = model.config, model.model
    head = config.head_dim or config.hidden_size // config.num_attention_heads
    turns, order, factor = turning(config, body.rotary_emb, head)
    attention = {
        "name": "attention",
        "heads": config.num_attention_heads,
        "kv_heads": config.num_key_value_heads,
        "head": head,
        "qk_norm": False,
        "bias": config.attention_bias,
        "out_bias": config.attention_bias,
        **turns,
    }
    options = {
        "vocab_size": config.vocab_size,
        "width": config.hidden_size,
        "layers": [attention] * config.num_hidden_layers,
        "mlp_width": config.intermediate_size,
        "norm_eps": config.rms_norm_eps,
        "tie_embeddings": config.tie_word_embeddings,
        **mlp_options(activation(config, "hidden_act"), config.mlp_bias),
    }
    weights: dict[str, Tensor] = {}
    put(weights, "embed_tokens", body.embed_tokens)
    for i, layer in enumerate(body.layers):
        mixer = layer.self_attn
        query, key = reordered(mixer.q_proj, order, factor), reordered(mixer.k_proj, order)
        put_rows(weights, f"layers.{i}.mixer.qkv", (query, key, mixer.v_proj))
        put(weights, f"layers.{i}.mixer.out", mixer.o_proj)
        put(weights, f"layers.{i}.mixer_norm", layer.input_layernorm)
        put(weights, f"layers.{i}.mlp_norm", layer.post_attention_layernorm)
        gated_mlp(weights, f"layers.{i}.mlp", layer.mlp)
    put(weights, "norm", body.norm)
    put(weights, "lm_head", model.lm_head)
    return Converted(options, weights)
