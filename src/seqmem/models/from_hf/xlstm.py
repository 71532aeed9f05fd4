"""xLSTM as in the 7-billion model: mLSTM layers, RMSNorm, a gated MLP, capped logits."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from seqmem.models.from_hf.parts import Converted, Linear, only, put, put_rows


def convert(model: Any) -> Converted:
    """Models whose queries, keys and values are all as wide as the stream; their weights may be fused or not."""
    config, body = model.config, model.backbone
    only(config, "qk_dim_factor", [1.0], "the layer's keys are as wide as its values; set it to 1.0 before training")
    only(config, "v_dim_factor", [1.0], "the layer's values are as wide as the stream; set it to 1.0 before training")
    only(config, "use_bias", [False], "the layer's norms have no biases; use the model as it is")
    fused = config.weight_mode == "fused"
    mixer = {
        "name": "mlstm",
        "heads": config.num_heads,
        "gate_cap": config.gate_soft_cap,
        "norm_eps": config.norm_eps,
    }
    weights: dict[str, Tensor] = {}
    for i, block in enumerate(body.blocks):
        name, theirs = f"layers.{i}.mixer", block.mlstm_layer
        put(weights, f"layers.{i}.mixer_norm", block.norm_mlstm)
        put(weights, f"layers.{i}.mlp_norm", block.norm_ffn)
        if fused:
            width = config.hidden_size
            rows = theirs.qkv_opreact.weight
            put(weights, f"{name}.qkv", Linear(rows[: 3 * width], None))
            put(weights, f"{name}.out_gate", Linear(rows[3 * width :], None))
            put(weights, f"{name}.gates", theirs.ifgate_preact)
            gate, up = block.ffn.proj_up_gate_z.weight.chunk(2)
            put(weights, f"layers.{i}.mlp.gate", Linear(gate, None))
            put(weights, f"layers.{i}.mlp.up", Linear(up, None))
        else:
            put_rows(weights, f"{name}.qkv", (theirs.q, theirs.k, theirs.v))
            put(weights, f"{name}.out_gate", theirs.ogate_preact)
            put_rows(weights, f"{name}.gates", (theirs.igate_preact, theirs.fgate_preact))
            put(weights, f"layers.{i}.mlp.gate", block.ffn.proj_up_gate)
            put(weights, f"layers.{i}.mlp.up", block.ffn.proj_up)
        put(weights, f"layers.{i}.mlp.down", block.ffn.proj_down)
        weights[f"{name}.norm_weight"] = theirs.multihead_norm.weight
        put(weights, f"{name}.out", theirs.out_proj)
    put(weights, "norm", body.out_norm)
    options = {
        "layers": [mixer] * len(body.blocks),
        "mlp_width": body.blocks[0].ffn.up_proj_dim,
        "norm_eps": config.norm_eps,
        "logit_softcap": config.output_logit_soft_cap,
    }
    return Converted(options, weights)
