"""Tree or line: what sentences beside the questions make of a rule that the questions leave open."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqmem.models import SequenceLM
from seqmem.papers._tasks import accuracy, learner, of_task
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.base import IGNORE
from seqmem.tasks.tree_or_line import Contest, Shares, TreeOrLine, regime, shares, total_variation

#: part -> the share of centre-embedded sentences among those with a clause that are said again
PARTS = {"center": 1.0, "mixed": 0.5, "right": 0.0}
WORDS = {"center": "centre-embedded", "mixed": "even mixture", "right": "right-branching"}


def _sd(name: str) -> str:
    """The spread over seeds, in the language of rules."""
    return f"abs(mean({name} ** 2) - mean({name}) ** 2) ** 0.5"


PAPER = Paper(
    slug="tree-or-line",
    uses=(
        "seqmem.tasks.tree_or_line.TreeOrLine",
        "seqmem.tasks.tree_or_line.shares",
        "seqmem.tasks.tree_or_line.total_variation",
    ),
    setup="Attention of two layers and width 64 reads sentences that are said again or turned into questions, half of "
    "each, 31 words, all of the string being trained: 1500 updates of 8 strings. Questions never say which auxiliary "
    "moves, the main clause's or the first. All sentences that are said again have a clause: in the subject, at the "
    "object, or half of each. Every 100 updates 300 questions about sentences with a clause in the subject are asked, "
    "whose two auxiliaries differ: is the first word that of the tree?",
    baseline="right-branching sentences",
    control="the answers to other questions: told by those, centre-embedded and right-branching data must not differ",
    figures=(
        *(Figure(part, f"tree's answers at the end, {words}", "share") for part, words in WORDS.items()),
        *(Figure(f"{part}_line", f"line's answers at the end, {words}", "share") for part, words in WORDS.items()),
        *(
            Figure(f"{part}_moves", f"total variation of the tree's share, {words}", "")
            for part, words in WORDS.items()
        ),
        *(Figure(f"{part}_trained", f"questions as in training, {words}", "accuracy") for part, words in WORDS.items()),
        *(
            Figure(f"{part}_exchanged", f"the tree's answers to other questions, {words} (control)", "share")
            for part, words in WORDS.items()
        ),
    ),
    rule=Rule(
        holds=f"mean(center - right) >= 0.3 and {_sd('mixed')} >= 1.5 * ({_sd('center')} + {_sd('right')}) / 2 and "
        "mean(mixed_moves - center_moves) >= 0 and mean(mixed_moves - right_moves) >= 0 and "
        "worst(center_trained) >= 0.95 and worst(right_trained) >= 0.95 and worst(mixed_trained) >= 0.95",
        in_part="mean(center - right) >= 0.3 and worst(center_trained) >= 0.95 and worst(right_trained) >= 0.95",
        control="abs(mean(center_exchanged - right_exchanged)) <= 0.1",
    ),
    limits="1,500 updates of two layers, where the paper has up to 300,000 of six, and sees the tree's rule emerge "
    "long after the questions of training are right. Of its two tasks only the questions; the task has the other, kind "
    "tense, and the number of clauses (types).",
    own_model="seqmem compare --tasks tree_or_line --mixers attention,my_layer:MyLayer, with center: in a study file",
    parts=tuple(PARTS),
    settings={
        "smoke": {"steps": 2, "width": 8, "every": 1, "test": 20},
        "laptop": {"steps": 1500, "width": 64, "every": 100, "test": 300},
        "full": {"steps": 300_000, "width": 512, "every": 1000, "test": 1000},
    },
    seeds={"smoke": 2, "laptop": 6, "full": 30},
)

BATCH, LAYERS, RATE = 8, 2, 1e-3


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """One network; the contest at every checkpoint."""
    steps, every = settings["steps"], settings["every"]
    task = TreeOrLine(center=PARTS[part], embedded=1.0)
    contest = task.contest(settings["test"], task.train_length, torch.Generator().manual_seed(10_000 + seed))
    network: list[SequenceLM] = []
    curve: list[float] = []

    def step_done(step: int) -> None:
        report(step / steps, WORDS[part])
        if (step + 1) % every == 0:
            curve.append(_asked(network[0], contest)[0])

    lm = learner(
        of_task(task, BATCH),
        task.vocab_size,
        ["attention"] * LAYERS,
        steps,
        seed,
        width=settings["width"],
        short_conv=0,
        rate=RATE,
        report=step_done,
        prepare=network.append,
    )
    tree, line, _ = _asked(lm, contest)
    validation = task.sample(settings["test"], task.train_length, torch.Generator().manual_seed(seed + 20_000),
                             split="validation")  # fmt: skip
    figures = {
        part: tree,
        f"{part}_line": line,
        f"{part}_moves": total_variation(curve),
        f"{part}_trained": accuracy(lm, validation),
        f"{part}_exchanged": _asked(lm, contest._replace(tree=_exchanged(contest)))[0],
    }
    x = [float(every * (n + 1)) for n in range(len(curve))]
    return {
        "figures": figures,
        "series": {f"tree's share of answers against updates: {WORDS[part]}": {"x": x, "y": curve}},
        "notes": [f"{WORDS[part]}, seed {seed}: ends with the rule of {regime(tree)}"],
    }


@torch.no_grad()
def _asked(lm: SequenceLM, contest: Contest) -> Shares:
    return shares(lambda ids: lm.run(ids)[0], contest)


def _exchanged(contest: Contest) -> Tensor:
    """Where the tree's answers are asked, those to other questions."""
    rows, at = (contest.tree != IGNORE).nonzero(as_tuple=True)
    exchanged = contest.tree.clone()
    exchanged[rows, at] = contest.tree[rows, at].roll(1)
    return exchanged
