"""The character LSTM against torch's own LSTM and a loop over windows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from seqmem.errors import InputError
from seqmem.models import CharLSTM, CharLSTMConfig, StateCache


@pytest.fixture
def model() -> CharLSTM:
    torch.manual_seed(0)
    return CharLSTM(CharLSTMConfig(vocab_size=20, embedding=6, hidden=5, window=4)).double().eval()


def _torch_lstm(layer: Any) -> nn.LSTM:
    """torch's LSTM with the same weights: gates i, f, g, o."""
    out = nn.LSTM(layer.input.in_features, layer.recurrent.in_features, batch_first=True).double()
    with torch.no_grad():
        out.weight_ih_l0.copy_(layer.input.weight)
        out.weight_hh_l0.copy_(layer.recurrent.weight)
        out.bias_ih_l0.copy_(layer.input.bias)
        out.bias_hh_l0.zero_()
    return out


def test_the_published_network(model: CharLSTM) -> None:
    """Every window read by itself, through torch's LSTM."""
    tokens = torch.randint(1, 20, (2, 9), generator=torch.Generator().manual_seed(0))
    lower, upper = _torch_lstm(model.lower), _torch_lstm(model.upper)
    logits = model.windowed_logits(tokens)
    for t in range(9):
        window = torch.cat([torch.zeros(2, 4, dtype=torch.long), tokens[:, : t + 1]], 1)[:, -4:]
        e = model.embed_tokens(window)
        h1, _ = lower(e)
        h2, _ = upper(h1)
        f = torch.cat([e, h1, h2], -1)
        read = (model.score(f).softmax(1) * f).sum(1)
        torch.testing.assert_close(logits[:, t], model.lm_head(read))


def test_reading_on_is_the_loop(model: CharLSTM) -> None:
    tokens = torch.randint(1, 20, (2, 9), generator=torch.Generator().manual_seed(0))
    lower, upper = _torch_lstm(model.lower), _torch_lstm(model.upper)
    e = model.embed_tokens(torch.cat([torch.zeros(2, 3, dtype=torch.long), tokens], 1))
    h1, _ = lower(e)
    h2, _ = upper(h1)
    f = torch.cat([e, h1, h2], -1)
    logits, state = model.run(tokens)
    for t in range(9):
        near = f[:, t : t + 4]
        torch.testing.assert_close(logits[:, t], model.lm_head((model.score(near).softmax(1) * near).sum(1)))
    weights = model.attention(tokens)
    assert weights.shape == (2, 1, 9, 12)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 1, 9).double())
    torch.testing.assert_close(model.lm_head(weights[:, 0] @ f), logits)
    _, middle = model.run(tokens[:, :5])
    torch.testing.assert_close(model.run(tokens[:, 5:], middle)[0], logits[:, 5:])
    assert state.features.shape == (2, 3, 16)


def test_generate_with_padding_is_each_prompt_alone(model: CharLSTM) -> None:
    prompts = [[3, 4, 5, 6, 7, 8], [9, 2]]
    ids = torch.tensor([prompts[0], [0] * 4 + prompts[1]])
    settings: dict[str, Any] = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    out = model.generate(ids, attention_mask=(ids != 0).long(), **settings)
    for row, prompt in zip(out, prompts, strict=True):
        for use_cache in (True, False):
            alone = model.generate(torch.tensor([prompt]), use_cache=use_cache, **settings)
            assert row[6:].tolist() == alone[0, len(prompt) :].tolist()


def test_saved_and_loaded(model: CharLSTM, tmp_path: Any) -> None:
    model.save_pretrained(tmp_path)
    back = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float64)
    tokens = torch.tensor([[1, 2, 3]])
    torch.testing.assert_close(back(tokens).logits, model(tokens).logits)
    assert torch.isfinite(model(tokens, labels=tokens).loss)


def test_bad_input(model: CharLSTM) -> None:
    with pytest.raises(InputError, match="window is 1"):
        CharLSTMConfig(window=1)
    with pytest.raises(InputError, match="hidden is 0"):
        CharLSTMConfig(hidden=0)
    with pytest.raises(InputError, match="expected a seqmem"):
        model(torch.tensor([[1]]), past_key_values={})
    with pytest.raises(InputError, match="two names"):
        model(torch.tensor([[1]]), past_key_values=StateCache(), cache=StateCache())
    with pytest.raises(InputError, match="time >= 1"):
        model.run(torch.zeros(1, 0, dtype=torch.long))
