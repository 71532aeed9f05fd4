"""Llama and its kin, Mistral, Qwen2 and Qwen3: softmax attention with rotary positions, RMSNorm, a gated MLP."""

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
    """All options, and every rotary type but those that depend on the length of the text. A layer with a sliding window
    is ``local_attention``."""
    config, body = model.config, model.model
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    turns, order, factor = turning(config, body.rotary_emb, head)
    layers: list[dict[str, Any]] = []
    weights: dict[str, Tensor] = {}
    for i, layer in enumerate(body.layers):
        mixer, normed = layer.self_attn, hasattr(layer.self_attn, "q_norm")
        query = reordered(mixer.q_proj, order, 1.0 if normed else factor)
        put_rows(weights, f"layers.{i}.mixer.qkv", (query, reordered(mixer.k_proj, order), mixer.v_proj))
        put(weights, f"layers.{i}.mixer.out", mixer.o_proj)
        if normed:
            weights[f"layers.{i}.mixer.norms.query.weight"] = mixer.q_norm.weight[order] * factor
            weights[f"layers.{i}.mixer.norms.key.weight"] = mixer.k_norm.weight[order]
        put(weights, f"layers.{i}.mixer_norm", layer.input_layernorm)
        put(weights, f"layers.{i}.mlp_norm", layer.post_attention_layernorm)
        gated_mlp(weights, f"layers.{i}.mlp", layer.mlp)
        window = config.sliding_window if config.model_type == "mistral" else getattr(mixer, "sliding_window", None)
        layers.append(
            {
                **({"name": "attention"} if window is None else {"name": "local_attention", "window": window}),
                "heads": config.num_attention_heads,
                "kv_heads": config.num_key_value_heads,
                "head": head,
                "qk_norm": normed,
                "norm_eps": config.rms_norm_eps,
                "bias": mixer.q_proj.bias is not None,
                "out_bias": mixer.o_proj.bias is not None,
                **turns,
            }
        )
    put(weights, "norm", body.norm)
    options = {
        "layers": layers,
        "mlp_width": config.intermediate_size,
        "norm_eps": config.rms_norm_eps,
        **mlp_options(activation(config, "hidden_act"), body.layers[0].mlp.up_proj.bias is not None),
    }
    return Converted(options, weights)
