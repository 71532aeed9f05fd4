"""Spurious forgetting on synthetic biographies: a small attention model learns facts about people in turns; what it
loses of the first turn is measured, and how much of that comes back by itself."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.continual import EWC, frozen_bottom, spurious_share
from seqmem.models import SequenceConfig, SequenceLM
from seqmem.papers.paper import Figure, Paper, Report, Rule

PAPER = Paper(
    slug="spurious-forgetting",
    uses=("seqmem.continual.frozen_bottom", "seqmem.continual.spurious_share", "seqmem.continual.EWC"),
    setup="People have a name of two tokens and attributes with one of 24 values each. An attention model of 4 layers "
    "is trained on biographies and questions until it answers all; then it learns the questions of 60 new people "
    "(task 0), then those of 60 others (task 1). Then it is taught half of task 0 again, and asked the other half.",
    baseline="plain fine-tuning on task 1 (all weights free)",
    control="teaching the half of task 0 with its answers exchanged: nothing of the other half may come back",
    figures=(
        Figure("learned", "task 0 just after learning it", "accuracy"),
        Figure("seq", "task 0 after task 1, all weights free (baseline)", "accuracy"),
        Figure("seq_early", "task 0 after the first eighth of task 1's steps", "accuracy"),
        Figure("freeze", "task 0 after task 1, embeddings and 3 of 4 blocks frozen from below", "accuracy"),
        Figure("freeze_new", "task 1 at the end, frozen from below", "accuracy"),
        Figure("top", "task 0 after task 1, 3 of 4 blocks frozen from above instead", "accuracy"),
        Figure("ewc", "task 0 after task 1, elastic weight consolidation", "accuracy"),
        Figure("ewc_new", "task 1 at the end, elastic weight consolidation", "accuracy"),
        Figure("other_half", "the other half of task 0 after task 1", "accuracy"),
        Figure("recovered", "the same after teaching one half again", "accuracy"),
        Figure("spurious", "share of the loss that comes back by itself", ""),
        Figure("spurious_null", "the same with exchanged answers (control)", ""),
    ),
    rule=Rule(
        holds="seq <= 0.7 and freeze >= seq + 0.15 and freeze_new >= 0.99 and low(spurious) > 0.5",
        in_part="seq <= 0.7 and freeze >= seq + 0.15 and freeze_new >= 0.99",
        control="spurious_null < 0.2 and learned >= 0.95",
    ),
    limits="A few hundred people instead of 100,000, and 4 attributes instead of 6. With so few facts the new ones "
    "overwrite the old more than they hide them, so that the share that comes back is a lower bound for larger models.",
    own_model="with frozen_bottom(model, blocks): fine-tune as usual; any Hugging Face causal LM or SequenceLM",
    settings={
        "smoke": {"people": 20, "new": 6, "width": 16, "pretrain": 5, "steps": 8},
        "laptop": {"people": 300, "new": 60, "width": 128, "pretrain": 600, "steps": 160},
        "full": {"people": 4000, "new": 400, "width": 192, "pretrain": 6000, "steps": 400},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)

ATTRIBUTES, VALUES, FIRST, LAST = 4, 24, 40, 120
QUESTION, BIOGRAPHY = 0, 1
NAMES = 2
ASKED = NAMES + FIRST + LAST  # the attributes' tokens begin here, their values' after them
ANSWERS = ASKED + ATTRIBUTES
BLOCKS, FROZEN, RATE = 4, 3, 5e-4

Facts = tuple[Tensor, Tensor]  # names (people, 2), values (people, attributes), both as tokens


def _people(count: int, generator: torch.Generator) -> Facts:
    """People with different names and random attributes."""
    pair = torch.randperm(FIRST * LAST, generator=generator)[:count]
    names = torch.stack([NAMES + pair // LAST, NAMES + FIRST + pair % LAST], 1)
    values = torch.randint(VALUES, (count, ATTRIBUTES), generator=generator)
    return names, ANSWERS + torch.arange(ATTRIBUTES) * VALUES + values


def _questions(facts: Facts) -> tuple[Tensor, Tensor]:
    """Every question once: (questions, 4) "question, name, name, attribute" and (questions,) answers."""
    names, values = facts
    count = len(names)
    who = names.repeat_interleave(ATTRIBUTES, 0)
    what = (ASKED + torch.arange(ATTRIBUTES)).repeat(count)
    return torch.cat([torch.full((len(who), 1), QUESTION), who, what[:, None]], 1), values.flatten()


def _biographies(facts: Facts, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sentences that name the attributes in random order, and targets: every value is to be predicted."""
    names, values = (x[rows] for x in facts)
    order = torch.rand(len(rows), ATTRIBUTES, generator=generator).argsort(1)
    pairs = torch.stack([ASKED + order, values.gather(1, order)], 2).flatten(1)  # attribute, value, attribute, ...
    x = torch.cat([torch.full((len(rows), 1), BIOGRAPHY), names, pairs], 1)
    targets = torch.full_like(x, -100)
    targets[:, 3::2] = x[:, 4::2]
    return x[:, :-1], targets[:, :-1]


def _accuracy(model: SequenceLM, questions: tuple[Tensor, Tensor]) -> float:
    with torch.no_grad():
        return float((model(questions[0]).logits[:, -1].argmax(-1) == questions[1]).float().mean())


def _teach(
    model: SequenceLM,
    questions: tuple[Tensor, Tensor],
    steps: int,
    generator: torch.Generator,
    springs: EWC | None = None,
) -> None:
    """``steps`` of AdamW on batches of 64 questions."""
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], RATE, weight_decay=0.0)
    x, y = questions
    for _ in range(steps):
        rows = torch.randint(len(x), (64,), generator=generator)
        loss = F.cross_entropy(model(x[rows]).logits[:, -1], y[rows])
        if springs is not None:
            loss = loss + springs.penalty()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def _pretrain(model: SequenceLM, facts: Facts, steps: int, generator: torch.Generator, report: Report) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), 2 * RATE, weight_decay=0.0)
    x, y = _questions(facts)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 2 * RATE * min(1.0, (step + 1) / 50, (steps - step) / (steps / 4))
        rows = torch.randint(len(x), (96,), generator=generator)
        loss = F.cross_entropy(model(x[rows]).logits[:, -1], y[rows])
        told, targets = _biographies(facts, torch.randint(len(facts[0]), (32,), generator=generator), generator)
        loss = loss + F.cross_entropy(model(told).logits.flatten(0, 1), targets.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 20 == 0:
            report(0.4 * step / steps, "biographies")


def _continued(
    model: SequenceLM,
    questions: tuple[Tensor, Tensor],
    steps: int,
    seed: int,
    springs_of: tuple[Tensor, Tensor] | None = None,
) -> SequenceLM:
    """A copy of the model after task 1. ``springs_of``: the questions that EWC shall keep."""
    later = copy.deepcopy(model)
    springs = None
    if springs_of is not None:
        x, y = springs_of
        targets = torch.full_like(x, -100)
        targets[:, -1] = y
        springs = EWC(later, 1e4, kind="sampled")
        springs.after_task(x, targets, generator=torch.Generator().manual_seed(seed), vectorise=False)
    _teach(later, questions, steps, torch.Generator().manual_seed(seed), springs)
    return later


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """One model, and its continuations in several ways."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    count, new, steps = settings["people"], settings["new"], settings["steps"]
    names, values = _people(count + 2 * new, generator)
    lm = SequenceLM(
        SequenceConfig(vocab_size=ANSWERS + ATTRIBUTES * VALUES, width=settings["width"], layers=["attention"] * BLOCKS)
    )
    _pretrain(lm, (names[:count], values[:count]), settings["pretrain"], generator, report)
    first = _questions((names[count : count + new], values[count : count + new]))
    second = _questions((names[count + new :], values[count + new :]))
    _teach(lm, first, steps, generator)
    figures = {"learned": _accuracy(lm, first)}

    report(0.5, "task 1, free")
    early = _continued(lm, second, steps // 8, seed)
    free = _continued(lm, second, steps, seed)
    figures |= {"seq_early": _accuracy(early, first), "seq": _accuracy(free, first)}
    report(0.6, "task 1, frozen from below")
    with frozen_bottom(lm, FROZEN):
        frozen = _continued(lm, second, steps, seed)
    figures |= {"freeze": _accuracy(frozen, first), "freeze_new": _accuracy(frozen, second)}
    report(0.7, "task 1, frozen from above")
    for block in lm.layers[-FROZEN:]:
        block.requires_grad_(False)
    figures["top"] = _accuracy(_continued(lm, second, steps, seed), first)
    lm.requires_grad_(True)
    report(0.8, "task 1, elastic weight consolidation")
    held = _continued(lm, second, steps, seed, springs_of=first)
    figures |= {"ewc": _accuracy(held, first), "ewc_new": _accuracy(held, second)}

    report(0.9, "one half again")
    half = torch.randperm(new, generator=generator)[: new // 2]
    is_half = torch.zeros(new, dtype=torch.bool).index_fill(0, half, True).repeat_interleave(ATTRIBUTES)
    again, other = tuple(x[is_half] for x in first), tuple(x[~is_half] for x in first)
    exchanged = again[1].view(-1, ATTRIBUTES).roll(1, 0).flatten()  # another person's answers
    before = _accuracy(free, other)  # type: ignore[arg-type]
    for name, answers in (("spurious", again[1]), ("spurious_null", exchanged)):
        back = _continued(free, (again[0], answers), max(1, steps // 4), seed + 1)
        recovered = _accuracy(back, other)  # type: ignore[arg-type]
        figures[name] = spurious_share(_accuracy(lm, other), before, recovered)  # type: ignore[arg-type]
        if name == "spurious":
            figures |= {"other_half": before, "recovered": recovered}
    return {"figures": figures}
