"""Mamba and Mamba-2: a norm and a mixer in every layer, no MLP."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from seqmem.models.from_hf.parts import Converted, only, put


def convert(model: Any) -> Converted:
    """Every option but another activation than SiLU."""
    config, first = model.config, model.backbone.layers[0].mixer
    mixer = {
        "name": "mamba",
        "expand": first.intermediate_size / config.hidden_size,
        "state_size": config.state_size,
        "conv": config.conv_kernel,
        "dt_rank": first.time_step_rank,
        "bias": config.use_bias,
        "conv_bias": config.use_conv_bias,
    }
    converted = _blocks(model, mixer, ("A_log", "D"))
    for i, block in enumerate(model.backbone.layers):
        for name in ("x_proj", "dt_proj"):
            put(converted.weights, f"layers.{i}.mixer.{name}", getattr(block.mixer, name))
    return converted


def convert_2(model: Any) -> Converted:
    """Every option but another activation than SiLU."""
    config, first = model.config, model.backbone.layers[0].mixer
    low, high = config.time_step_limit
    mixer = {
        "name": "mamba2",
        "heads": config.num_heads,
        "expand": first.intermediate_size / config.hidden_size,
        "state_size": config.state_size,
        "groups": config.n_groups,
        "conv": config.conv_kernel,
        "bias": config.use_bias,
        "conv_bias": config.use_conv_bias,
        "norm_eps": config.layer_norm_epsilon,
        "dt_limit": None if (low, high) == (0.0, math.inf) else [low, None if high == math.inf else high],
    }
    converted = _blocks(model, mixer, ("A_log", "D", "dt_bias"))
    for i, block in enumerate(model.backbone.layers):
        converted.weights[f"layers.{i}.mixer.norm_weight"] = block.mixer.norm.weight
    return converted


def _blocks(model: Any, mixer: dict[str, Any], numbers: tuple[str, ...]) -> Converted:
    """What both have: embedding, norms, projections, convolutions, and the mixers' own ``numbers``."""
    config, body = model.config, model.backbone
    only(config, "hidden_act", ["silu", "swish"], "the layer has SiLU; use the model as it is")
    options = {
        "layers": [mixer] * config.num_hidden_layers,
        "mlp_width": 0,
        "norm_eps": config.layer_norm_epsilon,
    }
    weights: dict[str, Tensor] = {}
    for i, block in enumerate(body.layers):
        name, theirs = f"layers.{i}.mixer", block.mixer
        put(weights, f"layers.{i}.mixer_norm", block.norm)
        put(weights, f"{name}.in_proj", theirs.in_proj)
        put(weights, f"{name}.out", theirs.out_proj)
        put(weights, f"{name}.conv", theirs.conv1d)
        weights[f"{name}.conv.weight"] = theirs.conv1d.weight[:, 0]  # (channels, 1, kernel)
        for number in numbers:
            weights[f"{name}.{number}"] = getattr(theirs, number)
    put(weights, "norm", body.norm_f)
    return Converted(options, weights)
