"""Scores of heads: planted patterns are found, planted nulls are not, and random weights get what chance gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seqmem.errors import InputError
from seqmem.interp import PROBES, attention_of, retrieval, retrieval_scores, score_heads
from seqmem.interp.copying import copying_scores
from seqmem.interp.retrieval import Needle, needle_accuracy
from seqmem.interp.scores import make_probe
from seqmem.models import SequenceConfig, SequenceLM
from tests.interp.families import EVERY, VOCABULARY, make
from tests.interp.planned import PLANS
from tests.interp.test_attention import WITH


def planned(head: str = "induction", vocabulary: int = VOCABULARY) -> Any:
    torch.manual_seed(0)
    spec = {"name": "tests.interp.planned:Planned", "head": head}
    config = SequenceConfig(vocab_size=vocabulary, width=64, layers=[spec], mlp_width=0, initializer_range=1.0)
    return SequenceLM(config).eval()


@pytest.mark.parametrize(
    ("probe", "head"),
    [
        ("induction", "induction"),
        ("previous-token", "previous"),
        ("duplicate-token", "duplicate"),
        ("retrieval", "induction"),
    ],
)
def test_the_planted_head_has_one_and_the_others_chance_or_nothing(probe: str, head: str) -> None:
    found = {PLANS[row.head]: row for row in score_heads(planned(), probe, length=20)}
    assert found[head].score == pytest.approx(1.0)
    assert found["nothing"].score == 0
    if probe != "retrieval":
        assert found["uniform"].score == pytest.approx(found["uniform"].chance, rel=1e-5)
    others = set(PLANS) - {head, "uniform", "nothing"}
    if probe == "previous-token":  # at the end of the first copy, the next token's duplicate lies elsewhere
        assert all(found[other].score < 0.6 for other in others)
    else:
        assert all(found[other].score < 0.05 for other in others)


@pytest.mark.parametrize("probe", ["induction", "duplicate-token", "retrieval"])
def test_the_null_finds_nothing_in_a_head_that_looks_for_tokens(probe: str) -> None:
    rows = score_heads(planned(vocabulary=400), probe, length=20, null=True)
    assert all(row.score < 0.1 for row in rows if PLANS[row.head] in ("induction", "duplicate"))
    with pytest.raises(InputError, match="has no null"):
        score_heads(make("gpt2"), "copying", null=True)


@pytest.mark.parametrize("name", WITH)
def test_random_weights_are_near_chance(name: str) -> None:
    for probe in ("induction", "duplicate-token"):
        rows = score_heads(make(name), probe, length=12, batch_size=8)
        mean = sum(row.score for row in rows) / len(rows)
        assert 0 <= mean < 6 * rows[0].chance


def test_scores_are_those_of_the_matrices() -> None:
    model = make("llama")
    plan = make_probe(model, "induction", 16, 4, torch.Generator().manual_seed(0))
    weights = attention_of(model, plan.tokens)
    for row in score_heads(model, "induction", length=16):
        told = [
            float(weights[row.layer][b, row.head, t, t - 16 + 1]) for b in range(4) for t in range(16, 32)
        ]  # fmt: skip
        assert row.score == pytest.approx(sum(told) / len(told), rel=1e-4)


def test_copying_against_the_whole_matrix() -> None:
    """The eigenvalues of the full (vocabulary, vocabulary) product, in float64."""
    model = make("gpt2").double()
    mixer = model.transformer.h[1].attn
    value = mixer.c_attn.weight[:, -16:].unflatten(1, (4, 4))  # (width, heads, head)
    out = mixer.c_proj.weight.unflatten(0, (4, 4))
    embed, unembed = model.transformer.wte.weight, model.lm_head.weight
    for head in range(4):
        eigenvalues = torch.linalg.eigvals(embed @ value[:, head] @ out[head] @ unembed.mT)
        told = float(eigenvalues.real.sum() / eigenvalues.abs().sum())
        assert float(copying_scores(model, [1])[1][head]) == pytest.approx(told, abs=1e-6)


@pytest.mark.parametrize("name", ["gpt2", "llama", "attention", "linear_attention"])
def test_a_head_that_copies_and_one_that_suppresses(name: str) -> None:
    model = make(name, short_conv=0)
    if name == "gpt2":
        value, out = model.transformer.h[0].attn.c_attn.weight[:, -16:], model.transformer.h[0].attn.c_proj.weight
    elif name == "llama":
        model.lm_head.weight = model.model.embed_tokens.weight
        attention = model.model.layers[0].self_attn
        value, out = attention.v_proj.weight.mT, attention.o_proj.weight.mT
    else:
        mixer = model.layers[0].mixer
        value, out = mixer.qkv.weight.mT[:, -16:], mixer.out.weight.mT
        model.lm_head.weight = model.embed_tokens.weight
    groups = out.shape[0] // value.shape[1]
    per = 16 // (4 if name in ("gpt2", "llama") else model.layers[0].mixer.heads)
    with torch.no_grad():
        for head in range(out.shape[0] // per):
            sign = -1 if head % 2 else 1  # W_O = +- W_V transposed
            source = head // groups
            out[head * per : (head + 1) * per] = sign * value[:, source * per : (source + 1) * per].mT
    found = [row.score for row in score_heads(model, "copying", layers=[0])]
    assert found == pytest.approx([-1.0 if head % 2 else 1.0 for head in range(len(found))])


def test_copying_where_no_pair_of_matrices_is_the_path() -> None:
    with pytest.raises(InputError, match="no pair of weight matrices"):
        score_heads(make("mamba"), "copying")


class Words:
    """A tokenizer of words."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [self.ids.setdefault(word, len(self.ids)) for word in text.split()]}


NEEDLE = Needle("alpha beta gamma delta epsilon zeta", "alpha beta")
HAY = "one two three four five six seven eight nine ten eleven twelve"


@pytest.mark.parametrize(("head", "expected"), [("induction", 4 / 6), ("nothing", 0.0)])
def test_retrieval_of_a_planted_copier_and_of_one_that_cannot(head: str, expected: float) -> None:
    rows = retrieval_scores(
        planned(head), Words(), lengths=(12, 24), needles=(NEEDLE,), haystack=HAY, new_tokens=4, depths=(0.2, 0.8)
    )
    by_plan = {PLANS[row.head]: row for row in rows}
    assert by_plan["induction"].score == pytest.approx(expected)
    assert by_plan["induction"].active == (1.0 if expected else 0.0)
    assert by_plan["nothing"].score == 0
    assert 0 <= by_plan["induction"].chance < 0.3


@pytest.mark.parametrize("name", ["llama", "mamba", "rwkv", "min_gru"])
def test_texts_read_together_or_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, options = make(name), {"needles": [NEEDLE], "haystack": "1 2 3 4", "lengths": [9, 12]}
    together = retrieval_scores(model, Words(), new_tokens=3, **options)
    monkeypatch.setattr(retrieval, "TOGETHER", 1)
    alone = retrieval_scores(model, Words(), new_tokens=3, **options)
    assert [tuple(row) for row in together] == [pytest.approx(tuple(row), abs=1e-6) for row in alone]


def test_needle_accuracy_of_a_planted_copier() -> None:
    options: dict[str, Any] = {"lengths": (12, 24), "haystack": HAY, "depths": (0.2, 0.8)}
    told = [Needle(*NEEDLE[:2], "gamma delta epsilon zeta")]
    assert needle_accuracy(planned(), Words(), needles=told, **options) == 1.0
    assert needle_accuracy(planned(), Words(), needles=told, absent=True, **options) == 0.0
    assert needle_accuracy(planned("uniform"), Words(), needles=told, **options) < 0.5
    with pytest.raises(InputError, match="has no answer"):
        needle_accuracy(planned(), Words(), needles=[NEEDLE], **options)


@pytest.mark.parametrize("name", ["gpt2", "mamba2", "rwkv", "recurrent_gemma", "delta_net"])
def test_retrieval_scores_of_random_weights(name: str) -> None:
    rows = retrieval_scores(
        make(name), Words(), lengths=(20,), needles=(NEEDLE,), haystack=HAY, new_tokens=3, depths=(0.5,)
    )
    assert all(0 <= row.score <= 0.5 for row in rows)
    assert {row.layer for row in rows} == {0, 1}


def test_bad_input() -> None:
    model = make("gpt2")
    with pytest.raises(InputError, match="Did you mean 'induction'"):
        score_heads(model, "inducton")
    with pytest.raises(InputError, match="too few for length 64"):
        score_heads(model, "induction", length=64)
    with pytest.raises(InputError, match="no exact attention"):
        score_heads(make("lstm"), "induction", length=8)
    with pytest.raises(InputError, match="gives no token"):
        retrieval_scores(model, Words(), needles=[("", "")])
    with pytest.raises(InputError, match="depths"):
        retrieval_scores(model, Words(), depths=(2.0,))
    assert set(PROBES) == {"induction", "previous-token", "duplicate-token", "retrieval", "copying"}
    assert len(EVERY) > 15
