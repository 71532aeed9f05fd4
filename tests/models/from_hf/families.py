"""Small models of transformers with every weight random: matrices, biases, gains, decays."""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf

VOCABULARY = 37
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def randomised(model: Any, seed: int = 0, spread: float = 0.1) -> Any:
    """The model with noise on every weight, so that no bias is 0 and no gain 1; in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            size = spread if weight.ndim < 2 else 0.5 * weight.shape[-1] ** -0.5
            weight.add_(torch.randn(weight.shape, generator=generator) * size)
    return model.eval()


def llama(**options: Any) -> Any:
    given = {
        "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, **SPECIAL, **options,
    }  # fmt: skip
    return hf.LlamaForCausalLM(hf.LlamaConfig(**given))


#: name -> a builder, and whether a batch can be decoded step by step by transformers itself
CASES: dict[str, Any] = {
    "llama": llama,
    "llama, biases, own head size, untied gelu": lambda: llama(
        attention_bias=True, mlp_bias=True, head_dim=6, hidden_act="gelu", rms_norm_eps=1e-3, rope_theta=500.0
    ),
    "llama, tied": lambda: llama(tie_word_embeddings=True),
    "llama 3's rotary": lambda: llama(
        rope_parameters={
            "rope_type": "llama3", "rope_theta": 100.0, "factor": 4.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 16,
        }
    ),
    "llama, yarn": lambda: llama(
        rope_parameters={
            "rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 16,
        }
    ),
}  # fmt: skip
