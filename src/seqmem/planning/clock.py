"""How long a step takes: the least that a device needs for it, and how near to that the code comes.

    seconds = calls * call + fresh * page + limit / reached

calls of torch's operators; bytes of memory that the system hands out anew, page by page, for every tensor above
LARGEST_KEPT bytes; the limit of arithmetic and memory. ``call`` and ``reached`` are measured here, on two small pieces
of each part of the plan, one with a quarter of the other's rows. The larger one holds as much memory at once as the
step does, up to a bound: memory that was never touched costs more than memory that is used again.
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
from seqmem.planning.figures import Figures, Pass, Rates, figures
from seqmem.planning.parts import Part, Piece
from seqmem.planning.trace import LARGEST_KEPT, autocast
from seqmem.training.optimiser import clip_gradients, make_optimiser

PROBE_SECONDS = 0.25  # for which a probe is repeated
PIECE_SECONDS = 0.15  # that a piece may take at least, by its limit
HELD = 160 * 2**20  # bytes that a probe holds at most, beyond one piece


class Speed(NamedTuple):
    """call: seconds of one call; reached: share of the limit; save: seconds that a checkpoint costs for every tensor
    that it keeps back; page: seconds of a byte of memory that is new; at: the rows and positions of the measurement."""

    call: float
    reached: float
    save: float = 0.0
    page: float = 0.0
    at: tuple[int, int] = (0, 0)

    def seconds(self, found: Figures) -> float:
        """Of one step of a part."""
        return self._of(found.forward) + self._of(found.backward)

    def again_seconds(self, found: Figures) -> float:
        """Of its forward pass once more, as a checkpoint asks for."""
        return self._of(found.forward) + found.saves * self.save

    def _of(self, one: Pass) -> float:
        return one.calls * self.call + one.fresh * self.page + one.limit / self.reached


def here(dtype: torch.dtype) -> Rates:
    """The rates of this machine, as ``seqmem doctor`` measures them, for products in this dtype."""
    return Rates(roofline.product_rate(dtype=dtype), roofline.bandwidth(LARGE))


def measured(
    config: SequenceConfig, part: Part, batch: int, time: int, dtype: torch.dtype, rates: Rates, whole: Figures
) -> Speed:
    """The speed of a part whose figures at ``batch`` rows of ``time`` positions are ``whole``."""
    rows, positions = _affordable(batch, time, whole)
    fewer = (max(1, rows // 4), positions) if rows > 1 else (1, max(1, positions // 4))
    share = rows * positions / (batch * time)
    wanted = min(part.copies * whole.saved, HELD) / max(1.0, share * whole.saved)
    pieces = max(1, round(min(wanted, 2 * PIECE_SECONDS / max(share * whole.limit, 1e-9))))
    small, large = (figures(config, part, *size, dtype, rates) for size in (fewer, (rows, positions)))
    page = page_seconds()
    took_small = _run(config, part, fewer, dtype, 1) - page * small.fresh
    took_large = _run(config, part, (rows, positions), dtype, pieces) - page * large.fresh
    # two equations:  took = calls * call + limit / reached
    determinant = small.calls * large.limit - large.calls * small.limit
    call = (took_small * large.limit - took_large * small.limit) / determinant if determinant > 0 else 0.0
    call = min(max(call, 0.0), 0.95 * took_large / large.calls)
    return Speed(call, large.limit / (took_large - call * large.calls), saving_seconds(), page, (rows, positions))


def _affordable(batch: int, time: int, whole: Figures) -> tuple[int, int]:
    """At most half of the positions, and fewer until a piece's limit is PIECE_SECONDS: of the rows, then of each."""
    rows, positions = batch, time
    while rows * positions > 1:
        share = rows * positions / (batch * time)
        if share <= 0.5 and share * whole.limit <= PIECE_SECONDS:
            break
        rows, positions = (max(1, rows // 2), positions) if rows > 1 else (1, max(1, positions // 2))
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
def saving_seconds() -> float:
    """Seconds that a checkpoint costs for each tensor that it does not keep: its hooks are called three times."""
    few, many = (_checkpoint_costs(links) for links in (100, 400))
    return max(0.0, many - few) / 300


def _checkpoint_costs(links: int) -> float:
    """Beyond the second forward pass, of a chain of so many small operators."""
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

    return fastest(with_checkpoint, 0.05) - fastest(twice, 0.05)


@functools.cache
def page_seconds(size: int = 2 * LARGEST_KEPT) -> float:
    """Seconds for each byte of memory that the system hands out anew, beyond writing what is there already."""
    there = torch.empty(size // 4)
    return (
        max(0.0, fastest(lambda: torch.empty(size // 4).fill_(1.0), 0.1) - fastest(lambda: there.fill_(1.0), 0.1))
        / size
    )


def optimiser_rate(weights: int = 2**20) -> float:
    """Seconds for each weight to clip the gradient and to take AdamW's step, on a layer of so many."""
    layer = nn.Linear(1024, weights // 1024, bias=False)
    optimiser = make_optimiser(layer, 0.1)
    layer.weight.grad = torch.zeros_like(layer.weight)

    def step() -> None:
        clip_gradients([layer.weight.grad], 1.0)  # type: ignore[list-item]
        optimiser.step()

    return fastest(step, PROBE_SECONDS) / weights
