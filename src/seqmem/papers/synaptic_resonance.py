"""A plastic matrix beside windowed attention: facts that are said again from beyond the window, with its writing
switched off, constant, or stronger where a token resonates with its context."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.mixers.state import state_bytes
from seqmem.models import SequenceConfig, SequenceLM, build
from seqmem.papers._recall import look_back_evenly
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks import _draw

WINDOW, WIDTH, LAYERS, BATCH, RATE = 32, 64, 2, 16, 4e-3
BOUND = 128.0  # of the matrix: writes of about a quarter, at the slowest decay
KEYS, VALUES, FILLERS, FOLLOWERS, FACTS = 8, 8, 16, 4, 6
FIRST_VALUE, FIRST_FILLER = KEYS, KEYS + VALUES
SLOTS, GAP = 8, 64  # of two tokens, where facts are said and said again; tokens between

PAPER = Paper(
    slug="synaptic-resonance",
    uses=("seqmem.mixers.synaptic_resonance.SynapticResonance",),
    setup="Language models of two layers, width 64, with attention to the last 32 tokens and a convolution over two, "
    "learn documents of 96 tokens: a chain of filler in which six facts, a key and its value, are said within the "
    "first 16 tokens and, in another order, within the last 16, at least 65 later, where no layer sees the first. The "
    "loss on values that are said again counts as much as that on all other tokens; it is compared with the plastic "
    "matrix, with one that is written to at a constant rate, and without.",
    baseline="the rate at zero: windowed attention alone",
    control="documents whose facts are drawn anew when they are said again: the matrix must not help there",
    figures=(
        Figure("far", "loss on values said again, resonance", "nats"),
        Figure("far_constant", "the same, constant relevance (ablation)", "nats"),
        Figure("far_off", "the same, rate at zero (baseline)", "nats"),
        Figure("other", "loss on all other tokens, resonance", "nats"),
        Figure("other_constant", "the same, constant relevance", "nats"),
        Figure("other_off", "the same, rate at zero", "nats"),
        Figure("unstated", "loss on values that were not said before, resonance (control)", "nats"),
        Figure("unstated_off", "the same, rate at zero (control)", "nats"),
        Figure("chance", "loss of guessing a value", "nats"),
        Figure("weights", "trained numbers, resonance over windowed attention"),
        Figure("state", "bytes of the state, resonance over windowed attention"),
    ),
    rule=Rule(
        holds="mean(far_off - far) >= 0.1 and abs(mean(other / other_off) - 1) <= 0.01 and "
        "mean(far_constant - far) > 0.02",
        in_part="mean(far_off - far) >= 0.1 and abs(mean(other / other_off) - 1) <= 0.01",
        control="mean(unstated_off - unstated) < 0.02",
    ),
    limits="One reading of a paper that leaves its equations open, in small models on synthetic documents; no "
    "coherence, no noise on the input. In trials of 400 to 1000 updates (bounds of 8 to 1000, two rates, two sizes of "
    "documents) the matrix with constant relevance was never learned to be read: a loss at chance says nothing about "
    "relevance. Where it holds in part, relevance gains no more than 0.02 nats over a constant: "
    "the idea is then no more than decaying fast weights.",
    own_model="seqmem compare --tasks mqar --mixers synaptic_resonance,local_attention,my_layer:MyLayer",
    parts=("resonance", "constant", "off"),
    settings={
        "smoke": {"steps": 2, "test": 8},
        "laptop": {"steps": 1000, "test": 512},
        "full": {"steps": 20_000, "test": 4096},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)

OPTIONS: dict[str, dict[str, Any]] = {
    "resonance": {},
    "constant": {"relevance": "constant"},
    "off": {"plastic": False},
}
SUFFIX = {"resonance": "", "constant": "_constant", "off": "_off"}


class Documents(NamedTuple):
    """tokens: (batch, time). again: (batch, time) bool, the values of facts that are said again."""

    tokens: Tensor
    again: Tensor


def documents(count: int, generator: torch.Generator, *, stated: bool = True) -> Documents:
    """``count`` documents. stated=False: what is said again are other values than before."""
    time = 4 * SLOTS + GAP
    tokens = FIRST_FILLER + _chain(count, time, generator)
    keys = _draw.shuffled(_draw.subsets(count, FACTS, KEYS, generator), generator)
    values = torch.randint(VALUES, (count, FACTS), generator=generator)
    first = _draw.subsets(count, FACTS, SLOTS, generator)
    second = _draw.shuffled(_draw.subsets(count, FACTS, SLOTS, generator), generator)
    anew = torch.randint(VALUES, (count, FACTS), generator=generator)
    at = 2 * second + 2 * SLOTS + GAP
    for place, said in ((2 * first, values), (at, values if stated else anew)):
        tokens.scatter_(1, place, keys).scatter_(1, place + 1, FIRST_VALUE + said)
    return Documents(tokens, torch.zeros_like(tokens, dtype=torch.bool).scatter_(1, at + 1, True))


def _chain(count: int, time: int, generator: torch.Generator) -> Tensor:
    """(count, time): each is one of the four that may follow the one before, the same four in every document."""
    follows = torch.rand(FILLERS, FILLERS, generator=torch.Generator().manual_seed(0)).argsort(1)[:, :FOLLOWERS]
    drawn = torch.randint(FOLLOWERS, (count, time), generator=generator)
    token = torch.randint(FILLERS, (count,), generator=generator)
    chain = []
    for step in drawn.T:
        token = follows[token, step]
        chain.append(token)
    return torch.stack(chain, 1)


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """One kind of writing."""
    layer = {"name": "synaptic_resonance", "window": WINDOW, "bound": BOUND, **OPTIONS[part]}
    lm = build(SequenceConfig(FIRST_FILLER + FILLERS, WIDTH, layers=[layer] * LAYERS, short_conv=2), seed)
    look_back_evenly(lm)
    generator, steps = torch.Generator().manual_seed(seed), settings["steps"]

    def loss_of(_: int) -> Tensor:
        drawn = documents(BATCH, generator)
        loss, again = _losses(lm, drawn.tokens), drawn.again[:, 1:]
        return loss[~again].mean() + loss[again].mean()

    descend(lm, loss_of, steps, RATE, lambda step: report(step / steps, part))
    lm.eval()
    unseen = torch.Generator().manual_seed(10_000 + seed)
    suffix, test = SUFFIX[part], documents(settings["test"], unseen)
    with torch.no_grad():
        loss, again = _losses(lm, test.tokens), test.again[:, 1:]
        figures = {f"far{suffix}": float(loss[again].mean()), f"other{suffix}": float(loss[~again].mean())}
        if part != "constant":
            test = documents(settings["test"], unseen, stated=False)
            figures[f"unstated{suffix}"] = float(_losses(lm, test.tokens)[test.again[:, 1:]].mean())
    if part == "off":
        figures["chance"] = math.log(VALUES)
    if part == "resonance":
        local = [{"name": "local_attention", "heads": 2, "window": WINDOW}] * LAYERS
        without = build(SequenceConfig(lm.config.vocab_size, WIDTH, layers=local, short_conv=2), seed)
        figures["weights"] = _trained(lm) / _trained(without)
        figures["state"] = _kept(lm) / _kept(without)
    return {"figures": figures}


def _losses(lm: SequenceLM, tokens: Tensor) -> Tensor:
    """(batch, time - 1) of all tokens but the first."""
    return F.cross_entropy(lm.run(tokens[:, :-1])[0].transpose(1, 2), tokens[:, 1:], reduction="none")


def _trained(lm: SequenceLM) -> int:
    return sum(p.numel() for p in lm.parameters() if p.requires_grad)


@torch.no_grad()
def _kept(lm: SequenceLM) -> int:
    """Bytes after a window's tokens."""
    return state_bytes(lm.run(torch.zeros(1, 2 * WINDOW, dtype=torch.long))[1])
