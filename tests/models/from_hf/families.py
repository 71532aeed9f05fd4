"""Small models of transformers with every weight random: matrices, biases, gains, decays."""

from __future__ import annotations

from typing import Any
from unittest import mock

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


def kin(name: str, **options: Any) -> Any:
    """Mistral, Qwen2 or Qwen3 with a window of 5."""
    given = {
        "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 5, **SPECIAL, **options,
    }  # fmt: skip
    return getattr(hf, f"{name}ForCausalLM")(getattr(hf, f"{name}Config")(**given))


def gpt2(**options: Any) -> Any:
    given = {"vocab_size": VOCABULARY, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 24, **SPECIAL, **options}
    return hf.GPT2LMHeadModel(hf.GPT2Config(**given))


def mamba(**options: Any) -> Any:
    given = {
        "vocab_size": VOCABULARY, "hidden_size": 12, "state_size": 4, "num_hidden_layers": 2, "time_step_rank": 3,
        **SPECIAL, **options,
    }  # fmt: skip
    return hf.MambaForCausalLM(hf.MambaConfig(**given))


def mamba2(**options: Any) -> Any:
    given = {
        "vocab_size": VOCABULARY, "hidden_size": 16, "state_size": 4, "num_hidden_layers": 2, "head_dim": 8,
        "num_heads": 4, "n_groups": 2, "chunk_size": 8, **SPECIAL, **options,
    }  # fmt: skip
    return hf.Mamba2ForCausalLM(hf.Mamba2Config(**given))


def rwkv(**options: Any) -> Any:
    given = {"vocab_size": VOCABULARY, "hidden_size": 12, "num_hidden_layers": 2, **SPECIAL, **options}
    return hf.RwkvForCausalLM(hf.RwkvConfig(**given))


def recurrent_gemma(**options: Any) -> Any:
    given = {
        "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "lru_width": 16,
        "attention_window_size": 7, "block_types": ["recurrent", "attention"], **SPECIAL, **options,
    }  # fmt: skip
    return hf.RecurrentGemmaForCausalLM(hf.RecurrentGemmaConfig(**given))


def qwen3_next(**options: Any) -> Any:
    given = {
        "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "linear_conv_kernel_dim": 3,
        "linear_key_head_dim": 4, "linear_value_head_dim": 6, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
        "num_experts": 0, "layer_types": ["linear_attention", "full_attention", "linear_attention"], **SPECIAL,
        **options,
    }  # fmt: skip
    return hf.Qwen3NextForCausalLM(hf.Qwen3NextConfig(**given))


def xlstm(**options: Any) -> Any:
    given = {
        "vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "num_heads": 2, "qk_dim_factor": 1.0,
        "ffn_round_up_to_multiple_of": 8, "autocast_kernel_dtype": "float32", "chunk_size": 8, **SPECIAL, **options,
    }  # fmt: skip
    with mock.patch("transformers.utils.is_xlstm_available", return_value=False):  # the package alone would not do
        from transformers.models.xlstm import modeling_xlstm
    return modeling_xlstm.xLSTMForCausalLM(hf.xLSTMConfig(**given))


#: name -> a builder
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
    "mistral": lambda: kin("Mistral"),
    "qwen2, one layer with a window": lambda: kin("Qwen2", use_sliding_window=True, max_window_layers=1),
    "qwen3": lambda: kin("Qwen3", head_dim=6, attention_bias=True, rms_norm_eps=1e-3),
    "gpt2": gpt2,
    "gpt2, other scales and a narrow MLP": lambda: gpt2(
        scale_attn_by_inverse_layer_idx=True, n_inner=10, activation_function="relu", tie_word_embeddings=False
    ),
    "gpt2, unscaled": lambda: gpt2(scale_attn_weights=False),
    "mamba": mamba,
    "mamba, other biases and widths": lambda: mamba(
        use_bias=True, use_conv_bias=False, expand=3, conv_kernel=3, tie_word_embeddings=False, layer_norm_epsilon=1e-3
    ),
    "rwkv": rwkv,
    "rwkv, rescaled": lambda: rwkv(rescale_every=1, intermediate_size=20, tie_word_embeddings=True),
    "mamba2": mamba2,
    "mamba2, other biases and limits": lambda: mamba2(
        use_bias=True, use_conv_bias=False, n_groups=1, time_step_limit=(0.05, 0.6), tie_word_embeddings=True,
        layer_norm_epsilon=1e-3,
    ),
    "recurrent_gemma": recurrent_gemma,
    "recurrent_gemma, biases and a tight cap": lambda: recurrent_gemma(
        attention_bias=True, lru_width=16, logits_soft_cap=2.0, conv1d_width=3, rms_norm_eps=1e-3,
        rope_parameters={"rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 0.25},
    ),
    "qwen3_next": qwen3_next,
    "qwen3_next, biases": lambda: qwen3_next(
        attention_bias=True, tie_word_embeddings=True, rms_norm_eps=1e-3, linear_num_key_heads=4,
        linear_value_head_dim=4, hidden_act="swish",
    ),
    "xlstm": xlstm,
    "xlstm, tight caps": lambda: xlstm(gate_soft_cap=3.0, output_logit_soft_cap=2.0, norm_eps=1e-3, num_heads=4),
}  # fmt: skip
