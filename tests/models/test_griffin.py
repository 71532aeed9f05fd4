"""Hawk and Griffin against RecurrentGemma, the whole network, with the same weights."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import RecurrentGemmaConfig, RecurrentGemmaForCausalLM

from seqmem.errors import InputError
from seqmem.mixers.state import state_bytes
from seqmem.models import SequenceConfig, SequenceLM, build, griffin_config, hawk_config


def theirs_with_our_weights(ours: SequenceLM, window: int) -> torch.nn.Module:
    config = RecurrentGemmaConfig(
        num_hidden_layers=3, vocab_size=19, hidden_size=16, intermediate_size=2 * 48, num_attention_heads=2,
        num_key_value_heads=1, lru_width=20, attention_window_size=window, partial_rotary_factor=1.0,
        logits_soft_cap=1e6, rms_norm_eps=1e-5,
    )  # fmt: skip
    theirs = RecurrentGemmaForCausalLM(config).double().eval()
    model = theirs.model
    model.normalizer = torch.tensor(16.0**0.5, dtype=torch.float64)
    with torch.no_grad():
        for p in theirs.parameters():
            p.zero_()  # biases that ours are without; norms scale by 1 + weight
        model.embed_tokens.weight.copy_(ours.embed_tokens.weight)
        model.final_norm.weight.copy_(ours.norm.weight - 1)
        for block, layer in zip(ours.layers, model.layers, strict=True):
            layer.temporal_pre_norm.weight.copy_(block.mixer_norm.weight - 1)
            layer.channel_pre_norm.weight.copy_(block.mlp_norm.weight - 1)
            for name in ("gate", "up", "down"):
                getattr(layer.mlp_block, f"{name}_proj").weight.copy_(getattr(block.mlp, name).weight)
            mixer, mine = layer.temporal_block, block.mixer
            if hasattr(mine, "qkv"):
                for name, part in zip("qkv", mine.qkv.weight.split([16, 8, 8]), strict=True):
                    getattr(mixer, f"{name}_proj").weight.copy_(part)
                mixer.o_proj.weight.copy_(mine.out.weight)
                continue
            for name, part in (("linear_x", mine.in_recurrent), ("linear_y", mine.in_gate), ("linear_out", mine.out)):
                getattr(mixer, name).weight.copy_(part.weight)
                getattr(mixer, name).bias.copy_(part.bias)
            mixer.conv_1d.weight.copy_(mine.conv.weight[:, None])
            mixer.conv_1d.bias.copy_(mine.conv.bias)
            for kind, weight, bias in zip(
                ("recurrent", "input"), mine.gate_weight.chunk(2, -1), mine.gate_bias.chunk(2, -1), strict=True
            ):
                getattr(mixer.rg_lru, f"{kind}_gate_weight").copy_(weight)
                getattr(mixer.rg_lru, f"{kind}_gate_bias").copy_(bias)
            mixer.rg_lru.recurrent_param.copy_(-mine.decay_logit)
    return theirs


def test_the_network_is_recurrent_gemma(generator: torch.Generator) -> None:
    config = griffin_config(19, 16, 3, window=6, heads=2, lru_width=20)
    ours = build(config).double().eval()
    with torch.no_grad():
        for p in ours.parameters():
            p.add_(0.1 * torch.randn(p.shape, dtype=p.dtype, generator=generator))
    tokens = torch.randint(19, (2, 17), generator=generator)
    with torch.no_grad():
        wanted = theirs_with_our_weights(ours, 6)(tokens, use_cache=False).logits
        torch.testing.assert_close(ours(tokens).logits, wanted, rtol=1e-5, atol=1e-5)  # theirs scans in float32
        logits, state = ours.run(tokens[:, :9])
        rest = []
        for t in range(9, 17):
            y, state = ours.run(tokens[:, t : t + 1], state)  # decoding, by kernels where there are some
            rest.append(y)
        torch.testing.assert_close(torch.cat([logits, *rest], 1), ours(tokens).logits)


def test_the_pattern_and_the_sizes() -> None:
    names = [spec["name"] for spec in griffin_config(width=64, depth=7).layers]
    assert names == ["rg_lru", "rg_lru", "local_attention"] * 2 + ["rg_lru"]
    assert {spec["name"] for spec in hawk_config(depth=4).layers} == {"rg_lru"}
    config = griffin_config(width=96, depth=3)
    assert config.layers[0]["lru_width"] == 126  # 4/3 of the width, in six blocks
    assert config.layers[2] == {"name": "local_attention", "window": 1024, "heads": 6, "kv_heads": 1, "qk_norm": False}
    assert (config.mlp, config.mlp_activation, config.mlp_width) == ("gated", "gelu_tanh", 288)
    again = SequenceConfig(**{k: v for k, v in json.loads(config.to_json_string()).items() if k != "model_type"})
    assert (again.layers, again.mlp, again.embedding_scale) == (config.layers, "gated", 96**0.5)


def test_embeddings_are_scaled_however_they_come(generator: torch.Generator) -> None:
    lm = build(hawk_config(11, 16, 1))
    tokens = torch.randint(11, (1, 5), generator=generator)
    given = lm(inputs_embeds=lm.embed_tokens(tokens)).logits
    assert torch.equal(lm(tokens).logits, given)
    assert torch.equal(lm.run(tokens)[0], given)
    lm.config.embedding_scale = 1.0
    torch.testing.assert_close(lm(inputs_embeds=4 * lm.embed_tokens(tokens)).logits, given)


@torch.no_grad()
def test_the_state_does_not_grow(generator: torch.Generator) -> None:
    lm = build(griffin_config(11, 16, 3, window=8))
    tokens = torch.randint(11, (1, 100), generator=generator)
    assert state_bytes(lm.run(tokens[:, :3])[1]) == state_bytes(lm.run(tokens)[1])


def test_bad_sizes_are_named() -> None:
    with pytest.raises(InputError, match="depth is 0"):
        griffin_config(depth=0)
    with pytest.raises(InputError, match="divisible"):
        build(griffin_config(11, 16, 1, lru_width=21, heads=2))
