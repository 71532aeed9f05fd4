"""Following links in the context: how many layers so many hops need, what easier questions are good for, and in which
order the heads that do it appear."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqmem.interp import attention_of
from seqmem.models import SequenceLM
from seqmem.papers._tasks import accuracy, learner, of_task
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.hops import Hops

#: part -> layers, the most hops, and whether all hops up to them are asked in training
PARTS = {
    "one": (1, 2, True),
    "three": (3, 2, True),
    "curriculum": (4, 4, True),
    "alone": (4, 4, False),
}
KINDS = ("previous", "first", "second")

PAPER = Paper(
    slug="retrieval-problem-depth",
    uses=("seqmem.tasks.hops.Hops", "seqmem.interp.attention_of"),
    setup="Two chains of four links (10 symbols) are read in random order, then 16 questions for the symbol so many "
    "links on. Attention of width 64 (4 heads, rotary positions, with MLPs) learns from all of them, batch 32: one "
    "layer and three on one and two hops, four layers on one to four hops, and on four hops alone. Every fortieth of "
    "the training the attention is looked at: of a link's second symbol to its first, of a question to the symbol one "
    "link on, to that two links on; a kind of head has emerged when one gives it more than half.",
    baseline="one layer; and training without the easier questions",
    control="the answers to other questions: none may be known",
    figures=(
        Figure("one", "two hops, one layer (baseline)", "accuracy"),
        Figure("one_easy", "one hop, the same", "accuracy"),
        Figure("three", "two hops, three layers", "accuracy"),
        Figure("three_easy", "one hop, the same", "accuracy"),
        Figure("curriculum", "four hops, four layers, trained on one to four", "accuracy"),
        Figure("alone", "the same, trained on four alone (baseline)", "accuracy"),
        *(
            Figure(f"step_{kind}", f"step at which a head of kind {kind} has emerged (the last: never)")
            for kind in KINDS
        ),
        Figure("ordered", "whether they emerge in this order", "share"),
        Figure("exchanged", "two hops, three layers, answers to other questions (control)", "accuracy"),
    ),
    rule=Rule(
        holds="one <= 0.5 and three >= 0.9 and mean(curriculum - alone) >= 0.3 and mean(ordered) >= 0.8",
        in_part="one <= 0.5 and three >= 0.9",
        control="best(exchanged) <= 0.2",
    ),
    limits="A twentieth of the examples that the full budget trains on: what is not learned here may be learned there. "
    "Two and four hops, small vocabularies, every question answered at once; the bound itself, the fewest layers for "
    "so many hops, is not searched for. Pretrained models, which the paper asks too, are left out.",
    own_model="seqmem compare --tasks hops --mixers attention,my_layer:MyLayer",
    parts=tuple(PARTS),
    settings={
        "smoke": {"steps": 2, "batch": 4, "test": 4},
        "laptop": {"steps": 1500, "batch": 32, "test": 200},
        "full": {"steps": 8000, "batch": 128, "test": 2000},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)

CHAINS, LINKS, QUESTIONS, WIDTH, RATE, LOOKS = 2, 4, 16, 64, 2e-3, 40


def _task(*hops: int) -> Hops:
    length = 2 * (CHAINS * LINKS + QUESTIONS)
    return Hops(hops, CHAINS, LINKS, length=length, test_lengths=(length,))


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """One network; that of three layers is watched while it learns."""
    layers, most, easier = PARTS[part]
    steps, task = settings["steps"], _task(*(range(1, most + 1) if easier else (most,)))
    grown: list[SequenceLM] = []
    scores: dict[int, list[float]] = {}
    look = _questions(torch.Generator().manual_seed(20_000 + seed), 16)

    def watch(step: int) -> None:
        report(step / steps, part)
        if part == "three" and step % max(1, steps // LOOKS) == 0:
            scores[step] = _strongest(grown[0], *look)

    lm = learner(
        of_task(task, settings["batch"]),
        task.vocab_size,
        ["attention"] * layers,
        steps,
        seed,
        width=WIDTH,
        short_conv=0,
        rate=RATE,
        report=watch,
        prepare=grown.append,
    )
    figures = {part: accuracy(lm, _asked(task, most, settings, seed))}
    if most == 2:
        figures[f"{part}_easy"] = accuracy(lm, _asked(task, 1, settings, seed))
    if part != "three":
        return {"figures": figures}
    test = _asked(task, 2, settings, seed)
    figures["exchanged"] = accuracy(lm, test._replace(targets=test.targets.roll(1, 0)))
    emerged = [next((step for step, found in scores.items() if found[n] > 0.5), steps) for n in range(len(KINDS))]
    figures |= {f"step_{kind}": float(step) for kind, step in zip(KINDS, emerged, strict=True)}
    figures["ordered"] = float(emerged[0] < emerged[1] < emerged[2] < steps)
    series = {
        f"attention of the strongest head against step: {kind}": {
            "x": list(scores),
            "y": [s[n] for s in scores.values()],
        }
        for n, kind in enumerate(KINDS)
    }
    return {"figures": figures, "series": series}


def _asked(task: Hops, hops: int, settings: dict[str, Any], seed: int) -> Any:
    """Test examples that ask for so many hops only, in the tokens of ``task``."""
    ones = _task(hops)
    batch = ones.sample(settings["test"], ones.length, torch.Generator().manual_seed(10_000 + seed), split="test")
    assert ones.vocabulary == task.vocabulary
    return batch


def _questions(generator: torch.Generator, rows: int) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Inputs that ask for two hops, and for each kind of head (from, to), positions (batch, place)."""
    task = _task(2)
    inputs = task.sample(rows, task.length, generator, split="test").inputs
    first, second = inputs[:, : task.context : 2], inputs[:, 1 : task.context : 2]  # (batch, link)
    begins = torch.arange(0, task.context, 2).expand(rows, -1)
    asks = torch.arange(task.context + 1, task.length, 2).expand(rows, -1)
    looks, symbol = [(begins + 1, begins)], inputs.gather(1, asks)
    for _ in range(2):
        link = (first[:, None] == symbol[..., None]).long().argmax(2)  # the one that begins with the symbol
        looks.append((asks, 2 * link + 1))
        symbol = second.gather(1, link)
    return inputs, looks


@torch.no_grad()
def _strongest(lm: SequenceLM, inputs: Tensor, looks: list[tuple[Tensor, Tensor]]) -> list[float]:
    """The mean weight that the strongest head of any layer gives, for each kind."""
    weights = torch.cat(list(attention_of(lm, inputs).values()), 1).movedim(1, 0)  # (head of any layer, batch, t, j)
    row = torch.arange(len(inputs))[:, None]
    return [float(weights[:, row, at, to].mean((1, 2)).max()) for at, to in looks]
