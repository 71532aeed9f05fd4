"""attention_of: the matrices reproduce what the layer gives, in every family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.interp import attention_of, intervene, record, sites
from tests.interp.families import EVERY, HUGGING_FACE, draw, make

WITH = [n for n in EVERY if not any(s.reason for s in sites(make(n)) if s.name.endswith("attention"))]
WITHOUT = [n for n in EVERY if n not in WITH]


@pytest.mark.parametrize("name", WITH)
def test_reading_through_the_matrix_gives_the_layers_output(name: str) -> None:
    double = name not in HUGGING_FACE  # these compute something in float32 inside, whatever the weights are
    model = make(name).to(torch.float64 if double else torch.float32)
    tokens = draw()
    with torch.no_grad():
        plain = model(tokens).logits
        with intervene(model, {"layers.*.attention": lambda weights: weights}):  # what is read goes through the matrix
            through = model(tokens).logits
    bound = 1e-9 if double else 2e-5
    torch.testing.assert_close(through, plain, rtol=bound, atol=bound * float(plain.abs().max()))
    with torch.no_grad(), intervene(model, {"layers.*.attention": lambda weights: 1.1 * weights}):
        assert (model(tokens).logits - plain).abs().max() > 1e-4  # it is what is read, not a bystander


@pytest.mark.parametrize("name", WITH)
def test_causal_and_the_same_as_recorded(name: str) -> None:
    model, tokens = make(name), draw()
    found = attention_of(model, tokens)
    with torch.no_grad(), record(model, "layers.*.attention") as trace:
        model(tokens)
    assert list(found) == [0, 1]
    for layer, weights in found.items():
        torch.testing.assert_close(weights, trace[f"layers.{layer}.attention"])
        assert weights.triu(1).abs().max() == 0
        assert weights.abs().max() > 0
        some = attention_of(model, tokens, layers=[layer], channels=slice(1, 4, 2))
        torch.testing.assert_close(some[layer], weights[:, 1:4:2])
        mean = attention_of(model, tokens, layers=[layer], reduce="mean_abs")
        torch.testing.assert_close(mean[layer], weights.abs().mean(1, keepdim=True))


def test_softmax_attention_is_transformers_own() -> None:
    model, tokens = make("gpt2"), draw()
    implementation = model.config._attn_implementation
    found = attention_of(model, tokens)
    assert model.config._attn_implementation == implementation
    model.set_attn_implementation("eager")
    for layer, weights in enumerate(model(tokens, output_attentions=True).attentions):
        torch.testing.assert_close(found[layer], weights)


def _slow_mamba(mixer: Any, x: Tensor) -> Tensor:
    """The weight of u_j at i by perturbation of the recurrence itself: one write at a time."""
    from seqmem.interp.families import mamba

    _, _, dt, B, C = mamba._parts_1(mixer, x)
    A = -mixer.A_log.exp()
    batch, time, channels = dt.shape
    weights = x.new_zeros(batch, channels, time, time)
    for j in range(time):
        state = x.new_zeros(batch, channels, A.shape[1])
        for i in range(j, time):
            state = torch.exp(dt[:, i, :, None] * A) * state
            if i == j:
                state = state + dt[:, i, :, None] * B[:, i, None]
            weights[:, :, i, j] = (state * C[:, i, None]).sum(-1)
    return weights


def test_mamba_against_one_write_at_a_time() -> None:
    model, tokens = make("mamba").double(), draw()
    with torch.no_grad(), record(model, ["layers.1.mixer.in", "layers.1.attention"]) as trace:
        model(tokens)
        slow = _slow_mamba(model.backbone.layers[1].mixer, trace["layers.1.mixer.in"])
    torch.testing.assert_close(trace["layers.1.attention"], slow)


@pytest.mark.parametrize("name", HUGGING_FACE)
def test_pieces_of_the_heads_give_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = make(name), draw()
    whole = attention_of(model, tokens, reduce="mean_abs")
    monkeypatch.setattr("seqmem.interp.attention.CHUNK_NUMBERS", 1000)
    for layer, pieces in attention_of(model, tokens, reduce="mean_abs").items():
        torch.testing.assert_close(pieces, whole[layer])


@pytest.mark.parametrize("name", WITHOUT)
def test_what_has_none_says_why(name: str) -> None:
    with pytest.raises(InputError, match="no exact attention matrix"):
        attention_of(make(name), draw())


def test_bad_input() -> None:
    model = make("gpt2")
    with pytest.raises(InputError, match="mean_abs"):
        attention_of(model, draw(), reduce="mean")
    with pytest.raises(InputError, match="expected \\(batch, time"):
        attention_of(model, draw()[0])
    with pytest.raises(InputError, match="no head"):
        attention_of(make("mamba"), draw(), channels=slice(5, 5))
    with pytest.raises(InputError, match="layers 0 to 1"):
        attention_of(model, draw(), layers=[2])
