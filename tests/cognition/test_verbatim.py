"""Surprisal of lists that come again: against a loop, a planted copier, and a model without any memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from seqmem.cognition import Vignette, repeat_surprisal
from seqmem.errors import InputError
from tests.interp.families import make
from tests.interp.test_scores import Words, planned

STORY = Vignette("she wrote", "later she read", comma="", stop="stop", space="")
NOUNS = [f"noun{i}" for i in range(20)]


def tokenizer() -> Words:
    words = Words()
    words(" ".join([*NOUNS, *STORY.before.split(), *STORY.between.split(), "stop"]))
    return words


def test_it_is_the_loop_over_nouns() -> None:
    model, words = make("gpt2"), tokenizer()
    found = repeat_surprisal(model, words, "permute", vignette=STORY, set_size=4, trials=3, nouns=NOUNS)
    generator = torch.Generator().manual_seed(0)
    for trial in range(3):
        first = [NOUNS[int(i)] for i in torch.randperm(20, generator=generator)][:4]
        order = list(range(4))
        while order == list(range(4)):
            order = torch.randperm(4, generator=generator).tolist()
        text = f"she wrote {' '.join(first)} stop later she read {' '.join(first[i] for i in order)} stop"
        ids = words(text)["input_ids"]
        with torch.no_grad():
            logp = model(torch.tensor([ids])).logits.log_softmax(-1)[0]
        told = [-float(logp[t - 1, ids[t]]) for t in range(1, len(ids)) if text.split()[t].startswith("noun")]
        assert found.first[trial].tolist() == pytest.approx(told[:4], rel=1e-4)
        assert found.second[trial].tolist() == pytest.approx(told[4:], rel=1e-4)
    ratios = (found.second.mean(1) / found.first.mean(1)).median()
    assert found.percent == pytest.approx(100 * float(ratios))


def test_a_planted_copier_and_its_nulls() -> None:
    model, words = planned("induction", vocabulary=60), tokenizer()
    options: dict[str, Any] = {"vignette": STORY, "set_size": 5, "trials": 8, "nouns": NOUNS}
    repeat = repeat_surprisal(model, words, "repeat", **options)
    assert repeat.second[:, 1:].mean() < 0.2 * repeat.first[:, 1:].mean()  # the first is led to by nothing
    assert repeat_surprisal(model, words, "permute", **options).percent > repeat.percent + 20
    assert repeat_surprisal(model, words, "novel", **options).percent > 70


class Flat(nn.Module):
    """Every token is equally likely."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, tokens: torch.Tensor, use_cache: bool = False) -> Any:
        from transformers.modeling_outputs import CausalLMOutput

        return CausalLMOutput(logits=torch.zeros(*tokens.shape, 60))


@pytest.mark.parametrize("condition", ["repeat", "permute", "novel"])
def test_without_memory_it_is_a_hundred(condition: str) -> None:
    found = repeat_surprisal(Flat(), tokenizer(), condition, vignette=STORY, nouns=NOUNS)
    assert found.percent == pytest.approx(100)
    assert found.first.mean() == pytest.approx(torch.tensor(60.0).log().item(), rel=1e-5)


def test_bad_input() -> None:
    for options, told in (
        ({"condition": "again"}, "condition is 'again'"),
        ({"vignette": "tiny"}, "vignette is 'tiny'"),
        ({"condition": "novel", "set_size": 12, "nouns": NOUNS}, "1 and 24 are needed"),
        ({"set_size": 1}, "at least 2"),
    ):
        with pytest.raises(InputError, match=told):
            repeat_surprisal(Flat(), tokenizer(), **options)  # type: ignore[arg-type]

    class Unknown(Words):
        unk_token_id = 0

        def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
            return {"input_ids": [0]}

    with pytest.raises(InputError, match="no token for"):
        repeat_surprisal(Flat(), Unknown())
