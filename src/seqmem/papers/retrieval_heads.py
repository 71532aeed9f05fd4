"""Retrieval heads: how many there are, whether they last through training on longer texts, and what is lost without
them, in a small model trained on statements and questions and in a pretrained one."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.interp import Needle, RetrievalScore, ablate_heads, needle_accuracy, retrieval_scores
from seqmem.interp.retrieval import HAYSTACK
from seqmem.models import SequenceConfig, SequenceLM
from seqmem.papers._subject import PRETRAINED, TINY, subject
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule

PAPER = Paper(
    slug="retrieval-heads",
    uses=("seqmem.interp.retrieval_scores", "seqmem.interp.needle_accuracy", "seqmem.interp.ablate_heads"),
    setup="A model of 4 attention layers with 8 heads (width 64, a convolution over 3 tokens before each) is trained "
    "on texts of 64, then 128 tokens: statements (a key, three values) among filler, questions that repeat a key at "
    "the end; then on texts of 256. A pretrained model reads three sentences hidden in texts of 128 and 256 tokens. "
    "Scores: the share of a needle's tokens that a head points to while the model says them. Then the highest heads "
    "(3 of 32; 5 % of the pretrained ones) are taken out.",
    baseline="as many random other heads taken out, mean of 5 draws",
    control="the same question when the needle was never in the text: the answer must not be guessed",
    figures=(
        Figure("sparse", "trained: share of heads with a score of 0.1 or more"),
        Figure("accuracy", "trained: needles answered"),
        Figure("dropped", "trained: fall of that without the 3 highest heads"),
        Figure("dropped_random", "trained: fall without 3 others (baseline)"),
        Figure("same", "trained: correlation of scores before and after training on texts twice as long"),
        Figure("absent", "trained: needles answered that were not in the text (control)"),
        Figure("pre_sparse", "pretrained: share of heads with a score of 0.1 or more"),
        Figure("pre_accuracy", "pretrained: needles answered"),
        Figure("pre_dropped", "pretrained: fall of that without the highest 5 % of the heads"),
        Figure("pre_random", "pretrained: fall without as many others (baseline)"),
        Figure("pre_absent", "pretrained: needles answered that were not in the text (control)"),
    ),
    rule=Rule(
        holds="sparse < 0.25 and dropped >= 0.5 and dropped_random <= 0.1 and same >= 0.8 and pre_sparse < 0.25 and "
        "pre_sparse > 0 and pre_dropped >= 0.5 and pre_random <= 0.1",
        in_part="sparse < 0.5 and dropped >= dropped_random + 0.3 and pre_sparse > 0 and pre_sparse < 0.25 and "
        "pre_dropped >= pre_random + 0.3",
        control="absent <= 0.1 and pre_absent <= 0.1",
    ),
    limits="Texts of a few hundred tokens instead of 50,000, three needles, one pretrained model. Heads are silenced, "
    "not masked in their attention. The convolution tells each token what came before it, which in larger models is "
    "the work of other heads; without it so small a model does not learn the task in minutes.",
    own_model="with retrieval_scores(model, tokenizer) and needle_accuracy(model, tokenizer), with needles of your own",
    settings={
        "smoke": {"steps": 3, "more": 1, "lengths": [24], PRETRAINED: TINY},
        "laptop": {"steps": 450, "more": 100, "lengths": [128, 256], PRETRAINED: "smollm2"},
        "full": {"steps": 2000, "more": 500, "lengths": [128, 256, 512, 1024], PRETRAINED: "smollm2"},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
    parts=("trained", "pretrained"),
    takes_model=("pretrained",),
)

TELL, ASK, KEYS, VALUES, FILLER = 0, 1, 32, 64, 30
FIRST_VALUE, FIRST_FILLER = 2 + KEYS, 2 + KEYS + VALUES
VOCABULARY = FIRST_FILLER + FILLER
STATEMENTS, QUESTIONS, SIZE = 6, 3, 5  # SIZE: a mark, a key, three values
LEVEL, TOP, SHARE, DRAWS = 0.1, 3, 0.05, 5
DEPTHS = (0.1, 0.5, 0.9)


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """A network trained, or one looked into."""
    return _pretrained(settings, seed, model, report) if part == "pretrained" else _trained(settings, seed, report)


def texts(rows: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Tokens (rows, length): filler with six statements at random places, then three questions with their answers;
    asked (rows, length) bool, True at the values of the answers."""
    tokens = torch.randint(FIRST_FILLER, VOCABULARY, (rows, length), generator=generator)
    keys = 2 + torch.stack([torch.randperm(KEYS, generator=generator)[:STATEMENTS] for _ in range(rows)])
    values = torch.randint(FIRST_VALUE, FIRST_FILLER, (rows, STATEMENTS, 3), generator=generator)
    told = torch.cat([torch.full((rows, STATEMENTS, 1), TELL), keys[..., None], values], -1)
    body = length - QUESTIONS * SIZE
    slots = torch.stack([torch.randperm(body // SIZE, generator=generator)[:STATEMENTS] for _ in range(rows)])
    places = (slots * SIZE)[..., None] + torch.arange(SIZE)  # (rows, statements, size)
    tokens.scatter_(1, places.flatten(1), told.flatten(1))
    asked = told[:, :QUESTIONS].clone()
    asked[..., 0] = ASK
    tokens[:, body:] = asked.flatten(1)
    answers = torch.zeros(rows, length, dtype=torch.bool)
    answers[:, body:] = (torch.arange(SIZE) >= 2).repeat(QUESTIONS)
    return tokens, answers


class Numbers:
    """The tokenizer of these texts: tokens are written as numbers."""

    def __call__(self, text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
        return {"input_ids": [int(word) for word in text.split()]}


def _written(tokens: Tensor) -> str:
    return " ".join(str(int(token)) for token in tokens)


def _needles(count: int, generator: torch.Generator) -> list[Needle]:
    found = []
    for _ in range(count):
        key = 2 + torch.randint(KEYS, (1,), generator=generator)
        values = FIRST_VALUE + torch.randperm(VALUES, generator=generator)[:3]
        sentence = torch.cat([torch.tensor([TELL]), key, values])
        found.append(Needle(_written(sentence), f"{ASK} {int(key)}", _written(values)))
    return found


def _train(
    lm: SequenceLM, length: int, rows: int, steps: int, rate: float, generator: torch.Generator, report: Any
) -> None:
    def loss_of(_: int) -> Tensor:
        tokens, answers = texts(rows, length, generator)
        logits, target = lm.run(tokens[:, :-1])[0], tokens[:, 1:]
        told = F.cross_entropy(logits[answers[:, 1:]], target[answers[:, 1:]])
        return told + 0.1 * F.cross_entropy(logits.flatten(0, 1), target.flatten())

    descend(lm, loss_of, steps, rate, report)
    lm.eval()


def _trained(settings: dict[str, Any], seed: int, report: Report) -> dict[str, Any]:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    layer = {"name": "attention", "heads": 8}
    lm = SequenceLM(SequenceConfig(vocab_size=VOCABULARY, width=64, layers=[layer] * 4, mlp_width=128, short_conv=3))
    steps = settings["steps"]
    _train(lm, 64, 32, steps, 3e-3, generator, lambda step: report(0.6 * step / steps, "training"))
    _train(lm, 128, 32, steps // 2, 1e-3, generator, lambda step: report(0.6 + 0.5 * step / steps, "training"))
    hay = _written(torch.randint(FIRST_FILLER, VOCABULARY, (200,), generator=generator))
    options: dict[str, Any] = {"lengths": [min(settings["lengths"])], "depths": DEPTHS, "haystack": hay}
    needles = _needles(20, generator)

    def scores() -> list[RetrievalScore]:
        return retrieval_scores(lm, Numbers(), needles=needles, new_tokens=3, **options)

    def accuracy(absent: bool = False) -> float:
        return needle_accuracy(lm, Numbers(), needles=needles, absent=absent, **options)

    before = scores()
    figures = _cut(lm, before, TOP, accuracy, generator)
    figures = {"sparse": _sparse(before), "absent": accuracy(True), **figures}
    _train(lm, 256, 16, settings["more"], 5e-4, generator, lambda step: report(0.9, "longer texts"))
    pair = torch.tensor([[row.score for row in rows] for rows in (before, scores())])
    figures["same"] = float(torch.corrcoef(pair)[0, 1])
    line = {"x": list(range(1, len(before) + 1)), "y": sorted((row.score for row in before), reverse=True)}
    return {"figures": figures, "series": {"retrieval score against rank of the head: trained here": line}}


def _sparse(rows: list[RetrievalScore]) -> float:
    return sum(row.score >= LEVEL for row in rows) / len(rows)


def _cut(
    lm: Any, rows: list[RetrievalScore], count: int, accuracy: Any, generator: torch.Generator
) -> dict[str, float]:
    """The accuracy, and how far it falls without the ``count`` highest heads, and without others."""
    ranked = sorted(rows, key=lambda row: -row.score)
    whole = accuracy()

    def without(heads: list[RetrievalScore]) -> float:
        chosen: dict[int, list[int]] = {}
        for row in heads:
            chosen.setdefault(row.layer, []).append(row.head)
        with ablate_heads(lm, chosen):
            return whole - accuracy()

    draws = []
    for _ in range(DRAWS):
        order = torch.randperm(len(rows) - count, generator=generator)[:count]
        draws.append(without([ranked[count + int(i)] for i in order]))
    return {"accuracy": whole, "dropped": without(ranked[:count]), "dropped_random": sum(draws) / DRAWS}


def _pretrained(settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    lm, tokenizer = subject(model, settings)
    generator = torch.Generator().manual_seed(seed)
    sentences = HAYSTACK.split(". ")
    order = torch.randperm(len(sentences), generator=generator).tolist()
    hay = " " + " ".join(sentences[i].strip().rstrip(".") + "." for i in order)
    rows = retrieval_scores(lm, tokenizer, lengths=settings["lengths"], depths=DEPTHS, haystack=hay)
    report(0.5, "scores")
    shortest = [min(settings["lengths"])]

    def accuracy(absent: bool = False) -> float:
        return needle_accuracy(lm, tokenizer, lengths=shortest, depths=DEPTHS, haystack=hay, absent=absent)

    found = _cut(lm, rows, max(1, round(SHARE * len(rows))), accuracy, generator)
    best = sorted(rows, key=lambda row: -row.score)[:10]
    line = {"x": list(range(1, len(rows) + 1)), "y": sorted((row.score for row in rows), reverse=True)}
    return {
        "figures": {
            "pre_sparse": _sparse(rows),
            "pre_absent": accuracy(True),
            "pre_accuracy": found["accuracy"],
            "pre_dropped": found["dropped"],
            "pre_random": found["dropped_random"],
        },
        "series": {"retrieval score against rank of the head: pretrained": line},
        "notes": [
            f"the pretrained model's heads with the highest scores (layer.head), seed {seed}: "
            + ", ".join(f"{row.layer}.{row.head} ({row.score:.2f})" for row in best)
        ],
    }
