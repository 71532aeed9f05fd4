"""Symbols that training has never seen: how many others it takes to learn a pattern, and two numbers per head that let
a network name a symbol it does not know."""

from __future__ import annotations

from typing import Any

import torch

from seqmem.models import SequenceLM
from seqmem.papers._tasks import accuracy, learner, unseen
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.base import Batch
from seqmem.tasks.templates import Templates

SYMBOLS = (16, 64, 256, 1024)
WIDTHS = (32, 128, 256)
#: arm -> the numbers that its heads have
ARMS: dict[str, dict[str, bool]] = {
    "plain": {"on_scores": False, "on_values": False},
    "values": {"on_scores": False},
    "both": {},
}
WORDS = {"plain": "attention (baseline)", "values": "with b", "both": "with a and b"}

PAPER = Paper(
    slug="template-tasks",
    uses=("seqmem.mixers.template_attention.TemplateAttention", "seqmem.tasks.templates.Templates"),
    setup="Networks of one layer (4 heads, learned positions, a plain MLP of 256) read the last symbol and answer. "
    "Same or different: width 64, 400 updates of batch 128, made of 16 to 1024 symbols. The other symbol (a b a: b, a "
    "b b: a): tied embeddings, 800 (width 32) or 500 updates of batch 64, made of 64 symbols; the two numbers per "
    "head begin at 0 and count ten times. All are tested on 64 symbols that came in no training example, beside those "
    "that did.",
    baseline="the same network without the two numbers",
    control="same or different with labels that are dealt out at random: nothing may be known of unseen symbols",
    figures=(
        *(Figure(f"same_{n}", f"same or different, unseen symbols, {n} in training", "accuracy") for n in SYMBOLS),
        Figure("same_16_both", "the same with a and b, 16 in training", "accuracy"),
        *(
            Figure(f"{arm}_{width}", f"the other symbol, unseen, width {width}, {WORDS[arm]}", "accuracy")
            for width in WIDTHS
            for arm in ARMS
        ),
        *(Figure(f"trained_{width}", f"the lowest of these at width {width} on seen symbols", "") for width in WIDTHS),
        Figure("random", "same or different, unseen symbols, random labels (control)", "accuracy"),
    ),
    rule=Rule(
        holds="same_16 <= 0.85 and same_16 <= same_64 and same_64 <= same_256 and same_256 <= same_1024 and "
        "same_1024 >= 0.9 and "
        + " and ".join(
            f"trained_{w} >= 0.99 and plain_{w} <= 0.1 and values_{w} >= 0.5 and both_{w} >= 0.85" for w in WIDTHS
        ),
        in_part="same_16 <= 0.85 and same_1024 >= 0.9 and "
        + " and ".join(
            f"trained_{w} >= 0.99 and plain_{w} <= 0.1 and mean(both_{w} - plain_{w}) >= 0.5" for w in WIDTHS
        ),
        control="abs(mean(random) - 0.5) <= 0.1",
    ),
    limits="Two of the paper's tasks, one layer, minutes of training. Embeddings of unseen symbols are as they were "
    "drawn, but for what the softmax over all symbols does to them; the paper's language models and its theory, the "
    "kernel of an infinitely wide network, are left out.",
    own_model="seqmem compare --tasks templates --mixers template_attention,attention,my_layer:MyLayer",
    parts=("same", *(f"other_{width}" for width in WIDTHS)),
    settings={
        "smoke": {"same_steps": 2, "steps": [2, 2, 2], "test": 20},
        "laptop": {"same_steps": 400, "steps": [800, 500, 500], "test": 2000},
        "full": {"same_steps": 5000, "steps": [2000, 2000, 2000], "test": 20_000},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 10},
)

UNSEEN, MLP = 64, 256


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """Same or different with more and more symbols, or the other symbol at one width."""
    if part == "same":
        return _same(settings, seed, report)
    width = int(part.removeprefix("other_"))
    steps = settings["steps"][WIDTHS.index(width)]
    task = Templates("other", symbols=64, unseen=UNSEEN)
    test = unseen(task, settings["test"], seed)
    figures: dict[str, float] = {}
    trained = []
    for n, arm in enumerate(ARMS):
        report(n / len(ARMS), f"width {width}, {WORDS[arm]}")
        lm = _network(task, 64, steps, seed, width, arm, tie=True, rate=1e-3)
        seen, figures[f"{arm}_{width}"] = _both_accuracies(lm, test)
        trained.append(seen)
    return {"figures": figures | {f"trained_{width}": min(trained)}}


def _same(settings: dict[str, Any], seed: int, report: Report) -> dict[str, Any]:
    figures: dict[str, float] = {}
    runs = [*((f"same_{n}", n, "plain") for n in SYMBOLS), ("same_16_both", 16, "both"), ("random", 256, "plain")]
    for n, (name, symbols, arm) in enumerate(runs):
        report(n / len(runs), f"same or different, {symbols} symbols")
        task = Templates("same", symbols=symbols, unseen=UNSEEN)
        options: dict[str, Any] = {"tie": False, "rate": 3e-3, "shuffled": name == "random"}
        lm = _network(task, 128, settings["same_steps"], seed, 64, arm, **options)
        figures[name] = _both_accuracies(lm, unseen(task, settings["test"], seed))[1]
    line = {"x": list(SYMBOLS), "y": [figures[f"same_{n}"] for n in SYMBOLS]}
    return {"figures": figures, "series": {"accuracy on unseen symbols against symbols of training: attention": line}}


def _network(
    task: Templates,
    batch: int,
    steps: int,
    seed: int,
    width: int,
    arm: str,
    *,
    tie: bool,
    rate: float,
    shuffled: bool = False,
) -> SequenceLM:
    def sample(generator: torch.Generator) -> Batch:
        drawn = task.sample(batch, task.length, generator)
        order = torch.randperm(batch, generator=generator)
        return drawn._replace(targets=drawn.targets[order]) if shuffled else drawn

    layer = {"name": "template_attention", "multiplier": 10.0, **ARMS[arm]}
    return learner(
        sample,
        task.vocab_size,
        [layer],
        steps,
        seed,
        width=width,
        mlp_width=MLP,
        short_conv=0,
        rate=rate,
        mlp="plain",
        positions=task.length,
        tie_embeddings=tie,
    )


def _both_accuracies(lm: SequenceLM, test: Batch) -> list[float]:
    """On symbols that training had, and on others."""
    assert test.groups is not None
    rows = [test.groups == group for group in (0, 1)]
    return [accuracy(lm, Batch(test.inputs[some], test.targets[some])) for some in rows]
