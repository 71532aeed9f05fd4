"""SCAN: networks that translate commands like those of training, and those that ask for composition."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.models.aligned_seq2seq import AlignedSeq2Seq
from seqmem.models.alignment import Alignment
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.base import IGNORE
from seqmem.tasks.scan import BLANK, TOKENS, Scan, commands, divided, interpret, pairs

#: part -> what its test commands are
WORDS = {
    "simple": "commands like those of training",
    "length": "commands of more than 22 actions",
    "add_jump": "commands with jump",
    "add_turn_left": "commands with turn left",
}
SHORT = {"simple": "simple", "length": "length", "add_jump": "jump", "add_turn_left": "turn_left"}

PAPER = Paper(
    slug="scan",
    uses=(
        "seqmem.tasks.scan.Scan",
        "seqmem.tasks.scan.interpret",
        "seqmem.models.aligned_seq2seq.AlignedSeq2Seq",
        "seqmem.models.alignment.Alignment",
    ),
    setup="All commands are counted, and the published divisions of them. Encoder and decoder, GRUs of width 128 with "
    "attention, are trained for 3000 updates of batch 64 on the training commands of each division, and translate "
    "1000 commands of its training and 1000 of its test greedily; an answer counts when every action is right.",
    baseline="the simple division, whose test commands are like those of training",
    control="the actions of other commands, simple division: none may be said",
    figures=(
        Figure("commands", "different commands"),
        Figure("length_train", "of them with up to 22 actions"),
        Figure("length_test", "with more"),
        Figure("jump_test", "composed with jump"),
        Figure("turn_left_test", "composed with turn left"),
        *(Figure(SHORT[part], f"translated: {words}", "exact") for part, words in WORDS.items()),
        *(Figure(f"{SHORT[part]}_trained", "the same, commands of training", "exact") for part in WORDS),
        Figure("exchanged", "simple division, the actions of other commands (control)", "exact"),
    ),
    rule=Rule(
        holds="commands == 20910 and length_train == 16990 and length_test == 3920 and jump_test == 7706 and "
        "turn_left_test == 1208 and simple >= 0.95 and length <= 0.25 and jump <= 0.1 and turn_left >= 0.5 and "
        "mean(turn_left - jump) >= 0.4",
        in_part="commands == 20910 and simple >= 0.95 and length <= 0.25 and jump <= 0.1",
        control="best(exchanged) <= 0.02",
    ),
    limits="One network of the paper's many, smaller than its best, and a fraction of its training. The simple "
    "division is drawn anew. Of the divisions by template (around right and the like) and by percentage the task has "
    "all, the check none.",
    own_model="seqmem compare --tasks scan --mixers gru,my_layer:MyLayer, with division: in a study file",
    parts=("domain", *WORDS),
    settings={
        "smoke": {"updates": 2, "width": 8, "test": 20},
        "laptop": {"updates": 3000, "width": 128, "test": 1000},
        "full": {"updates": 20_000, "width": 200, "test": 4000},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
    exact=("domain",),
)

BATCH, RATE, BUCKET = 64, 3e-3, 8  # so many batches are drawn at once and sorted by length


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """The domain counted, or one division learned."""
    if part == "domain":
        return {"figures": _counts()}
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    task, name, updates = Scan(part), SHORT[part], settings["updates"]
    network = AlignedSeq2Seq(len(TOKENS), settings["width"], alignment=Alignment(settings["width"], "scaled_dot"))
    waiting: list[Tensor] = []

    def loss_of(step: int) -> Tensor:
        report(step / updates, WORDS[part])
        if not waiting:
            waiting.extend(_batches(task, generator))
        words, mask, actions = _padded(waiting.pop())
        logits = network(words, actions.clamp_min(0), mask)
        return F.cross_entropy(logits.flatten(0, 1), actions.flatten(), ignore_index=IGNORE)

    descend(network, loss_of, updates, RATE)
    network.eval()
    draw = torch.Generator().manual_seed(10_000 + seed)
    trained, test = (task.draw(settings["test"], draw, split=split) for split in ("validation", "test"))
    right = _right(network, test)
    figures = {name: float(right.double().mean()), f"{name}_trained": float(_right(network, trained).double().mean())}
    if part == "simple":
        figures["exchanged"] = float(_right(network, test, test.roll(1)).double().mean())
    size = (pairs().actions[test] != IGNORE).sum(1) - 1
    lengths = sorted({int(n) // 4 * 4 + 2 for n in size})  # bins of four
    line = [float(right[size // 4 * 4 + 2 == n].double().mean()) for n in lengths]
    return {"figures": figures, "series": {f"right against number of actions: {name}": {"x": lengths, "y": line}}}


def _counts() -> dict[str, float]:
    """Of the commands, and of those that are tested."""
    sizes = {command: len(interpret(command)) for command in commands()}
    return {
        "commands": len(sizes),
        "length_train": sum(size <= 22 for size in sizes.values()),
        "length_test": len(divided("length").test),
        "jump_test": len(divided("add_jump").test),
        "turn_left_test": len(divided("add_turn_left").test),
    }


def _batches(task: Scan, generator: torch.Generator) -> list[Tensor]:
    """Training batches in a random order, each of commands with similarly many actions."""
    drawn = task.draw(BUCKET * BATCH, generator)
    size = (pairs().actions[drawn] != IGNORE).sum(1)
    batches = drawn[size.argsort(stable=True)].split(BATCH)
    return [batches[n] for n in torch.randperm(BUCKET, generator=generator).tolist()]


def _padded(chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Words, where they are no padding, and actions, no longer than the longest is."""
    words, actions = (part[chosen] for part in pairs())
    words = words[:, : int((words != BLANK).sum(1).max())]
    return words, words != BLANK, actions[:, : int((actions != IGNORE).sum(1).max())]


@torch.no_grad()
def _right(network: AlignedSeq2Seq, chosen: Tensor, wanted: Tensor | None = None) -> Tensor:
    """(commands,) bool: whether all actions and the end are said. Greedy own words are right where every action is
    after the right ones, so that one call does."""
    found = []
    for some, answers in zip(chosen.split(200), (chosen if wanted is None else wanted).split(200), strict=True):
        words, mask, _ = _padded(some)
        actions = pairs().actions[answers]
        said = network(words, actions.clamp_min(0), mask).argmax(-1)
        found.append(((said == actions) | (actions == IGNORE)).all(1))
    return torch.cat(found)
