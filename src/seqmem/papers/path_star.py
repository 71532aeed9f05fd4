"""The trap of teacher forcing: small models learn to say the path through a star forwards, backwards, and without the
teacher's words."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.models import SequenceConfig, SequenceLM
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.base import Batch
from seqmem.tasks.path_star import PathStar, own_answers

#: part -> the options that make the task
MODES: dict[str, dict[str, Any]] = {
    "standard": {},
    "reversed": {"order": "backward"},
    "teacherless": {"teacher": False},
}

PAPER = Paper(
    slug="path-star",
    uses=("seqmem.tasks.path_star.PathStar", "seqmem.tasks.path_star.own_answers"),
    setup="Graphs of two arms, each of four nodes with the centre, drawn from 20 labels; the edges are read in random "
    "order, then centre and goal, and the path is said. A model of 3 layers of attention (width 64, each after a "
    "convolution over two positions) is trained on fresh graphs to say the next node of the true path; another to say "
    "the path backwards; a third, for longer, with a dummy token in place of the true path so far. "
    "On new graphs each is judged step by step after the true path, and on the whole path after its own words.",
    baseline="a guess of the arm: half of the first steps, half of the paths",
    control="the goal exchanged with the end of the other arm, for the model trained backwards: the path to the old "
    "goal must then be found from nothing else",
    figures=(
        Figure("first", "step after the centre, trained forwards, after the true path", "accuracy"),
        Figure("later", "the worst of the later steps, the same", "accuracy"),
        Figure("standard", "whole paths, trained forwards, after its own words", ""),
        Figure("reversed", "whole paths, trained backwards", ""),
        Figure("teacherless", "whole paths, trained without the true path", ""),
        Figure("teacherless_first", "step after the centre, the same", "accuracy"),
        Figure("exchanged", "trained backwards: paths to the goal that has been exchanged (control)", ""),
        Figure("exchanged_other", "the same: paths to the new goal", ""),
    ),
    rule=Rule(
        holds="worst(first) >= 0.40 and best(first) <= 0.60 and worst(later) >= 0.95 and worst(reversed) >= 0.95",
        in_part="worst(first) >= 0.40 and best(first) <= 0.60 and worst(later) >= 0.95",
        control="best(exchanged) <= 0.1",
    ),
    limits="Two arms and one length, minutes of training: that the choice of the arm is not learned in 300 steps does "
    "not show that it never is. The failure here has the form that the paper explains: every step that can be copied "
    "is right, and the one that cannot is a guess. Training without the true path has no threshold: it may or may not "
    "leave its plateau in its steps. Positions are relative and a short convolution stands before each layer, so that "
    "the edges are read early; with learned positions alone the plateau before that is longer. Mamba and pretrained "
    "models, which the paper has too, are left out.",
    own_model="own_answers(lambda ids: model(ids).logits, PathStar().sample(...)), after training as usual",
    parts=tuple(MODES),
    settings={
        "smoke": {"steps": 3, "teacherless_steps": 3, "batch": 8, "test": 20},
        "laptop": {"steps": 300, "teacherless_steps": 500, "batch": 64, "test": 2000},
        "full": {"steps": 20000, "teacherless_steps": 60000, "batch": 256, "test": 20000},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)

LENGTH, ARM, WIDTH, RATE = 24, 4, 64, 3e-3


def _task(mode: str) -> PathStar:
    return PathStar(length=LENGTH, nodes=20, test_lengths=(LENGTH,), **MODES[mode])


def _other_goal(batch: Batch) -> Batch:
    """The same graphs, asked backwards from the end of the other arm, and the answers."""
    inputs, targets = batch.inputs.clone(), batch.targets.clone()
    tails, heads = (inputs[:, start : LENGTH - ARM - 2 : 3] for start in (0, 1))  # (batch, edge)
    ends = (heads[:, :, None] != tails[:, None]).all(2)  # no edge goes on from there
    node = heads[ends & (heads != inputs[:, -ARM - 1, None])]  # (batch,)
    inputs[:, -ARM - 1] = node
    for step in range(ARM):
        targets[:, step - ARM] = node
        if step < ARM - 1:
            node = tails[heads == node[:, None]]
    return batch._replace(inputs=inputs, targets=targets)


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """One model, trained in one way."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    task = _task(part)
    steps = settings["teacherless_steps" if part == "teacherless" else "steps"]
    lm = SequenceLM(SequenceConfig(task.vocab_size, WIDTH, layers=["attention"] * 3, short_conv=2))
    test = task.sample(settings["test"], LENGTH, torch.Generator().manual_seed(10_000 + seed), split="test")
    few = Batch(*(x[:200] for x in test if x is not None))
    seen: dict[int, float] = {}

    def logits_of(inputs: Tensor) -> Tensor:
        return lm.run(inputs)[0]

    @torch.no_grad()
    def whole(batch: Batch) -> float:
        return float((own_answers(logits_of, batch) == batch.targets).all(1).float().mean())

    def loss_of(step: int) -> Tensor:
        if step % max(1, steps // 16) == 0:
            seen[step] = whole(few)
            report(step / steps, f"{seen[step]:.0%} of the paths")
        batch = task.sample(settings["batch"], LENGTH, generator)
        return F.cross_entropy(logits_of(batch.inputs)[:, -ARM:].flatten(0, 1), batch.targets[:, -ARM:].flatten())

    descend(lm, loss_of, steps, RATE)
    lm.eval()
    seen[steps] = whole(few)
    with torch.no_grad():
        taught = (logits_of(test.inputs).argmax(-1) == test.targets)[:, -ARM:].float().mean(0).tolist()
    figures = {part: whole(test)}
    if part == "standard":
        figures |= {"first": taught[1], "later": min(taught[2:])}
    if part == "teacherless":
        figures["teacherless_first"] = taught[1]
    if part == "reversed":
        other = _other_goal(test)
        with torch.no_grad():
            said = own_answers(logits_of, other)
        figures["exchanged"] = float((said == test.targets).all(1).float().mean())
        figures["exchanged_other"] = float((said == other.targets).all(1).float().mean())
    line = {"x": list(seen), "y": list(seen.values())}
    return {"figures": figures, "series": {f"whole paths against steps of training: {part}": line}}
