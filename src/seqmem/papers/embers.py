"""A small character model that has read text and cipher examples: is it right more often where the answer is likely,
and where the cipher is frequent?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from seqmem.papers._tasks import learner, of_task
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.embers import Embers
from seqmem.tasks.string_tasks import LEVELS, Answered, CharNGram, Item, ask, by_bin, effects, matched, short, solver
from seqmem.tasks.string_tasks.material import LIKELY, text
from seqmem.tasks.text import Draws

#: from the commonest to rare ones; the last but one is the paper's rare twin of rot-13
SHIFTS = ("13", "1", "3", "12", "24")

PAPER = Paper(
    slug="embers",
    uses=(
        "seqmem.tasks.embers.Embers",
        "seqmem.tasks.string_tasks.items.matched",
        "seqmem.tasks.string_tasks.ask.ask",
        "seqmem.tasks.string_tasks.effects.effects",
        "seqmem.tasks.string_tasks.reference.CharNGram",
    ),
    setup="Attention of three layers and width 64 over bytes, 800 updates of 32 rows of 64 bytes. Half are sentences "
    "of a probabilistic grammar, half shift ciphers with their decoding, 60 % of these rot-13, the others by Zipf's "
    "law. It is asked 600 ciphers: five shifts, 40 sentences each as they are, with two words exchanged, and with "
    "all words shuffled, the same letters. Exact matches of its own greedy words. A 5-gram model of the sentences "
    "says how likely an answer and a cipher are; logistic regression on both, and on the log of the shift's share in "
    "training.",
    baseline="shuffled answers, and the rare shift 12",
    control="a rule-based solver, once as it is, once with every letter wrong with probability 0.03: no gap between "
    "likely and unlikely answers, and no effect",
    figures=(
        *(Figure(level, f"right where the answer is {words}", "exact") for level, words in (
            ("high", "a sentence"), ("medium", "one with two words exchanged"), ("low", "its words in any order"))),
        *(Figure(f"rot_{by}", f"right with shift {by}, all answers", "exact") for by in SHIFTS),
        *(Figure(f"rot_{by}_high", f"right with shift {by}, sentences", "exact") for by in SHIFTS),
        Figure("distance_high", "mean edit distance, sentences", "characters"),
        Figure("distance_low", "mean edit distance, words in any order", "characters"),
        Figure("output_effect", "log-odds for a standard deviation of log p(answer)", ""),
        Figure("output_p", "p of this coefficient", ""),
        Figure("input_effect", "log-odds for a standard deviation of log p(cipher)", ""),
        Figure("task_effect", "log-odds for a unit of the log of the shift's share", ""),
        Figure("task_p", "p of this coefficient", ""),
        Figure("rule_gap", "sentences minus words in any order, rule-based solver (control)", "exact"),
        Figure("slips_gap", "the same with slips (control)", "exact"),
        Figure("slips_p", "p of log p(answer), solver with slips (control)", ""),
    ),
    rule=Rule(
        holds="mean(high - low) >= 0.1 and mean(rot_13 - rot_12) >= 0.2 and worst(output_effect) > 0 and "
        "best(output_p) < 0.01",
        in_part="mean(high - low) >= 0.1 and mean(rot_13 - rot_12) >= 0.2",
        control="worst(rule_gap) == 0 and best(rule_gap) == 0 and abs(mean(slips_gap)) <= 0.1 and "
        "mean(slips_p) >= 0.01",
    ),
    limits="One of the eleven kinds. Examples in training all have likely answers, so that to this network words in "
    "any order are new; what the paper's models had read is not known. A minute of training at small width; rare "
    "shifts have been met in some hundred examples.",
    own_model="seqmem.tasks.string_tasks: battery(), then ask() any function or language model, effects(); "
    "docs/string-tasks.md",
    settings={
        "smoke": {"steps": 2, "width": 16, "sentences": 2},
        "laptop": {"steps": 800, "width": 64, "sentences": 40},
        "full": {"steps": 20_000, "width": 128, "sentences": 200},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)  # fmt: skip

LENGTH, BATCH, LAYERS, LINES, SLIP = 64, 32, 3, 5000, 0.03


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """One network, asked; and the solver."""
    task, steps = Embers("shift", length=LENGTH), settings["steps"]
    lm = learner(
        of_task(task, BATCH),
        task.vocab_size,
        ["attention"] * LAYERS,
        steps,
        seed,
        width=settings["width"],
        short_conv=0,
        report=lambda step: report(0.9 * step / steps, "training"),
    )
    items = _items(settings["sentences"], seed)
    answered = ask(lm, items, prompt=short, report=lambda done: report(0.9 + 0.1 * done / len(items), "asking"))
    share = dict(zip(task.variants, task.shares.tolist(), strict=True))

    def frequency(item: Item) -> float:
        return math.log(share[item.variant])

    found = {one.name: one for one in effects(answered, frequency)}
    output, given, common = (found[name] for name in ("log p(output)", "log p(input)", "task frequency"))
    figures: dict[str, float] = {level: _right(answered, level=level) for level in LEVELS}
    figures |= {f"rot_{by}": _right(answered, variant=by) for by in SHIFTS}
    figures |= {f"rot_{by}_high": _right(answered, variant=by, level="high") for by in SHIFTS}
    for level in ("high", "low"):
        distances = [one.distance for one in answered if one.item.level == level]
        figures[f"distance_{level}"] = sum(distances) / len(distances)
    figures |= {"output_effect": output.coefficient, "output_p": output.p, "input_effect": given.coefficient}
    figures |= {"task_effect": common.coefficient, "task_p": common.p}
    bins = by_bin(answered, bins=min(10, len(answered)))
    line = {"x": [(one.low + one.high) / 2 for one in bins], "y": [one.right for one in bins]}
    return {
        "figures": figures | _controls(items, seed),
        "series": {"share right against log p(answer): network": line},
    }


def _items(count: int, seed: int) -> list[Item]:
    """``count`` sentences that fit for each shift, with their exchanged and shuffled twins."""
    generator = torch.Generator().manual_seed(10_000 + seed)
    draws = Draws(generator)
    reference = CharNGram("\n".join(text(LIKELY, draws) for _ in range(LINES)))
    items: list[Item] = []
    for by in SHIFTS:
        sentences: dict[str, None] = {}
        while len(sentences) < count:
            sentence = text(LIKELY, draws)
            if 12 <= len(sentence) <= (LENGTH - 5) // 2:  # number, colon, sign, line break beside two texts
                sentences[sentence] = None
        items += matched("shift", by, list(sentences), generator, reference=reference)
    return items


def _controls(items: Sequence[Item], seed: int) -> dict[str, float]:
    """The solver, and the solver with slips."""
    draws = Draws(torch.Generator().manual_seed(20_000 + seed))

    def slipping(prompt: str) -> str:
        return "".join("#" if draws.uniform() < SLIP else letter for letter in solver(prompt))

    rule, slips = ask(solver, items), ask(slipping, items)
    effect = next(one for one in effects(slips) if one.name == "log p(output)")
    return {
        "rule_gap": _right(rule, level="high") - _right(rule, level="low"),
        "slips_gap": _right(slips, level="high") - _right(slips, level="low"),
        "slips_p": effect.p,
    }


def _right(answered: Sequence[Answered], level: str | None = None, variant: str | None = None) -> float:
    """The share that is right, of a level or a shift or both."""
    some = [one.right for one in answered if level in (None, one.item.level) and variant in (None, one.item.variant)]
    return sum(some) / len(some)
