"""A tiny model of every family, with random weights."""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf

from seqmem.mixers import MIXERS
from seqmem.models import SequenceConfig, SequenceLM

VOCABULARY = 40


def _gpt2() -> Any:
    return hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=4, n_positions=64))


def _llama() -> Any:
    config = hf.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    return hf.LlamaForCausalLM(config)


def _mamba() -> Any:
    return hf.MambaForCausalLM(
        hf.MambaConfig(vocab_size=VOCABULARY, hidden_size=12, state_size=4, num_hidden_layers=2, time_step_rank=3)
    )


def _mamba2() -> Any:
    config = hf.Mamba2Config(
        vocab_size=VOCABULARY, hidden_size=16, state_size=4, num_hidden_layers=2, head_dim=8, num_heads=4, n_groups=2,
        chunk_size=8,
    )  # fmt: skip
    return hf.Mamba2ForCausalLM(config)


def _rwkv() -> Any:
    config = hf.RwkvConfig(vocab_size=VOCABULARY, hidden_size=12, num_hidden_layers=2, attention_hidden_size=12)
    return hf.RwkvForCausalLM(config)


def _recurrent_gemma() -> Any:
    config = hf.RecurrentGemmaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, lru_width=16, attention_window_size=64,
        block_types=["attention", "recurrent"],
    )  # fmt: skip
    return hf.RecurrentGemmaForCausalLM(config)


HUGGING_FACE = {
    "gpt2": _gpt2,
    "llama": _llama,
    "mamba": _mamba,
    "mamba2": _mamba2,
    "rwkv": _rwkv,
    "recurrent_gemma": _recurrent_gemma,
}
OWN = tuple(MIXERS)
EVERY = (*HUGGING_FACE, *OWN)


def make(name: str, short_conv: int = 3) -> Any:
    """A model in evaluation mode, weights large enough that every part of it matters."""
    torch.manual_seed(0)
    if name in HUGGING_FACE:
        model = HUGGING_FACE[name]()
    else:
        model = SequenceLM(SequenceConfig(vocab_size=VOCABULARY, width=16, layers=[name, name], short_conv=short_conv))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                if not parameter.any():  # as some layers begin
                    parameter.normal_(std=0.3)
                parameter.mul_(2.0)
        if name == "rwkv":  # its own beginning is zero here and there
            for block in model.rwkv.blocks:
                block.attention.time_decay.normal_()
                block.attention.time_first.normal_()
                for linear in (block.attention.key, block.attention.receptance, block.attention.value):
                    linear.weight.normal_(std=0.3)
                block.attention.output.weight.normal_(std=0.3)
    return model.eval()


def draw(rows: int = 2, time: int = 11, seed: int = 0) -> torch.Tensor:
    """(rows, time) tokens."""
    return torch.randint(VOCABULARY, (rows, time), generator=torch.Generator().manual_seed(seed))
