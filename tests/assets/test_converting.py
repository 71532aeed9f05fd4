"""What converters make of small files of each format, and what loads from it."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers

from seqmem.assets import austen, gguf_llama, language_model, mnist
from seqmem.errors import InputError


def _llama() -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=260, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=True,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


def _write(place: Path, model: Any, quantised: bool, pre: str = "smollm") -> None:
    """The model in llama.cpp's order, with a tokenizer of bytes."""
    writer = gguf.GGUFWriter(place, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_block_count(2)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    alphabet = _alphabet()
    tokens = ["<|end|>", *alphabet, "ab", "abc", "Ġa"]
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * (len(tokens) - 1))
    writer.add_token_merges(["a b", "ab c", "Ġ a"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    state = model.state_dict()
    names = {inside: outside for outside, inside in gguf_llama._LAYER.items()}
    for name, weight in state.items():
        if name == "lm_head.weight":
            continue
        parts = name.removesuffix(".weight").split(".")
        if parts[1] == "layers":
            kind = names[".".join(parts[3:])]
            values = weight.numpy()
            if kind in ("attn_q", "attn_k"):  # rows 0, half, 1, half + 1, ... within a head
                heads = 4 if kind == "attn_q" else 2
                values = values.reshape(heads, 2, -1, 32).swapaxes(1, 2).reshape(values.shape)
            told = f"blk.{parts[2]}.{kind}.weight"
        else:
            told, values = {"embed_tokens": "token_embd", "norm": "output_norm"}[parts[1]] + ".weight", weight.numpy()
        if quantised and values.ndim == 2:
            packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q4_1)
            writer.add_tensor(told, packed, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
        else:
            writer.add_tensor(told, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _alphabet() -> list[str]:
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


@pytest.mark.parametrize("quantised", [False, True])
def test_a_llama_comes_back_from_gguf(quantised: bool, tmp_path: Path) -> None:
    model, source, target = _llama(), tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    _write(source / "tiny.gguf", model, quantised)
    gguf_llama.convert(source, target)
    back, tokenizer = language_model(target)
    tokens = torch.randint(260, (2, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        told, wanted = back(tokens).logits, model(tokens).logits
    if quantised:
        kinds = gguf.quants, gguf.GGMLQuantizationType.Q4_1
        for name, weight in model.state_dict().items():
            if weight.ndim == 2:  # rows are packed one by one, so their order does not matter
                weight = torch.from_numpy(kinds[0].dequantize(kinds[0].quantize(weight.numpy(), kinds[1]), kinds[1]))
            torch.testing.assert_close(back.state_dict()[name], weight, rtol=0, atol=0)
    else:
        torch.testing.assert_close(told, wanted)
    assert tokenizer("abc a12")["input_ids"] == tokenizer.convert_tokens_to_ids(["abc", "Ġa", "1", "2"])
    assert tokenizer.decode(tokenizer("naïve, 3 ab\n")["input_ids"]) == "naïve, 3 ab\n"
    assert sorted(file.name for file in target.iterdir() if file.suffix == ".safetensors") == ["model.safetensors"]


def test_another_gguf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    _write(tmp_path / "source" / "tiny.gguf", _llama(), False, pre="other")
    with pytest.raises(InputError, match=r"tokenizer\.ggml\.pre"):
        gguf_llama.convert(tmp_path / "source", tmp_path)


def test_rows_of_halves_undoes_the_interleaving() -> None:
    rows = np.arange(16.0)[:, None]  # two heads of eight
    interleaved = rows.reshape(2, 2, 4, 1).swapaxes(1, 2).reshape(16, 1)
    assert interleaved[:4, 0].tolist() == [0, 4, 1, 5]
    assert (gguf_llama.rows_of_halves(interleaved, 2) == rows).all()


def _serialised(lines: list[str | None]) -> bytes:
    content = (
        b"X\n" + struct.pack(">iii", 3, 0, 0) + struct.pack(">i", 5) + b"UTF-8" + struct.pack(">ii", 16, len(lines))
    )
    for line in lines:
        raw = b"" if line is None else line.encode()
        content += struct.pack(">ii", 9, -1 if line is None else len(raw)) + raw
    return content


def test_the_novels(tmp_path: Path) -> None:
    novels = [["", "PRIDE & PREJUDICE", "", "It is a truth – universally"], ["EMMA", None, "handsome"]]
    packed = [_serialised(novel) for novel in novels]
    content = b"".join(struct.pack(">I", len(one)) + zlib.compress(one) for one in packed)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "Rdata.rdb").write_bytes(content)
    austen.convert(tmp_path / "source", tmp_path)
    assert (tmp_path / "pride-and-prejudice.txt").read_text("utf-8").splitlines() == novels[0]
    assert (tmp_path / "emma.txt").read_text("utf-8") == "EMMA\n\nhandsome\n"
    with pytest.raises(InputError, match="version 3"):
        austen.strings(b"A\n" + packed[0][2:])
    with pytest.raises(InputError, match="type 13"):
        austen.strings(packed[0][:23] + struct.pack(">i", 13) + packed[0][27:])


def test_the_digits(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    for digit in range(10):
        values = (np.full((digit % 2 + 1, 784), digit) / 255).round(6)
        (tmp_path / "digits" / f"{digit}.json").write_text(json.dumps({"data": values.flatten().tolist()}))
    mnist.convert(tmp_path, tmp_path)
    from safetensors.numpy import load_file

    content = load_file(tmp_path / "digits.safetensors")
    assert content["images"].shape == (15, 28, 28)
    assert (content["images"] == content["labels"][:, None, None]).all()


def test_models_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=r"cannot be (read|loaded)"):
        language_model(tmp_path)
    with pytest.raises(InputError, match="is no language model but text; models: smollm2"):
        language_model("sotu")
    with pytest.raises(InputError, match="Did you mean 'smollm2'") as caught:
        language_model("smollm")
    assert "\n" not in str(caught.value)


def test_a_model_of_ours_and_one_of_hugging_face(tmp_path: Path) -> None:
    from seqmem.models import SequenceConfig, build

    build(SequenceConfig(vocab_size=256, width=8, layers=["gru"])).save_pretrained(tmp_path / "ours")
    model, tokenizer = language_model(tmp_path / "ours")
    assert tokenizer is None
    assert model.config.model_type == "seqmem"
    assert not model.training
    _llama().save_pretrained(tmp_path / "theirs")
    assert language_model(str(tmp_path / "theirs"))[0].config.model_type == "llama"


def test_a_folder_that_is_not_what_its_config_says(tmp_path: Path) -> None:
    """Whatever transformers says of it, and the numbers that it would make up for weights that are not there."""
    from safetensors.torch import load_file, save_file

    _llama().save_pretrained(tmp_path)
    weights, config = load_file(tmp_path / "model.safetensors"), json.loads((tmp_path / "config.json").read_text())
    for change, words in (
        ({"num_hidden_layers": 10**9}, "describes 1,000,000,000 layers, its files hold 20 tensors"),
        ({"vocab_size": 10**9}, "numbers, its files hold 20 tensors"),
        ({"num_attention_heads": "four"}, "cannot be loaded"),
        ({"model_type": [1]}, "cannot be loaded"),
        ({"auto_map": {"AutoModelForCausalLM": "strange.Model"}, "model_type": "strange"}, "cannot be loaded"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(InputError, match=words):
            language_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"lacks 1 of its weights, the first model\.norm\.weight"):
        language_model(tmp_path)
