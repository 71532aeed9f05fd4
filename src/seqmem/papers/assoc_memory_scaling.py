"""Scaling laws of an outer-product memory: fitted exponents of the error against width, and of the unseen mass against
samples, beside those that theory gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

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
        "seed, which averages several draws of embeddings and answers. Separately, the mass of inputs not yet seen "
        "is followed along streams of samples, and a memory of width 64 is trained with Adam."
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
        "smoke": {"draws": 2, "inputs": 500, "widths": [16, 32, 64], "samples": [10, 100, 1000], "adam_steps": 20},
        "laptop": {
            "draws": 10,
            "inputs": 4000,
            "widths": [16, 32, 64, 128, 256, 512],
            "samples": [10, 32, 100, 316, 1000, 3162, 10_000],
            "adam_steps": 2000,
        },
        "full": {
            "draws": 20,
            "inputs": 10_000,
            "widths": [16, 32, 64, 128, 256, 512, 1024],
            "samples": [10, 32, 100, 316, 1000, 3162, 10_000, 31_623],
            "adam_steps": 5000,
        },
    },
    seeds={"smoke": 1, "laptop": 10, "full": 30},
)

ANSWERS, ALPHA, TRAINED = 5, 2.0, 64  # answers, Zipf exponent, the width that is trained
NAMES = {"frequency": "frequency-weighted", "threshold": "thresholded", "fill": "all alike", "shuffled": "shuffled"}


def measure(
    part: str, settings: dict[str, Any], seed: int, model: str | None, report: Callable[[float, str], None]
) -> dict[str, Any]:
    """The error for every width and way to store, the unseen mass, and Adam's memory, for one seed."""
    generator = torch.Generator().manual_seed(seed)
    p, widths, draws = zipf(settings["inputs"], ALPHA), settings["widths"], settings["draws"]
    errors = {name: [0.0] * len(widths) for name in NAMES}  # the mean over draws of embeddings and answers
    for i, width in enumerate(widths):
        report(i / len(widths), f"width {width}")
        for _ in range(draws):
            for name, error in _errors(p, width, generator).items():
                errors[name][i] += error / draws
    trained = AssocMemory(_answers(p, generator), TRAINED, generator, ANSWERS)
    train_memory(trained, p, settings["adam_steps"], generator)
    streams = [unseen_mass(p, settings["samples"], generator) for _ in range(draws)]
    unseen = [sum(masses) / draws for masses in zip(*streams, strict=True)]
    return {
        "figures": {
            "frequency": fit_exponent(widths, errors["frequency"]),
            "threshold": fit_exponent(widths, errors["threshold"]),
            "unseen": fit_exponent(settings["samples"], unseen),
            "fill": errors["fill"][-1],
            "frequency_64": errors["frequency"][widths.index(TRAINED)],
            "adam_64": trained.error(p),
            "shuffled": fit_exponent(widths, errors["shuffled"]),
        },
        "series": {
            **{f"error against width: {NAMES[name]}": {"x": widths, "y": errors[name]} for name in NAMES},
            "unseen mass against samples: streams": {"x": settings["samples"], "y": unseen},
        },
    }


def _errors(p: Tensor, width: int, generator: torch.Generator) -> dict[str, float]:
    """The error of each way to store, in one draw of embeddings and answers."""
    memory = AssocMemory(_answers(p, generator), width, generator, ANSWERS)
    errors = {"frequency": memory.store(p).error(p), "fill": memory.store(torch.ones_like(p)).error(p)}
    errors["threshold"] = memory.store(thresholded(p, room(width))).error(p)
    errors["shuffled"] = memory.error(p, _answers(p, generator))
    return errors


def _answers(p: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randint(ANSWERS, p.shape, generator=generator)
