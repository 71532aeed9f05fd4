"""Following links in the context: how many layers so many hops need, what easier questions are good for, and in which
order the heads that do it appear."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.interp import attention_of
from seqmem.models import SequenceConfig, SequenceLM
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.base import IGNORE
from seqmem.tasks.hops import Asked, Hops

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
    setup="Two chains of seven links (16 symbols) are read in random order, then every symbol once, and asked for the "
    "symbol so many links on, at all numbers of hops at once (a readout for each). Attention without MLPs, width 64, "
    "4 heads, positions learned from zero, in the first layer rotary ones too, learns in 1,200 steps of 32: one layer "
    "and three on one and two hops, four layers on one to four, and, on the same texts, on four alone. Every second "
    "step the attention is looked at: of a link's second symbol to its first, of a question to the symbol one link on, "
    "to that two links on (in its link, or at an earlier question about the symbol between); a kind of head has "
    "emerged when one gives it more than half.",
    baseline="one layer; and training without the easier questions",
    control="the answers to other questions: none may be known",
    figures=(
        Figure("one", "two hops, one layer (baseline)", "accuracy"),
        Figure("one_easy", "one hop, the same", "accuracy"),
        Figure("three", "two hops, three layers", "accuracy"),
        Figure("three_easy", "one hop, the same", "accuracy"),
        Figure("curriculum", "four hops, four layers, trained on one to four", "accuracy"),
        Figure("curriculum_three", "three hops, the same", "accuracy"),
        Figure("alone", "four hops, the same trained on four alone (baseline)", "accuracy"),
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
    limits="Two and four hops, 16 symbols, four of a chain's eight left as ends of four hops; the bound itself, the "
    "fewest layers for so many hops, is not searched for. A question is asked for all hops at once, which makes what "
    "serves one hop serve two: with a section of the text for each, three layers learned one hop alone. The layout, "
    "the number of heads, the learning rate, rotary positions in the first layer alone and learned ones that begin at "
    "zero were chosen in trials on other seeds for how soon one hop is learned; the first layer is thereby the likely "
    "place of the previous-token head. A question sees earlier questions only, so that four layers need not reach four "
    "hops in all of them. Pretrained models, which the paper asks too, are left out.",
    own_model="seqmem compare --tasks hops --mixers attention,my_layer:MyLayer",
    parts=tuple(PARTS),
    settings={
        "smoke": {"steps": 2, "batch": 4, "test": 4},
        "laptop": {"steps": 1200, "batch": 32, "test": 200},
        "full": {"steps": 8000, "batch": 128, "test": 2000},
    },
    seeds={"smoke": 1, "laptop": 5, "full": 5},
)

CHAINS, LINKS, WIDTH, HEADS, RATE = 2, 7, 64, 4, 4e-3
#: radians per position of a head's channels, in the first layer: fast enough to tell neighbours apart
TURNS = (2.0, 1.3, 0.9, 0.6, 0.4, 0.27, 0.18, 0.1)
LOOK, POINT = 2, 20  # steps between two looks, and between two that are plotted


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """One network; that of three layers is watched while it learns."""
    layers, most, easier = PARTS[part]
    steps, task = settings["steps"], Hops(tuple(range(1, most + 1)), CHAINS, LINKS)
    generator = torch.Generator().manual_seed(seed)
    lm = _network(task, layers, seed)
    scores: dict[int, list[float]] = {}
    seen = task.ask_all(16, torch.Generator().manual_seed(20_000 + seed))
    kinds = looks(task, seen)

    def loss_of(_: int) -> Tensor:
        asked = task.ask_all(settings["batch"], generator)
        taught = slice(None) if easier else slice(most - 1, None)
        logits, answers = _answered(lm, task, asked.inputs)[:, :, taught], asked.answers[:, :, taught]
        return F.cross_entropy(logits.flatten(0, 2), answers.flatten(), ignore_index=IGNORE)

    def watch(step: int) -> None:
        report(step / steps, part)
        if part == "three" and step % LOOK == 0:
            scores[step] = strongest(lm, seen.inputs, kinds)

    descend(lm, loss_of, steps, RATE, watch)
    lm.eval()
    test = task.ask_all(settings["test"], torch.Generator().manual_seed(10_000 + seed))
    right = _accuracies(lm, task, test.inputs, test.answers)
    figures = {part: right[-1]}
    if most == 2:
        figures[f"{part}_easy"] = right[0]
    if part == "curriculum":
        figures["curriculum_three"] = right[2]
    if part != "three":
        return {"figures": figures}
    figures["exchanged"] = _accuracies(lm, task, test.inputs, test.answers.roll(1, 0))[-1]
    emerged = [next((step for step, found in scores.items() if found[n] > 0.5), steps) for n in range(len(KINDS))]
    figures |= {f"step_{kind}": float(step) for kind, step in zip(KINDS, emerged, strict=True)}
    figures["ordered"] = float(emerged[0] < emerged[1] < emerged[2] < steps)
    series = {
        f"attention of the strongest head against step: {kind}": {
            "x": list(scores)[:: POINT // LOOK],
            "y": [found[n] for found in scores.values()][:: POINT // LOOK],
        }
        for n, kind in enumerate(KINDS)
    }
    return {"figures": figures, "series": series}


def _network(task: Hops, layers: int, seed: int) -> SequenceLM:
    """A token of its own for every pair of symbol and hops: the answers; of the inputs, the first are the symbols."""
    torch.manual_seed(seed)
    plain: dict[str, Any] = {"name": "attention", "heads": HEADS, "bias": True, "rope_base": None}
    lm = SequenceLM(
        SequenceConfig(
            task.vocabulary * len(task.hops),
            WIDTH,
            [plain | {"frequencies": TURNS}] + [plain] * (layers - 1),
            mlp_width=0,
            positions=task.context + task.vocabulary,
            tie_embeddings=False,
        )
    )
    if lm.embed_positions is not None:
        torch.nn.init.zeros_(lm.embed_positions.weight)
    return lm


def _answered(lm: SequenceLM, task: Hops, inputs: Tensor) -> Tensor:
    """Logits (batch, question, hops, symbol)."""
    asked = (torch.arange(inputs.shape[1]) >= task.context).expand_as(inputs)
    return lm.run(inputs, asked=asked)[0].view(len(inputs), -1, len(task.hops), task.vocabulary)


@torch.no_grad()
def _accuracies(lm: SequenceLM, task: Hops, inputs: Tensor, answers: Tensor) -> list[float]:
    """For each number of hops, the share of what can be answered that is right."""
    said = torch.cat([_answered(lm, task, some).argmax(-1) for some in inputs.split(64)])
    right, can = (said == answers).sum((0, 1)), (answers != IGNORE).sum((0, 1))
    return (right / can).tolist()


def looks(task: Hops, asked: Asked) -> list[Tensor]:
    """For each kind of head what it looks at, (batch, time, time) bool: True where position t should look at j."""
    inputs, answers = asked
    place = torch.arange(inputs.shape[1])
    ends = (place % 2 == 1) & (place < task.context)  # where a link ends
    previous = (ends[:, None] & (place == place[:, None] - 1)).expand(len(inputs), -1, -1)
    begun = inputs.roll(1, 1).masked_fill(~ends, -1)  # the symbol that this link begins with
    question = place >= task.context
    first = question[:, None] & (begun[:, None] == inputs[..., None])
    one, two = (F.pad(answer, (task.context, 0), value=IGNORE) for answer in answers[..., :2].unbind(2))
    earlier = question & (place < place[:, None])
    second = (begun[:, None] == one[..., None]) | (earlier & (inputs[:, None] == one[..., None]))
    return [previous, first, second & (two != IGNORE)[..., None]]


@torch.no_grad()
def strongest(lm: SequenceLM, inputs: Tensor, kinds: list[Tensor]) -> list[float]:
    """The mean weight that the strongest head of any layer gives, for each kind."""
    weights = torch.cat(list(attention_of(lm, inputs).values()), 1).movedim(1, 0)  # (head of any layer, batch, t, j)
    return [float((weights * kind).sum(-1)[:, kind.any(-1)].mean(1).max()) for kind in kinds]
