"""How long a step takes: the least that a device needs for it, and how near to that the code comes.

Seconds = (calls of operators) x (seconds of a call) + limit / (share of the limit that is reached). Both constants are
measured here, on small pieces of the plan's own parts: a tiny one, all of whose time is calls, and one of a fraction of
the plan's positions. The latter holds as much memory at once as the step does, up to a bound: memory that was never
touched costs more than memory that is used again.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from seqmem.bench import roofline
from seqmem.bench.machine import LARGE
from seqmem.bench.measure import fastest
from seqmem.models import SequenceConfig
from seqmem.planning.figures import Figures, Rates, figures
from seqmem.planning.parts import Part, Piece
from seqmem.planning.trace import autocast
from seqmem.training.optimiser import clip_gradients, make_optimiser

PROBE_SECONDS = 0.25  # that one probe should take, about
HELD = 160 * 2**20  # bytes that a probe holds at most, beyond one piece
PIECES = 12  # at most, of one probe


class Speed(NamedTuple):
    """call: seconds of one call; reached: share of the limit; save: seconds that a checkpoint costs for every tensor
    that it keeps back; at: the rows and positions on which it was measured."""

    call: float
    reached: float
    save: float = 0.0
    at: tuple[int, int] = (0, 0)

    def seconds(self, found: Figures) -> float:
        """Of one step of a part."""
        return found.calls * self.call + found.limit / self.reached

    def again_seconds(self, found: Figures) -> float:
        """Of its forward pass once more, as a checkpoint asks for."""
        return found.forward.calls * self.call + found.forward.limit / self.reached + found.saves * self.save


def here(dtype: torch.dtype) -> Rates:
    """The rates of this machine, as ``seqmem doctor`` measures them, for products in this dtype."""
    return Rates(roofline.product_rate(dtype=dtype), roofline.bandwidth(LARGE))


def measured(
    config: SequenceConfig, part: Part, batch: int, time: int, dtype: torch.dtype, rates: Rates, whole: Figures
) -> Speed:
    """The speed of a part whose figures at ``batch`` rows of ``time`` positions are ``whole``."""
    tiny = (1, min(time, 8))
    rows, positions = _affordable(batch, time, whole)
    share = rows * positions / (batch * time)
    held = min(part.copies * whole.saved, HELD) / max(1.0, share * whole.saved)
    pieces = max(1, min(PIECES, round(held)))
    small, large = (figures(config, part, *size, dtype, rates) for size in (tiny, (rows, positions)))
    took_small, took_large = _run(config, part, tiny, dtype, 1), _run(config, part, (rows, positions), dtype, pieces)
    # two equations:  took = calls * call + limit / reached
    determinant = small.calls * large.limit - large.calls * small.limit
    call = (took_small * large.limit - took_large * small.limit) / determinant if determinant > 0 else 0.0
    call = min(max(call, 0.0), took_large / large.calls / 2)
    return Speed(call, large.limit / (took_large - call * large.calls), saving_seconds(), (rows, positions))


def _affordable(batch: int, time: int, whole: Figures) -> tuple[int, int]:
    """At most half of the positions, and fewer until a piece should take a third of PROBE_SECONDS."""
    rows, positions = batch, time
    share = 1.0
    while rows * positions > 1 and (share > 0.5 or share * 3 * whole.limit > PROBE_SECONDS / 3):
        if positions > 256 or rows == 1:
            positions = max(1, positions // 2)
        else:
            rows = max(1, rows // 2)
        share = rows * positions / (batch * time)
    return rows, positions


def _run(config: SequenceConfig, part: Part, size: tuple[int, int], dtype: torch.dtype, pieces: int) -> float:
    """Seconds of one piece, out of so many that are held at once; the fastest of some rounds."""
    piece = Piece(config, part, *size, dtype)
    module = piece.build()

    def step() -> None:
        with autocast(dtype):
            passed = [piece.run(module)[:2] for _ in range(pieces)]
        while passed:
            output, gradient = passed.pop()
            output.backward(gradient)
            del output
            module.zero_grad(set_to_none=True)

    return fastest(step, PROBE_SECONDS) / pieces


@functools.cache
def saving_seconds(links: int = 200) -> float:
    """Seconds that a checkpoint costs for each tensor that it does not keep: its hooks are called three times."""
    x = torch.ones(1, requires_grad=True)

    def chain(y: Tensor) -> Tensor:
        for _ in range(links):
            y = torch.tanh(y)
        return y

    def with_checkpoint() -> None:
        checkpoint(chain, x, use_reentrant=False).backward()

    def twice() -> None:
        chain(x)
        chain(x).backward()

    return max(0.0, fastest(with_checkpoint, 0.05) - fastest(twice, 0.05)) / links


def optimiser_rate(weights: int = 2**20) -> float:
    """Seconds for each weight to clip the gradient and to take AdamW's step, on a layer of so many."""
    layer = nn.Linear(1024, weights // 1024, bias=False)
    optimiser = make_optimiser(layer, 0.1)
    layer.weight.grad = torch.zeros_like(layer.weight)

    def step() -> None:
        clip_gradients([layer.weight.grad], 1.0)  # type: ignore[list-item]
        optimiser.step()

    return fastest(step, PROBE_SECONDS) / weights
