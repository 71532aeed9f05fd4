"""Qwen3-Next with a dense MLP: gated delta rule and gated softmax attention, norms whose gain is 1 + weight."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.models.from_hf.parts import (
    Converted,
    Linear,
    activation,
    gated_mlp,
    mlp_options,
    one_more,
    only,
    put,
    put_rows,
    reordered,
    turning,
)


def convert(model: Any) -> Converted:
    """Every layer whose MLP is dense. Where value heads share a query and a key, ours has a copy for each: the state is
    one per value head in both."""
    config, body = model.config, model.model
    layers: list[dict[str, Any]] = []
    weights: dict[str, Tensor] = {}
    for i, block in enumerate(body.layers):
        if hasattr(block.mlp, "experts"):
            raise InputError(
                f"'{config.model_type}' with num_experts = {config.num_experts}: layer {i} is a mixture of experts, "
                "which cannot be converted; give a model with num_experts = 0, or with this layer in mlp_only_layers"
            )
        if block.block_type == "linear_attention":
            layers.append(_delta(config, weights, f"layers.{i}.mixer", block.linear_attn))
        else:
            layers.append(_attention(config, body.rotary_emb, weights, f"layers.{i}.mixer", block.self_attn))
        put(weights, f"layers.{i}.mixer_norm", one_more(block.input_layernorm))
        put(weights, f"layers.{i}.mlp_norm", one_more(block.post_attention_layernorm))
        gated_mlp(weights, f"layers.{i}.mlp", block.mlp)
    put(weights, "norm", one_more(body.norm))
    options = {
        "layers": layers,
        "mlp_width": config.intermediate_size,
        "norm_eps": config.rms_norm_eps,
        **mlp_options(activation(config, "hidden_act"), bias=False),
    }
    return Converted(options, weights)


def _delta(config: Any, weights: dict[str, Tensor], name: str, mixer: Any) -> dict[str, Any]:
    """Theirs lists q, k, v and z of the first group of heads, then of the next; so beta and the step."""
    only(config, "hidden_act", ["silu", "swish"], "the gated delta layer has SiLU; use the model as it is")
    groups, key, value = mixer.num_k_heads, mixer.head_k_dim, mixer.head_v_dim
    shared = mixer.num_v_heads // groups  # value heads to a query and a key
    rows = mixer.in_proj_qkvz.weight.unflatten(0, (groups, -1))
    q, k, v, z = rows.split([key, key, shared * value, shared * value], 1)  # (groups, rows, width)
    beta, step = mixer.in_proj_ba.weight.unflatten(0, (groups, -1)).split([shared, shared], 1)

    def each(x: Tensor) -> Tensor:
        """A copy for every value head."""
        return x.repeat_interleave(shared, 0).flatten(0, 1)

    weights[f"{name}.qkv.weight"] = torch.cat([each(q), each(k), v.flatten(0, 1)])
    weights[f"{name}.gate.weight"] = z.flatten(0, 1)
    weights[f"{name}.beta_and_step.weight"] = torch.cat([beta.flatten(0, 1), step.flatten(0, 1)])
    size = groups * key
    q, k, v = mixer.conv1d.weight[:, 0].split([size, size, mixer.value_dim])
    q, k = (each(x.unflatten(0, (groups, key))) for x in (q, k))
    weights[f"{name}.conv.weight"] = torch.cat([q, k, v])
    weights[f"{name}.A_log"], weights[f"{name}.dt_bias"] = mixer.A_log, mixer.dt_bias
    put(weights, f"{name}.norm", mixer.norm)
    put(weights, f"{name}.out", mixer.out_proj)
    return {
        "name": "gated_delta_net",
        "heads": mixer.num_v_heads,
        "key": key,
        "expand_value": value / key,
        "conv": mixer.conv_kernel_size,
        "norm_eps": config.rms_norm_eps,
    }


def _attention(config: Any, rotary: Any, weights: dict[str, Tensor], name: str, mixer: Any) -> dict[str, Any]:
    """Theirs lists query and gate of the first head, then of the next."""
    head = mixer.head_dim
    turns, order, factor = turning(config, rotary, head)

    def part(x: Tensor | None, which: int) -> Tensor | None:
        return None if x is None else x.unflatten(0, (-1, 2, head))[:, which].flatten(0, 1)

    query, gate = (Linear(part(mixer.q_proj.weight, n), part(mixer.q_proj.bias, n)) for n in range(2))
    put_rows(weights, f"{name}.qkv", (reordered(query, order), reordered(mixer.k_proj, order), mixer.v_proj))
    put(weights, f"{name}.gate", gate)
    put(weights, f"{name}.out", mixer.o_proj)
    weights[f"{name}.norms.query.weight"] = (mixer.q_norm.weight + 1)[order] * factor
    weights[f"{name}.norms.key.weight"] = (mixer.k_norm.weight + 1)[order]
    return {
        "name": "attention",
        "heads": config.num_attention_heads,
        "kv_heads": config.num_key_value_heads,
        "head": head,
        "qk_norm": True,
        "norm_eps": config.rms_norm_eps,
        "bias": config.attention_bias,
        "out_bias": config.attention_bias,
        "gated": True,
        **turns,
    }
