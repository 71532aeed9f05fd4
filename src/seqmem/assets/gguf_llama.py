"""A Llama in a GGUF file, with its byte-pair tokenizer, as a folder that transformers loads in seconds.

The file holds weights in blocks that share a scale (4 bits each); here every weight becomes the float32 that the block
stands for, exactly. llama.cpp rotates neighbouring pairs of a head's coordinates, transformers pairs that are half a
head apart; the rows of the query and key projections are therefore put back into transformers' order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from seqmem.errors import InputError

_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_CONTROL = 3  # the token type of <|im_start|> and its like


def convert(source: Path, target: Path) -> None:
    """Write weights, config, generation config and tokenizer of the only ``.gguf`` below ``source`` into ``target``."""
    import torch
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from safetensors.torch import save_file
    from transformers import GenerationConfig

    (file,) = source.rglob("*.gguf")
    reader = GGUFReader(file)
    about = {name: field.contents() for name, field in reader.fields.items()}
    _require(about, "general.architecture", "llama")
    _require(about, "tokenizer.ggml.model", "gpt2")
    _require(about, "tokenizer.ggml.pre", "smollm")

    heads = {"attn_q": about["llama.attention.head_count"], "attn_k": about["llama.attention.head_count_kv"]}
    weights: dict[str, Any] = {}
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)  # (out, in) or (width,), float32
        kind = tensor.name.split(".")[-2]
        if kind in heads:
            values = rows_of_halves(values, heads[kind])
        weights[_name(tensor.name)] = torch.from_numpy(
            np.array(values, dtype=np.float32, order="C")
        )  # a copy of the map

    tied = "lm_head.weight" not in weights
    config = _config(about, tied, rows=weights["model.embed_tokens.weight"].shape[0])
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(target)
    tokens = {f"{name}_token_id": getattr(config, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    GenerationConfig(**tokens).save_pretrained(target)
    tokenizer(about).save_pretrained(target)


def rows_of_halves(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a projection, (heads * size, in), from llama.cpp's order within a head, (0, size/2, 1, size/2 + 1, …), to
    0, 1, 2, …"""
    rows, width = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, width).swapaxes(1, 2).reshape(rows, width)


def tokenizer(about: dict[str, Any]) -> Any:
    """The tokenizer that the file describes: digits one by one, GPT-2's pre-tokenisation of the rest, byte pairs."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens: list[str] = about["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in about["tokenizer.ggml.merges"]]
    inner = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    space = bool(about.get("tokenizer.ggml.add_space_prefix", False))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=space)]
    )
    inner.decoder = decoders.ByteLevel()
    kinds = about["tokenizer.ggml.token_type"]
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL]
    inner.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])

    names = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    ids = {short: about.get(f"tokenizer.ggml.{long}_token_id") for short, long in names.items()}
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        chat_template=about.get("tokenizer.chat_template"),
        model_max_length=about["llama.context_length"],
        clean_up_tokenization_spaces=False,
        **{f"{short}_token": tokens[i] for short, i in ids.items() if i is not None},
    )


def _config(about: dict[str, Any], tied: bool, rows: int) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=rows,
        hidden_size=about["llama.embedding_length"],
        intermediate_size=about["llama.feed_forward_length"],
        num_hidden_layers=about["llama.block_count"],
        num_attention_heads=about["llama.attention.head_count"],
        num_key_value_heads=about["llama.attention.head_count_kv"],
        max_position_embeddings=about["llama.context_length"],
        rms_norm_eps=about["llama.attention.layer_norm_rms_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": about["llama.rope.freq_base"]},
        tie_word_embeddings=tied,
        bos_token_id=about.get("tokenizer.ggml.bos_token_id"),
        eos_token_id=about.get("tokenizer.ggml.eos_token_id"),
        pad_token_id=about.get("tokenizer.ggml.padding_token_id"),
        dtype="float32",
    )


def _name(given: str) -> str:
    """``blk.3.attn_q.weight`` -> ``model.layers.3.self_attn.q_proj.weight``."""
    *path, kind, suffix = given.split(".")
    if suffix == "weight" and not path and kind in _OUTSIDE:
        return f"{_OUTSIDE[kind]}.weight"
    if suffix == "weight" and len(path) == 2 and path[0] == "blk" and kind in _LAYER:
        return f"model.layers.{path[1]}.{_LAYER[kind]}.weight"
    raise InputError(
        f"the GGUF file holds the tensor '{given}', expected only those of a plain Llama; nothing was kept"
    )


def _require(about: dict[str, Any], key: str, expected: str) -> None:
    if about.get(key) != expected:
        raise InputError(f"the GGUF file has {key} {about.get(key)!r}, expected {expected!r}; nothing was kept")
