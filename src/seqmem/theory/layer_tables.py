"""Every layer of the library in tables: what it is, how far back its gradient reaches, what its attention looks like.

The rows come from the table of mixers and from the layers themselves, so that a new layer is in them at once.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.mixers import MIXERS, get_mixer
from seqmem.mixers.state import tensors
from seqmem.theory.gradient_horizon import gradient_horizon


def taxonomy(width: int = 64) -> list[dict[str, Any]]:
    """One row per registered layer: name, year, memory, what it is, parameters and state (numbers per row of the batch
    after one position) at this width."""
    rows = []
    for name, entry in MIXERS.items():
        mixer = get_mixer(name)(width)
        with torch.no_grad():
            _, state = mixer(torch.zeros(1, 1, width))
        rows.append(
            {
                "name": name,
                "year": _year(entry.source),
                "memory": entry.memory,
                "summary": entry.summary,
                "parameters": sum(p.numel() for p in mixer.parameters()),
                "state": sum(x.numel() for x in tensors(state)),
                "source": entry.source,
            }
        )
    return rows


def _year(source: str) -> int | None:
    years = [int(word) for word in source.replace("(", " ").replace(")", " ").split() if word.isdigit()]
    return min((year for year in years if 1980 < year < 2100), default=None)


def layer_horizon(name: str, width: int, time: int, generator: torch.Generator) -> Tensor | str:
    """:func:`gradient_horizon` of a layer as it begins, on N(0, 1) inputs, in float64; or why it has none.

    name: of a mixer. A layer that is not causal, or whose memory is not constant, carries nothing from step to step
    that could wear out.
    """
    if name not in MIXERS:
        raise InputError(f"unknown mixer {name!r}; known: {', '.join(MIXERS)}")
    found: Any = get_mixer(name)
    if not getattr(found, "causal", True):
        return "not causal: it reads the whole text at once and carries nothing on"
    if MIXERS[name].memory != "constant":
        return "its memory grows: every position keeps an entry of its own, and none is worn by what comes after"
    mixer = found(width).double()
    xs = torch.randn(1, time, width, generator=generator, dtype=torch.float64)
    return gradient_horizon(mixer.__call__, xs, mixer.initial_state(1))


@torch.no_grad()
def attention_taxonomy(width: int = 16, time: int = 24, seed: int = 0) -> list[dict[str, Any]]:
    """One row per layer with an exact attention matrix, explicit or implicit, as measured on random inputs.

    name, summary, year. matrices: how many (heads, or channels of a recurrence). positions: "all", or how far back the
    farthest weight that is not zero lies (``window`` is a third of ``time``). sums: whether every row sums to 1.
    signed: whether weights below zero occur. shared: through what a position is seen, "a memory of constant size" or
    "entries of its own".
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, time, width, generator=generator)
    rows = []
    for name, entry in MIXERS.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            found = get_mixer(name)
            windowed = "window" in inspect.signature(found).parameters
            mixer = found(width, **({"window": time // 3} if windowed else {}))
        weigh = getattr(mixer, "attention", None)
        if not callable(weigh):
            continue
        weights = weigh(x)[0]  # (matrices, time, time)
        index = torch.arange(time)
        distance = (index[:, None] - index).where(weights.abs().amax(0) > 0, torch.tensor(-1))
        reach = int(distance.max())
        rows.append(
            {
                "name": name,
                "summary": entry.summary,
                "year": _year(entry.source),
                "matrices": len(weights),
                "positions": "all" if reach == time - 1 else f"the last {reach + 1}",
                "sums": bool(((weights.sum(-1) - 1).abs() < 1e-4).all()),
                "signed": bool((weights < -1e-9).any()),
                "shared": "a memory of constant size" if entry.memory == "constant" else "entries of its own",
            }
        )
    return rows
