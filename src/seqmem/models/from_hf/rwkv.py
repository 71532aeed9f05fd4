"""RWKV-4: time mixing, channel mixing in place of the MLP, LayerNorm, a norm on the embeddings."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqmem.models.from_hf.parts import Converted, Linear, only, put


def convert(model: Any) -> Converted:
    """In evaluation transformers halves the stream and its writers after every ``rescale_every`` layers, against
    overflow in half precision. Norms take that out again but for their epsilon, so here the stream is as it was trained
    and the epsilons grow: norm(x / s; eps) = norm(x; s^2 eps)."""
    config, body = model.config, model.rwkv
    only(config, "attention_hidden_size", [config.hidden_size], "the layer has one width; use the model as it is")
    depth, every = config.num_hidden_layers, config.rescale_every
    halved = [i // every if every > 0 else 0 for i in range(depth + 1)]  # how often, before a layer
    options = {
        "layers": [{"name": "rwkv4", "layer": i, "depth": depth} for i in range(depth)],
        "mlp_width": config.intermediate_size,
        "mlp": "rwkv",
        "norm": "layer",
        "norm_eps": [config.layer_norm_epsilon * 4.0**times for times in halved],
        "embedding_norm": True,
    }
    weights: dict[str, Tensor] = {}
    put(weights, "embed_norm", body.blocks[0].pre_ln)
    for i, block in enumerate(body.blocks):
        factor = 2.0 ** halved[i] if body.layers_are_rescaled else 1.0  # the weights may stand halved or not
        mixer, mlp = block.attention, block.feed_forward
        put(weights, f"layers.{i}.mixer_norm", block.ln1)
        put(weights, f"layers.{i}.mlp_norm", block.ln2)
        for name in ("receptance", "key", "value"):
            put(weights, f"layers.{i}.mixer.{name}", getattr(mixer, name))
        weights[f"layers.{i}.mixer.out.weight"] = mixer.output.weight * factor
        weights[f"layers.{i}.mixer.mu"] = _shares(mixer, "receptance", "key", "value")
        weights[f"layers.{i}.mixer.time_decay"] = mixer.time_decay
        weights[f"layers.{i}.mixer.bonus"] = mixer.time_first
        for name in ("receptance", "key"):
            put(weights, f"layers.{i}.mlp.{name}", getattr(mlp, name))
        put(weights, f"layers.{i}.mlp.value", Linear(mlp.value.weight * factor, None))
        weights[f"layers.{i}.mlp.mu"] = _shares(mlp, "receptance", "key")
    put(weights, "norm", body.ln_out)
    return Converted(options, weights)


def _shares(module: Any, *names: str) -> Tensor:
    """mu (1, inputs, width) of these inputs."""
    return torch.cat([getattr(module, f"time_mix_{name}") for name in names], 1)
