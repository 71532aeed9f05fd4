"""Retention: three forms of one layer, what a decoded token costs after a short and a long text, and text beside
attention."""

from __future__ import annotations

import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from seqmem.mixers import get_mixer
from seqmem.mixers.retention import Retention
from seqmem.papers._text import byte_model
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.bytes import Bytes

PAPER = Paper(
    slug="retnet",
    uses=("seqmem.mixers.retention.Retention",),
    setup="One layer of retention reads the same input in its parallel, its recurrent and its chunkwise form, in "
    "float64. Then a step of the layer is timed after a short and after a long text, alternately, beside attention of "
    "the same width. Last, byte models of two layers are trained on a novel for the same steps.",
    baseline="softmax attention with rotary positions, of the same width and training",
    control="the recurrent form with another head's decay: it must not agree with the parallel form",
    figures=(
        Figure("forms", "largest difference between the three forms", ""),
        Figure("other_decay", "the same with the decays exchanged (control)", ""),
        Figure("step_growth", "time of a step after the long text over that after the short, retention", ""),
        Figure("step_growth_attention", "the same, attention", ""),
        Figure("state_growth", "numbers in the state after the long text over those after the short, retention", ""),
        Figure("state_growth_attention", "the same, attention", ""),
        Figure("loss", "loss on unseen text, retention", "nats per byte"),
        Figure("loss_attention", "the same, attention", "nats per byte"),
    ),
    rule=Rule(
        holds="forms < 1e-10 and step_growth <= 1.2 and step_growth_attention > 2 and loss <= 1.05 * loss_attention",
        in_part="forms < 1e-10 and step_growth <= 1.2 and loss <= 1.05 * loss_attention",
        control="other_decay > 1e-3",
    ),
    limits="Models of under a million weights on a megabyte of text; the paper's parity with attention is about "
    "billions of weights, and its speeds are those of a GPU. Attention's step is cheap while its keys and values fit "
    "into a cache.",
    own_model="seqmem compare --mixers retention,attention,my_layer:MyLayer",
    settings={
        "smoke": {"width": 16, "steps": 3, "short": 8, "long": 32, "rounds": 3},
        "laptop": {"width": 128, "steps": 250, "short": 128, "long": 2048, "rounds": 200},
        "full": {"width": 256, "steps": 5000, "short": 128, "long": 16384, "rounds": 500},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)


def _forms(seed: int) -> tuple[float, float]:
    """Largest difference of the forms' outputs and states, and with the decays of the heads exchanged."""
    torch.manual_seed(seed)
    layer = Retention(32, heads=2).double()
    x = torch.randn(2, 64, 32, dtype=torch.float64)
    with torch.no_grad():
        parallel, state = layer(x, form="parallel")
        difference = 0.0
        for form in ("recurrent", "chunk"):
            y, after = layer(x, form=form)
            difference = max(difference, float((y - parallel).abs().max()))
            difference = max(difference, float((after.memory - state.memory).abs().max()))
        layer.forgetting = layer.forgetting.flip(0)
        exchanged, _ = layer(x, form="recurrent")
    return difference, float((exchanged - parallel).abs().max())


@torch.no_grad()
def _step_growth(name: str, settings: dict[str, Any], seed: int) -> tuple[float, float]:
    """Median ratio of a step's time, and ratio of the state's size, after the long text over after the short."""
    torch.manual_seed(seed)
    layer: nn.Module = get_mixer(name)(settings["width"])
    x = torch.randn(1, settings["long"], settings["width"])
    states = [layer(x[:, : settings[length]])[1] for length in ("short", "long")]
    token, ratios = x[:, :1], []
    for _ in range(settings["rounds"]):
        seconds = []
        for state in states:
            begin = time.perf_counter()
            layer(token, state)
            seconds.append(time.perf_counter() - begin)
        ratios.append(seconds[1] / seconds[0])
    sizes = [sum(part.numel() for part in state) for state in states]
    return float(torch.tensor(ratios).median()), sizes[1] / sizes[0]


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """The forms, the steps, and a pair of trained models."""
    figures: dict[str, float] = {}
    figures["forms"], figures["other_decay"] = _forms(seed)
    generator = torch.Generator().manual_seed(seed)
    test = Bytes().sample(64, 256, generator, split="test")
    for n, (name, suffix) in enumerate((("retention", ""), ("attention", "_attention"))):
        growth = _step_growth(name, settings, seed)
        figures[f"step_growth{suffix}"], figures[f"state_growth{suffix}"] = growth
        steps = settings["steps"]

        def tell(step: int, n: int = n, name: str = name) -> None:
            report((n + step / settings["steps"]) / 2, name)

        lm = byte_model([name] * 2, settings["width"], steps, seed, rate=3e-3, report=tell)
        with torch.no_grad():
            logits, _ = lm.run(test.inputs)
        figures[f"loss{suffix}"] = float(F.cross_entropy(logits.flatten(0, 1), test.targets.flatten()))
    return {"figures": figures}
