"""A memory whose slots attend to each other: what they do without attention, and two tasks that compare memories."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.mixers.lstm import LSTM
from seqmem.mixers.relational_memory_core import RelationalMemoryCore, RelationalMemoryCoreState
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.nth_farthest import Vectors, sample_most_similar, sample_nth_farthest

VECTORS, SIZE, WIDTH, BATCH, RATE = 4, 2, 64, 128, 2e-3

PAPER = Paper(
    slug="relational-memory-core",
    uses=(
        "seqmem.mixers.relational_memory_core.RelationalMemoryCore",
        "seqmem.tasks.nth_farthest.sample_nth_farthest",
        "seqmem.tasks.nth_farthest.sample_most_similar",
    ),
    setup="A slot of an untrained memory (4 slots, 2 heads of 16) is changed before a step, once with the values of "
    "its attention set to zero and once as it is. Then networks of one such layer are trained to say which of 4 "
    "labelled vectors of size 2 is the n-th farthest from one of them, and which of 4 vectors is nearest to a fifth.",
    baseline="an LSTM with as many weights, in the same network and training",
    control="the memory as it is: the other slots must change. Tests with another question than the answer belongs to: "
    "accuracy must be near chance, 0.25; for the most similar, where one in the middle is near to many, far lower",
    figures=(
        Figure("without", "largest change of the other slots, attention off"),
        Figure("with_attention", "the same, attention on (control)"),
        Figure("farthest", "n-th farthest, relational memory", "accuracy"),
        Figure("farthest_lstm", "the same, LSTM (baseline)", "accuracy"),
        Figure("farthest_other", "the same, relational memory, another question (control)", "accuracy"),
        Figure("similar", "most similar, relational memory", "accuracy"),
        Figure("similar_lstm", "the same, LSTM (baseline)", "accuracy"),
        Figure("similar_other", "the same, relational memory, another question (control)", "accuracy"),
        Figure("weights", "weights of the LSTM over those of the relational memory"),
    ),
    rule=Rule(
        holds="without == 0 and farthest > 0.5 and farthest - farthest_lstm >= 0.05 and similar >= similar_lstm",
        in_part="without == 0 and low(farthest - farthest_lstm) > 0",
        control="with_attention > 1e-6 and farthest_other <= 0.35 and similar_other <= similar - 0.2",
    ),
    limits="Four vectors of two numbers instead of eight of sixteen, minutes of training of small networks instead of "
    "days; no differentiable neural computer, no programs, language or agents. Who answers with the vector itself when "
    "the last is asked for, and else guesses among the three others, is right in half of the cases: a plateau that "
    "neither network had left in earlier runs of up to 8,000 updates (batches of 64 to 1,024, rates of 1e-3 and 2e-3). "
    "The paper's networks are trained on far more examples.",
    own_model="seqmem compare --mixers relational_memory_core,lstm,my_layer:MyLayer",
    parts=("slots", "farthest", "similar"),
    settings={
        "smoke": {"updates": 2, "similar_updates": 2, "test": 40},
        "laptop": {"updates": 10_000, "similar_updates": 800, "test": 4000},
        "full": {"updates": 300_000, "similar_updates": 20_000, "test": 20_000},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)

SAMPLES: dict[str, Callable[..., Vectors]] = {
    "farthest": functools.partial(sample_nth_farthest, vectors=VECTORS, size=SIZE),
    "similar": functools.partial(sample_most_similar, vectors=VECTORS, size=SIZE),
}


class Network(nn.Module):
    """(batch, time, features) -> (batch, VECTORS): one recurrent layer, whose last output is read by an MLP."""

    def __init__(self, features: int, layer: nn.Module) -> None:
        super().__init__()
        self.inputs = nn.Linear(features, WIDTH)
        self.layer = layer
        self.head = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, VECTORS))

    def forward(self, inputs: Tensor) -> Tensor:
        y, _ = self.layer(self.inputs(inputs))
        return self.head(y[:, -1])


def _size(layer: nn.Module) -> int:
    return sum(p.numel() for p in layer.parameters())


def _relational() -> nn.Module:
    return RelationalMemoryCore(WIDTH, slots=4, heads=2, head=16)


def _lstm() -> nn.Module:
    """Of the hidden size whose number of weights is nearest."""
    wanted = _size(_relational())
    return LSTM(WIDTH, hidden=min(range(8, 129), key=lambda hidden: abs(_size(LSTM(WIDTH, hidden=hidden)) - wanted)))


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """The slots, or both networks trained on one task."""
    if part == "slots":
        return {"figures": _slots(seed)}
    sample = SAMPLES[part]
    updates = settings["updates" if part == "farthest" else "similar_updates"]
    figures: dict[str, float] = {}
    for n, (make, suffix) in enumerate(((_relational, ""), (_lstm, "_lstm"))):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        network = Network(sample(1, generator).inputs.shape[2], make())

        def loss_of(
            step: int, n: int = n, network: nn.Module = network, generator: torch.Generator = generator
        ) -> Tensor:
            if step % 50 == 0:
                report((n + step / updates) / 2, part)
            drawn = sample(BATCH, generator)
            return F.cross_entropy(network(drawn.inputs), drawn.answer)

        descend(network, loss_of, updates, RATE)
        unseen = torch.Generator().manual_seed(10_000 + seed)
        figures[part + suffix] = _accuracy(network, sample(settings["test"], unseen))
        if not suffix:
            figures[f"{part}_other"] = _accuracy(network, sample(settings["test"], unseen, ask=False))
    if part == "farthest":
        figures["weights"] = _size(_lstm()) / _size(_relational())
    return {"figures": figures}


@torch.no_grad()
def _accuracy(network: nn.Module, test: Vectors) -> float:
    return float((network(test.inputs).argmax(-1) == test.answer).float().mean())


@torch.no_grad()
def _slots(seed: int) -> dict[str, float]:
    """How much a change of the first slot changes the others, one step later."""
    torch.manual_seed(seed)
    layer = RelationalMemoryCore(16, slots=4, heads=2, head=16).double()
    x = torch.randn(3, 1, 16, dtype=torch.float64)
    memory = torch.randn(3, 4, 32, dtype=torch.float64)
    other = memory.clone()
    other[:, 0] += 1

    def change() -> float:
        one, two = (layer(x, RelationalMemoryCoreState(m))[1].memory[:, 1:] for m in (memory, other))
        return float((one - two).abs().max())

    with_attention = change()
    layer.query_key_value.weight[64:] = 0  # W_v
    return {"without": change(), "with_attention": with_attention}
