"""GPT-2: softmax attention with learned positions, LayerNorm, a plain MLP, biases everywhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqmem.models.from_hf.parts import Converted, Linear, activation, only, put


def convert(model: Any) -> Converted:
    """Everything but cross attention. Scores that are scaled otherwise have the factor in the queries' weights."""
    config, body = model.config, model.transformer
    only(config, "add_cross_attention", [False], "a SequenceLM reads one text; use the model as it is")
    attention = {
        "name": "attention",
        "heads": config.n_head,
        "rope_base": None,
        "qk_norm": False,
        "bias": True,
        "out_bias": True,
    }
    options = {
        "layers": [attention] * config.n_layer,
        "mlp_width": 4 * config.n_embd if config.n_inner is None else config.n_inner,
        "mlp": "plain",
        "mlp_activation": activation(config, "activation_function"),
        "mlp_bias": True,
        "norm": "layer",
        "norm_eps": config.layer_norm_epsilon,
        "positions": config.n_positions,
    }
    weights: dict[str, Tensor] = {}
    put(weights, "embed_positions", body.wpe)
    for i, block in enumerate(body.h):
        mixer = block.attn
        factor = mixer.scaling * mixer.head_dim**0.5  # ours divides by sqrt(head)
        size = mixer.c_attn.weight.shape[1]
        scale = torch.ones(size, device=mixer.c_attn.weight.device, dtype=mixer.c_attn.weight.dtype)
        scale[: size // 3] = factor
        put(
            weights, f"layers.{i}.mixer.qkv", Linear(mixer.c_attn.weight.mT * scale[:, None], mixer.c_attn.bias * scale)
        )
        for ours, theirs in (("mixer.out", mixer.c_proj), ("mlp.up", block.mlp.c_fc), ("mlp.down", block.mlp.c_proj)):
            put(weights, f"layers.{i}.{ours}", Linear(theirs.weight.mT, theirs.bias))  # theirs are (in, out)
        put(weights, f"layers.{i}.mixer_norm", block.ln_1)
        put(weights, f"layers.{i}.mlp_norm", block.ln_2)
    put(weights, "norm", body.ln_f)
    return Converted(options, weights)
