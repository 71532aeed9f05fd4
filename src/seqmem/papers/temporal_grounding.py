"""The order of events against the order of sentences: what small language models take for time, and whether two
questions that contradict each other get answers that do."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.decoding import chosen, generated
from seqmem.models import SequenceConfig, SequenceLM
from seqmem.papers._subject import PRETRAINED, TINY, subject
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.base import IGNORE, Batch
from seqmem.tasks.temporal import (
    Pairs,
    Told,
    asked_about,
    choices_about,
    order_correlation,
    ordering_prompt,
    pairwise_order,
    read_order,
    score_candidates,
    score_pairs,
)
from seqmem.tasks.temporal_order import NUMBER, SLICES, Questions, TemporalOrder, rows_of

#: part -> the share of pairs told in the order of events, and whether every question comes with its twin
ARMS = {"ordered": (1.0, False), "mixed": (0.6, False), "twins": (0.6, True)}

PAPER = Paper(
    slug="temporal-grounding",
    uses=(
        "seqmem.tasks.temporal_order.TemporalOrder",
        "seqmem.tasks.temporal.score_pairs",
        "seqmem.tasks.temporal.order_correlation",
        "seqmem.decoding.chosen",
    ),
    setup="Stories of two to five events, each sentence said to follow the one before it, to come before it, or to be "
    "at the same time; four questions about each, whether one event was before another (after it, in a quarter of "
    "them). Language models of two attention layers and width 96 learn every next word, and the answers, of 8,000 "
    "stories told in the order of events, or in that order for 60 % of the pairs. Tested on new stories of five "
    "events, in order and shuffled, with each question and its contradictory twin apart: a pair counts if both are "
    "right; it is incoherent if exactly one is. Twins: the same training with each question's twin added. A pretrained "
    "model is asked such stories in plain text, by likelihood and by generation, is asked which of several events came "
    "before another or took longer, and puts events in order.",
    baseline="whoever takes the order of sentences for that of events",
    control="questions about events that the story does not name, which nothing decides: half of the single answers "
    "must be right",
    figures=(
        *(
            Figure(f"{arm}_{name}", f"both of a pair right, {words}, {name} stories", "accuracy")
            for arm, words in (("ordered", "trained in order"), ("mixed", "trained on 60 %"), ("twins", "with twins"))
            for name in SLICES
        ),
        Figure("ordered_incoherent", "exactly one of a pair right, trained in order, shuffled stories"),
        Figure("mixed_incoherent", "the same, trained on 60 %"),
        Figure("twins_incoherent", "the same with twins"),
        Figure("heuristic_shuffled", "the order of sentences, shuffled stories (baseline)", "accuracy"),
        Figure("probe_ordered", "probe: Kendall's tau of sentences and events, stories in order"),
        Figure("probe_mixed", "the same, 60 % of the pairs"),
        Figure("absent", "events that the story does not name: single answers right (control)", "accuracy"),
        Figure("pre_ordered", "pretrained, by likelihood: both of a pair right, stories in order", "accuracy"),
        Figure("pre_shuffled", "the same, shuffled stories", "accuracy"),
        Figure("pre_incoherent", "the same: exactly one of a pair right, all stories"),
        Figure("pre_generated", "pretrained, by generation: both of a pair right, all stories", "accuracy"),
        Figure("pre_usable", "the same: pairs with a yes or no"),
        Figure("pre_strict", "pretrained, several right answers: all candidates of a question judged rightly"),
        Figure("pre_f1", "the same: F1"),
        Figure("pre_order", "pretrained, events put in order: pairs in the right order"),
    ),
    rule=Rule(
        holds="ordered_ordered >= 0.9 and ordered_ordered - ordered_shuffled >= 0.2 and "
        "mixed_shuffled < ordered_shuffled and mixed_incoherent > 0.2 and twins_incoherent <= 0.5 * mixed_incoherent",
        in_part="ordered_ordered >= 0.9 and ordered_ordered - ordered_shuffled >= 0.2 and mixed_incoherent > 0.2",
        control="abs(mean(absent) - 0.5) <= 0.05",
    ),
    limits="Stories of five short sentences in a small language. The pretrained figures are of a few dozen questions "
    "without examples in the prompt, and not part of the rule.",
    own_model="asked_about(...) gives stories and questions as text, score_pairs(...) scores any model's answers: "
    "docs/temporal-grounding.md",
    parts=(*ARMS, "pretrained"),
    takes_model=("pretrained",),
    settings={
        "smoke": {"stories": 40, "steps": 2, "test": 30, "width": 16, PRETRAINED: TINY, "asked": 2},
        "laptop": {"stories": 8000, "steps": 450, "test": 400, "width": 96, PRETRAINED: "smollm2", "asked": 12},
        "full": {"stories": 40000, "steps": 10000, "test": 4000, "width": 96, PRETRAINED: "smollm2", "asked": 100},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)

BATCH, RATE, EVENTS, LENGTH, QUESTIONS = 48, 3e-3, 5, 64, 36
AFTER = 0.25  # of the questions in training
TAUGHT = (2, 3, 4, 5)  # events of stories to learn from


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """One way of telling stories, or a pretrained model."""
    if part == "pretrained":
        return _pretrained(settings, seed, model, report)
    agreement, twins = ARMS[part]
    task, generator = TemporalOrder(), torch.Generator().manual_seed(seed)
    corpus = [
        task.told(settings["stories"] // len(TAUGHT), 5 * events + QUESTIONS, agreement, generator, AFTER)
        for events in TAUGHT
    ]
    rows = _joined([_rows(told, questions) for told, questions in corpus])
    other = _joined([_rows(told, questions.twins) for told, questions in corpus]) if twins else None
    lm = _taught(rows, other, settings, seed, report)
    times = [story for told, _ in corpus for story in told.start.tolist()]
    figures: dict[str, float] = {}
    for name, share in SLICES.items():
        test, asked = task.told(
            settings["test"], task.train_length, share, torch.Generator().manual_seed(10_000 + seed)
        )
        found = _pairs(lm, test, asked)
        figures[f"{part}_{name}"] = found.accuracy
        if name == "shuffled":
            figures[f"{part}_incoherent"] = found.incoherence
            heuristic = _sentence_order(asked)
    if part == "ordered":
        figures["heuristic_shuffled"] = heuristic.accuracy
        figures["probe_ordered"] = order_correlation(times)
    if part == "mixed":
        figures["probe_mixed"] = order_correlation(times)
        strange = test._replace(person=test.person.roll(1, 0), action=test.action.roll(1, 0))
        figures["absent"] = _pairs(lm, strange, asked, names=test).single
    return {"figures": figures}


def _joined(batches: list[Batch]) -> Batch:
    return Batch(*(torch.cat([getattr(batch, name) for batch in batches]) for name in ("inputs", "targets")))


def _rows(told: Told, questions: Questions, names: Told | None = None) -> Batch:
    """names: of the events in the questions, where they are not the story's."""
    length = TemporalOrder().train_length
    batch = rows_of(told, questions, length, torch.zeros(len(told.person)).long())
    if names is None:
        return batch
    other = rows_of(names, questions, length, torch.zeros(len(told.person)).long())
    asking = length - QUESTIONS
    return batch._replace(inputs=torch.cat([batch.inputs[:, :asking], other.inputs[:, asking:]], 1))


def _taught(rows: Batch, twins: Batch | None, settings: dict[str, Any], seed: int, report: Report) -> SequenceLM:
    """Half of a batch are the twins of its other half, where there are any."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    width, steps = settings["width"], settings["steps"]
    layers = ["attention"] * 2
    lm = SequenceLM(SequenceConfig(len(NUMBER), width, layers, mlp_width=2 * width, short_conv=4, positions=LENGTH))

    def loss_of(_: int) -> Tensor:
        chosen_rows = torch.randint(len(rows.inputs), (BATCH if twins is None else BATCH // 2,), generator=generator)
        parts = [batch for batch in (rows, twins) if batch is not None]
        inputs, targets = (
            torch.cat([getattr(batch, name)[chosen_rows] for batch in parts]) for name in ("inputs", "targets")
        )
        logits, asked = lm.run(inputs)[0], targets != IGNORE
        follows = F.pad(inputs[:, 1:], (0, 1)).masked_fill(asked, 0)  # 0: blank, or an answer
        told = F.cross_entropy(logits.flatten(0, 1), follows.flatten(), ignore_index=0)
        return told + F.cross_entropy(logits[asked], targets[asked])

    descend(lm, loss_of, steps, RATE, lambda step: report(step / steps, "stories"))
    return lm.eval()


@torch.no_grad()
def _pairs(lm: SequenceLM, told: Told, questions: Questions, names: Told | None = None) -> Pairs:
    """Yes or no, whichever is likelier."""
    said, right = [], []
    for asked in (questions, questions.twins):
        batch = _rows(told, asked, names)
        logits = torch.cat(
            [lm.run(i, asked=t != IGNORE)[0] for i, t in zip(*(b.split(64) for b in batch[:2]), strict=True)]
        )
        yes = logits[:, NUMBER["yes"]] > logits[:, NUMBER["no"]]
        said.append(["yes" if one else "no" for one in yes.tolist()])
        right.append(["yes" if one == NUMBER["yes"] else "no" for one in asked.answer.flatten().tolist()])
    return score_pairs(*said, *right)


def _sentence_order(questions: Questions) -> Pairs:
    """What is told first came first."""
    said, right = [], []
    for asked in (questions, questions.twins):
        yes = (asked.about < asked.other) != asked.after
        said.append(["yes" if one else "no" for one in yes.flatten().tolist()])
        right.append(["yes" if one == NUMBER["yes"] else "no" for one in asked.answer.flatten().tolist()])
    return score_pairs(*said, *right)


PROMPT = "{story}\nQuestion: {question} Answer yes or no.\nAnswer:"
JUDGED = "{story}\nQuestion: {question}\nIs one of them '{candidate}'? Answer yes or no.\nAnswer:"
YES_NO = (" Yes", " No")


def _pretrained(settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    lm, tokenizer = subject(model, settings)
    generator = torch.Generator().manual_seed(seed)
    count = settings["asked"]
    stories = {name: asked_about(count, EVENTS, share, generator) for name, share in SLICES.items()}
    figures: dict[str, float] = {}
    likely: list[list[str]] = [[], []]
    freely: list[list[str]] = [[], []]
    right: list[list[str]] = [[], []]
    for name, asked in stories.items():
        report(0.2, name)
        prompts = [[PROMPT.format(story=a.story, question=q) for a in asked for q in (pick(a),)] for pick in PICKS]
        gold = [[a.answer for a in asked], [a.twin_answer for a in asked]]
        said = [chosen(lm, tokenizer, each, YES_NO) for each in prompts]
        figures[f"pre_{name}"] = score_pairs(*said, *gold).accuracy
        for way in range(2):
            likely[way] += said[way]
            freely[way] += generated(lm, tokenizer, prompts[way], max_new_tokens=3)
            right[way] += gold[way]
    figures["pre_incoherent"] = score_pairs(*likely, *right).incoherence
    by_generation = score_pairs(*freely, *right)
    figures |= {"pre_generated": by_generation.accuracy, "pre_usable": by_generation.usable}

    report(0.6, "several right answers")
    several = choices_about(count, EVENTS, 0.5, generator)
    judged = []
    for one in several:
        asked_of = [JUDGED.format(story=one.story, question=one.question, candidate=c) for c in one.candidates]
        judged.append([said == "Yes" for said in chosen(lm, tokenizer, asked_of, YES_NO)])
    figures["pre_strict"], figures["pre_f1"] = score_candidates(judged, [one.right for one in several])

    report(0.8, "events put in order")
    shuffled = stories["shuffled"]
    orders = generated(lm, tokenizer, [ordering_prompt(a, generator) for a in shuffled], max_new_tokens=32, stop=())
    placed = [pairwise_order(read_order(said, a.events), a.events) for said, a in zip(orders, shuffled, strict=True)]
    figures["pre_order"] = sum(placed) / len(placed)
    return {"figures": figures}


PICKS = (lambda asked: asked.question, lambda asked: asked.twin)
