"""Four perspectives of a trained RWKV-4: as one at the beginning, and what training them alone gains on a novel."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.mixers.state import state_bytes
from seqmem.models import SequenceConfig, SequenceLM, build, perspective_parameters, with_perspectives
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.base import Batch
from seqmem.tasks.bytes import Bytes

VIEWS, LAYERS, LENGTH, BATCH = 4, 4, 128, 16
PRETRAINING_RATE, RATE = 4e-3, 3e-2

PAPER = Paper(
    slug="temporal-perspectives",
    uses=("seqmem.models.with_perspectives", "seqmem.mixers.rwkv4.RWKV4", "seqmem.mixers.rwkv_channel_mix"),
    setup="An RWKV-4 of four blocks learns the bytes of a novel. Copies of it are trained further for the same steps "
    "on the same windows with nearly everything frozen: in four perspectives, with their mixing vectors and the "
    "weights that combine them; in one, with its mixing vectors; and in one, with these and an adapter of low rank "
    "before the head that has as many numbers as the perspectives add. Loss is on the same unseen windows of 256 "
    "bytes.",
    baseline="one perspective, whose mixing vectors are trained",
    control="a mixing vector of one of the four is changed before any training: the logits must change. The trained "
    "combination over four copies of the first mixing vectors: the loss must be that of before",
    figures=(
        Figure("exact", "largest difference of logits, four perspectives and one, before training"),
        Figure("moved", "the same with one mixing vector of one perspective changed by 0.1 (control)"),
        Figure("before", "loss of the pre-trained model", "nats per byte"),
        Figure("four", "loss, four perspectives trained", "nats per byte"),
        Figure("one", "loss, one perspective trained (baseline)", "nats per byte"),
        Figure("adapter", "loss, one perspective and an adapter of as many numbers", "nats per byte"),
        Figure("copies", "change of loss by the trained combination of four equal perspectives (control)", "nats"),
        Figure("added", "numbers that four perspectives add, of the model's"),
        Figure("state", "bytes of the state, four perspectives over one"),
        Figure("state_growth", "bytes of the state after 256 positions over those after 64, four perspectives"),
    ),
    rule=Rule(
        holds="worst(exact) <= 1e-5 and mean(one - four) >= 0.005 and state == 4 and state_growth == 1",
        in_part="worst(exact) <= 1e-5 and low(one - four) > 0 and state == 4 and state_growth == 1",
        control="best(moved) > 1e-3 and abs(mean(copies)) <= 1e-4",
    ),
    limits="A hundred thousand weights and minutes of training on one novel, where the paper fine-tunes models of 169 "
    "million and more and tests them on benchmarks; here the perspectives are not 0.04 % of the weights but some per "
    "cent. The adapter is no part of the claim: it says what as many numbers gain elsewhere. RMSNorm instead of "
    "LayerNorm before the blocks, and the library's embedding. Four perspectives cost four times the time of one, in "
    "training and in reading.",
    own_model="from seqmem.models import SequenceLM, with_perspectives; with_perspectives(SequenceLM.from_hf(rwkv), 4)",
    settings={
        "smoke": {"width": 16, "pretraining": 2, "steps": 2, "test": 2},
        "laptop": {"width": 64, "pretraining": 400, "steps": 300, "test": 64},
        "full": {"width": 512, "pretraining": 50_000, "steps": 5000, "test": 500},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)


class Adapter(nn.Module):
    """x + B A x with B = 0 at first."""

    def __init__(self, width: int, numbers: int) -> None:
        super().__init__()
        rank = round(numbers / (2 * width))
        self.down, self.up = nn.Linear(width, rank, bias=False), nn.Linear(rank, width, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(self.down(x))


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """A pre-trained model, and its three continuations."""
    layers = [
        {"name": kind, "layer": n, "depth": LAYERS} for n in range(LAYERS) for kind in ("rwkv4", "rwkv_channel_mix")
    ]
    lm = build(SequenceConfig(256, settings["width"], layers=layers, mlp_width=0), seed)
    total = settings["pretraining"] + 3 * settings["steps"]
    _train(lm, settings["pretraining"], PRETRAINING_RATE, seed, lambda step: report(step / total, "pre-training"))
    test = Bytes().sample(settings["test"], 256, torch.Generator().manual_seed(10_000 + seed), split="test")

    four = with_perspectives(lm, VIEWS, seed=seed)
    figures = _at_first(lm, four, test.inputs[:16])
    figures["before"] = _loss(lm, test)
    added = _size(four) - _size(lm)
    figures["added"] = added / _size(lm)
    one, adapted = copy.deepcopy(lm), copy.deepcopy(lm)
    torch.manual_seed(seed)
    adapter = Adapter(settings["width"], added)
    arms: tuple[tuple[str, SequenceLM], ...] = (("four", four), ("one", one), ("adapter", adapted))
    for n, (name, arm) in enumerate(arms):

        def tell(step: int, n: int = n, name: str = name) -> None:
            report((settings["pretraining"] + n * settings["steps"] + step) / total, name)

        for weight in arm.parameters():
            weight.requires_grad_(False)
        for weight in perspective_parameters(arm):
            weight.requires_grad_(True)
        if arm is adapted:
            arm.norm = nn.Sequential(arm.norm, adapter)
        _train(arm, settings["steps"], RATE, 1000 + seed, tell)
        figures[name] = _loss(arm, test)
    figures["copies"] = _copied(four, lm, test) - figures["before"]
    return {"figures": figures}


def _size(lm: SequenceLM) -> int:
    return sum(p.numel() for p in lm.parameters())


def _train(lm: SequenceLM, steps: int, rate: float, seed: int, tell: Any) -> None:
    text, generator = Bytes(), torch.Generator().manual_seed(seed)

    def loss_of(_: int) -> Tensor:
        drawn = text.sample(BATCH, LENGTH, generator)
        return F.cross_entropy(lm.run(drawn.inputs)[0].flatten(0, 1), drawn.targets.flatten())

    descend(lm, loss_of, steps, rate, tell)


@torch.no_grad()
def _loss(lm: SequenceLM, test: Batch) -> float:
    return float(F.cross_entropy(lm.run(test.inputs)[0].flatten(0, 1), test.targets.flatten()))


@torch.no_grad()
def _at_first(lm: SequenceLM, four: SequenceLM, ids: Tensor) -> dict[str, float]:
    """Logits and states before anything was trained further."""
    expected, single = lm.run(ids)
    logits, states = four.run(ids)
    other = copy.deepcopy(four)
    next(perspective_parameters(other))[0, 0] += 0.1
    return {
        "exact": float((logits - expected).abs().max()),
        "moved": float((other.run(ids)[0] - expected).abs().max()),
        "state": state_bytes(states) / state_bytes(single),
        "state_growth": state_bytes(states) / state_bytes(four.run(ids[:, :64])[1]),
    }


@torch.no_grad()
def _copied(four: SequenceLM, lm: SequenceLM, test: Batch) -> float:
    """The loss of trained perspectives whose mixing vectors are the first ones again."""
    copies = copy.deepcopy(four)
    for mu, first in zip(perspective_parameters(copies), perspective_parameters(lm), strict=False):  # not W_c
        mu.copy_(first.expand_as(mu))
    return _loss(copies, test)
