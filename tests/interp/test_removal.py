"""Heads removed for good: the same numbers as heads silenced, from a smaller model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from seqmem.errors import InputError
from seqmem.interp import ablate_heads, attention_of, remove_heads, score_heads
from seqmem.interp.families import layers_of
from seqmem.models import SequenceConfig, SequenceLM
from tests.interp.families import VOCABULARY, draw, make


def grouped(name: str = "attention") -> Any:
    torch.manual_seed(0)
    spec = {"name": name, "heads": 4, "kv_heads": 2}
    return SequenceLM(SequenceConfig(vocab_size=VOCABULARY, width=16, layers=[spec, spec], short_conv=3)).eval()


MODELS = {
    "gpt2": lambda: make("gpt2"),
    "llama": lambda: make("llama"),  # two query heads to a pair of keys and values
    "attention": lambda: make("attention"),
    "attention, grouped": grouped,
    "local_attention, grouped": lambda: grouped("local_attention"),
}
HEADS = {0: [2, 3], 1: [0, 1]}  # whole groups


@pytest.mark.parametrize("name", MODELS)
def test_removed_is_silenced_and_smaller(name: str) -> None:
    model, tokens = MODELS[name](), draw()
    before = model(tokens).logits.detach()
    with torch.no_grad(), ablate_heads(model, HEADS):
        wanted = model(tokens).logits
        said = model.generate(tokens, max_new_tokens=6, do_sample=False, pad_token_id=0)
    smaller = remove_heads(model, HEADS)
    torch.testing.assert_close(smaller(tokens).logits, wanted)
    assert (wanted - before).abs().max() > 1e-3
    assert torch.equal(smaller.generate(tokens, max_new_tokens=6, do_sample=False, pad_token_id=0), said)
    torch.testing.assert_close(model(tokens).logits, before)  # the model given is as it was

    whole, rest = (sum(p.numel() for layer in layers_of(m) for p in layer.mixer.parameters()) for m in (model, smaller))
    assert rest < 0.6 * whole


@pytest.mark.parametrize("name", MODELS)
def test_what_is_left_is_looked_into_as_before(name: str) -> None:
    model, tokens = MODELS[name](), draw()
    smaller = remove_heads(model, {0: [2, 3]})
    assert [layer.heads for layer in layers_of(smaller)] == [2, 4]
    torch.testing.assert_close(attention_of(smaller, tokens)[0], attention_of(model, tokens)[0][:, :2])
    if "short_conv" not in model.config.to_dict():
        told, left = (score_heads(m, "copying", layers=[0]) for m in (model, smaller))
        assert [row.score for row in left] == pytest.approx([row.score for row in told[:2]], rel=1e-4)
    again = remove_heads(smaller, {1: [0, 1]})
    torch.testing.assert_close(again(tokens).logits, remove_heads(model, {0: [2, 3], 1: [0, 1]})(tokens).logits)


@pytest.mark.parametrize("name", ["llama", "attention", "attention, grouped", "local_attention, grouped"])
def test_saved_and_loaded(name: str, tmp_path: Path) -> None:
    smaller = remove_heads(MODELS[name](), HEADS)
    smaller.save_pretrained(tmp_path)
    loaded = hf.AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(draw()).logits, smaller(draw()).logits)


def test_biases_go_with_their_heads() -> None:
    config = hf.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=4, attention_bias=True,
    )  # fmt: skip
    torch.manual_seed(0)
    model = hf.LlamaForCausalLM(config).eval()
    for parameter in model.model.layers[0].self_attn.parameters():
        torch.nn.init.normal_(parameter)
    with torch.no_grad(), ablate_heads(model, {0: [0, 2]}):
        wanted = model(draw()).logits
    torch.testing.assert_close(remove_heads(model, {0: [0, 2]})(draw()).logits, wanted)


def test_what_a_config_cannot_say_is_not_saved(tmp_path: Path) -> None:
    for name, heads, reason in (
        ("gpt2", {0: [1]}, "size of a head"),
        ("llama", {0: [0, 1]}, "one number of heads for all layers"),
    ):
        with pytest.raises(InputError, match=reason):
            remove_heads(make(name), heads).save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())
    config = hf.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=4
    )
    with pytest.raises(InputError, match="multiple of the heads, now 3"):
        remove_heads(hf.LlamaForCausalLM(config), {0: [2]}).save_pretrained(tmp_path)
    remove_heads(make("gpt2"), {0: []}).save_pretrained(tmp_path)  # nothing was removed


@pytest.mark.parametrize(
    ("name", "heads", "message"),
    [
        ("llama", {0: [0]}, "heads 0 to 1 share keys and values"),
        ("gpt2", {0: [4]}, "heads 0 to 3, head 4"),
        ("gpt2", {7: [0]}, "layer is 7, expected 0 to 1"),
        ("gpt2", {1: [0, 1, 2, 3]}, "would keep no head"),
        ("mamba", {0: [0]}, "is a MambaMixer"),
        ("linear_attention", {0: [0]}, "is a LinearAttention"),
    ],
)
def test_bad_input(name: str, heads: dict[int, list[int]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        remove_heads(make(name), heads)
