"""Scaling laws of an outer-product memory: fitted exponents of the error against width, and of the unseen mass against
samples, beside those that theory gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from seqmem.papers.paper import Figure, Paper, Rule
from seqmem.theory.associative_memory import (
    AssocMemory,
    fit_exponent,
    room,
    thresholded,
    train_memory,
    unseen_mass,
    zipf,
)

PAPER = Paper(
    slug="assoc-memory-scaling",
    uses=("seqmem.theory.AssocMemory", "seqmem.theory.fit_exponent"),
    setup=(
        "Inputs with Zipf frequencies (exponent 2), each with one of five answers, are stored in a sum of outer "
        "products of random embeddings. The error is measured for growing widths under three ways to store: in "
        "proportion to frequency, only the d / log d most frequent, and all alike; a power law is fitted to each "
        "seed. Separately, the mass of inputs not yet seen is followed along a stream of samples, and a memory of "
        "width 64 is trained with Adam."
    ),
    baseline="storage in proportion to frequency",
    control="the thresholded memory asked for shuffled answers: no width helps, so the fit must find no exponent",
    figures=(
        Figure("frequency", "exponent of the error against width, frequency-weighted (theory: -0.25)"),
        Figure("threshold", "exponent of the error against width, thresholded at d / log d (theory: -1, up to logs)"),
        Figure("unseen", "exponent of the unseen mass against samples (theory: -0.5)"),
        Figure("fill", "error of storing all alike, at the largest width", "error"),
        Figure("frequency_64", "error of frequency-weighted storage at width 64 (baseline)", "error"),
        Figure("adam_64", "error of a memory of width 64 trained with Adam", "error"),
        Figure("shuffled", "exponent of the error against width for shuffled answers (control)"),
    ),
    rule=Rule(
        holds="low(frequency) >= -0.40 and high(frequency) <= -0.20 and low(threshold) >= -1.1 and "
        "high(threshold) <= -0.75 and low(unseen) >= -0.53 and high(unseen) <= -0.47 and fill > 0.5 and "
        "high(adam_64 - frequency_64) < 0",
        in_part="high(threshold) < low(frequency) and high(adam_64 - frequency_64) < 0",
        control="abs(mean(shuffled)) < 0.1",
    ),
    limits=(
        "Widths of 16 to 512 with 4,000 inputs: exponents are those of this range, and logarithmic factors are not "
        "told apart from them. Embeddings are random and fixed, and the training is one optimiser with one step size."
    ),
    own_model=(
        "from seqmem.theory import AssocMemory, zipf\n"
        "memory = AssocMemory(targets, width=64, generator=torch.Generator()).store(strength)  # your own q(x)\n"
        "memory.error(zipf(len(targets), alpha=2.0))"
    ),
    settings={
        "smoke": {"inputs": 500, "widths": [16, 32, 64], "samples": [10, 100, 1000], "adam_steps": 20},
        "laptop": {
            "inputs": 4000,
            "widths": [16, 32, 64, 128, 256, 512],
            "samples": [10, 32, 100, 316, 1000, 3162, 10_000],
            "adam_steps": 2000,
        },
        "full": {
            "inputs": 10_000,
            "widths": [16, 32, 64, 128, 256, 512, 1024],
            "samples": [10, 32, 100, 316, 1000, 3162, 10_000, 31_623],
            "adam_steps": 5000,
        },
    },
    seeds={"smoke": 1, "laptop": 10, "full": 30},
)

ANSWERS, ALPHA = 5, 2.0


def measure(
    part: str, settings: dict[str, Any], seed: int, model: str | None, report: Callable[[float, str], None]
) -> dict[str, Any]:
    """The error for every width and way to store, the unseen mass, and Adam's memory, for one seed."""
    generator = torch.Generator().manual_seed(seed)
    p = zipf(settings["inputs"], ALPHA)
    targets = torch.randint(ANSWERS, p.shape, generator=generator)
    shuffled = torch.randint(ANSWERS, p.shape, generator=generator)
    widths = settings["widths"]
    errors: dict[str, list[float]] = {"frequency": [], "threshold": [], "fill": [], "shuffled": []}
    trained = float("nan")
    for i, width in enumerate(widths):
        report(i / len(widths), f"width {width}")
        memory = AssocMemory(targets, width, generator, ANSWERS)
        errors["frequency"].append(memory.store(p).error(p))
        errors["fill"].append(memory.store(torch.ones_like(p)).error(p))
        errors["threshold"].append(memory.store(thresholded(p, room(width))).error(p))
        errors["shuffled"].append(memory.error(p, shuffled))
        if width == 64:
            trained = train_memory(memory, p, settings["adam_steps"], generator).error(p)
    unseen = unseen_mass(p, settings["samples"], generator)
    exponents = {name: fit_exponent(widths, errors[name]) for name in ("frequency", "threshold", "shuffled")}
    names = {"frequency": "frequency-weighted", "threshold": "thresholded", "fill": "all alike", "shuffled": "shuffled"}
    return {
        "figures": {
            **exponents,
            "unseen": fit_exponent(settings["samples"], unseen),
            "fill": errors["fill"][-1],
            "frequency_64": errors["frequency"][widths.index(64)],
            "adam_64": trained,
        },
        "series": {
            **{f"error against width: {names[name]}": {"x": widths, "y": errors[name]} for name in errors},
            "unseen mass against samples: stream": {"x": settings["samples"], "y": unseen},
        },
    }
