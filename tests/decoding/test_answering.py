"""Answers of any causal LM: against transformers' own greedy decoding and a token-by-token sum."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seqmem.decoding import chosen, generated, log_likelihoods, reader_of
from seqmem.errors import InputError
from seqmem.models import SequenceConfig, SequenceLM
from seqmem.tasks.tokenizers import ByteTokenizer


@pytest.fixture(params=["gpt2", "ours"])
def model(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    if request.param == "ours":
        return SequenceLM(SequenceConfig(256, 16, ["attention", "rg_lru"])).double()
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes: dict[str, Any] = {"vocab_size": 256, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 128}
    return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=None, eos_token_id=None, initializer_range=0.3)).double()


PROMPTS = ["Where is Anna?", "Who?", "Where is Carl?", "When did it end, say?"]


@torch.no_grad()
def test_log_likelihoods_are_sums_of_one_token_at_a_time(model: Any) -> None:
    model.eval()
    choices = [" yes", " no", " perhaps"]
    found = log_likelihoods(model, ByteTokenizer(), PROMPTS, choices)
    for n, prompt in enumerate(PROMPTS):
        for c, choice in enumerate(choices):
            ids, total = list(prompt.encode()), 0.0
            for byte in choice.encode():
                total += float(model(torch.tensor([ids]), use_cache=False).logits[0, -1].log_softmax(-1)[byte])
                ids.append(byte)
            assert float(found[n, c]) == pytest.approx(total, rel=1e-5)
    shortest = log_likelihoods(model, ByteTokenizer(), PROMPTS, choices, mean=True)
    assert torch.allclose(shortest * torch.tensor([4.0, 3.0, 8.0]), found)
    best = [choices[n].strip() for n in found.argmax(1).tolist()]
    assert chosen(model, ByteTokenizer(), PROMPTS, choices) == best


@torch.no_grad()
def test_generated_is_greedy_up_to_the_stop(model: Any) -> None:
    model.eval()
    whole = generated(model, ByteTokenizer(), PROMPTS, max_new_tokens=6, stop=())
    for prompt, said in zip(PROMPTS, whole, strict=True):
        ids = list(prompt.encode())
        for _ in range(6):
            ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        assert said == ByteTokenizer().decode(ids[len(prompt) :]).strip()
    assert generated(model, ByteTokenizer(), [], max_new_tokens=6) == []


def test_a_reader_fills_its_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr("seqmem.decoding.answering.generated", lambda m, t, asked, **_: seen.extend(asked) or asked)
    read = reader_of(None, None, prompt="{passage} | {question}", closed="{question}!")
    assert read([("q", "p"), ("q", "")]) == ["p | q", "q!"] == seen


def test_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    class Says(torch.nn.Linear):
        generation_config = None

        def generate(self, ids: torch.Tensor, **options: Any) -> torch.Tensor:
            return torch.cat([ids, torch.tensor([list(b" Paris, of course.\nNo")] * len(ids))], 1)

    for stop, said in ((("\n",), "Paris, of course."), ((".", ","), "Paris"), ((), "Paris, of course.\nNo")):
        assert generated(Says(1, 1), ByteTokenizer(), ["a", "b"], stop=stop) == [said] * 2


def test_choices_that_cannot_be_judged_say_so(model: Any) -> None:
    for prompts, choices, says in (
        (PROMPTS, [], "choices is empty"),
        (PROMPTS, [" yes", ""], "choice '' behind prompt 'Where is Anna"),
        (["", "Who?"], [" yes"], "choice ' yes' behind prompt ''"),
    ):
        with pytest.raises(InputError, match=says):
            log_likelihoods(model, ByteTokenizer(), prompts, choices)
