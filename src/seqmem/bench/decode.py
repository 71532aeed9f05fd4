"""One token through a whole layer, batch 1, after more and more has been read, beside torch's LSTM cell.

In every round the layer takes a few steps after each number of tokens read, and the cell as many; a round's ratios are
between these. The ratio to the cell says how dear a step is, ``flatness`` what reading more has added to it.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from seqmem.bench.measure import LEAST_ROUNDS, Clock, quartiles, undisturbed
from seqmem.bench.speed import Record
from seqmem.errors import line_of
from seqmem.mixers import get_mixer

WIDTH = 256
READ = (128, 1_024, 8_192, 65_536)  # tokens
PIECE = 2_048  # read at a time
STEPS = 20  # per round
READING_SECONDS = 5.0


@torch.no_grad()
def measure_decoding(
    name: str, seconds: float, read: Sequence[int] = READ, width: int = WIDTH, clock: Clock = time.perf_counter
) -> list[Record]:
    """A record per number of tokens read. Reading stops, and the record says so, after ``READING_SECONDS``."""
    base = {"kind": "decode", "mixer": name, "width": width}
    generator = torch.Generator().manual_seed(0)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layer = get_mixer(name)(width).eval()
        states, reached = _read(layer, width, read, READING_SECONDS, generator)
        x = torch.randn(1, 1, width, generator=generator)
        calls: dict[int | None, Callable[[], None]] = {
            tokens: _steps(layer, x, state) for tokens, state in states.items()
        }
        taken = _rounds(calls, _cell_steps(x[:, 0]), seconds, clock)
    except Exception as error:  # a layer of somebody else's: what it says is the result
        note = f"failed: {type(error).__name__}: {line_of(error)[:300]}"
        return [base | {"status": "failed", "note": note, "tokens": None}]
    base["memory"] = getattr(layer, "memory", "constant")
    records = []
    cell, first = taken[None], taken[read[0]]
    for tokens in read:
        if tokens not in taken:
            note = f"not run: reading took more than {READING_SECONDS:g} s after {reached:,} tokens"
            records.append(base | {"status": "not run", "note": note, "tokens": tokens})
            continue
        low, middle, high = quartiles([a / b for a, b in zip(taken[tokens], cell, strict=True)])
        flat = statistics.median(a / b for a, b in zip(taken[tokens], first, strict=True))
        records.append(
            base
            | {
                "status": "ok", "note": "", "tokens": tokens,
                "ratio": middle, "ratio_low": low, "ratio_high": high, "flatness": flat,
                "ours_us": 1e6 * statistics.median(taken[tokens]), "cell_us": 1e6 * statistics.median(cell),
            }
        )  # fmt: skip
    return records


def _read(
    layer: nn.Module, width: int, read: Sequence[int], seconds: float, generator: torch.Generator
) -> tuple[dict[int, Any], int]:
    """The state after each number of tokens that was reached in time, and how many tokens were read."""
    states: dict[int, Any] = {}
    state, done = None, 0
    end = time.monotonic() + seconds
    for tokens in read:
        while done < tokens:
            if done and time.monotonic() > end:
                return states, done
            piece = min(PIECE, tokens - done)
            _, state = layer(torch.randn(1, piece, width, generator=generator), state)
            done += piece
        states[tokens] = state
    return states, done


def _steps(layer: nn.Module, x: torch.Tensor, state: Any) -> Callable[[], None]:
    def call() -> None:
        s = state
        for _ in range(STEPS):
            _, s = layer(x, s)

    return call


def _cell_steps(x: torch.Tensor) -> Callable[[], None]:
    cell = nn.LSTMCell(x.shape[1], x.shape[1])

    def call() -> None:
        s = (torch.zeros_like(x), torch.zeros_like(x))
        for _ in range(STEPS):
            s = cell(x, s)

    return call


def _rounds(
    calls: Mapping[int | None, Callable[[], None]], cell: Callable[[], None], seconds: float, clock: Clock
) -> dict[int | None, list[float]]:
    """Seconds per step in each round, under None those of the cell."""
    every: dict[int | None, Callable[[], None]] = {None: cell, **calls}
    for call in every.values():
        call()
    taken: dict[int | None, list[float]] = {key: [] for key in every}
    shuffle = random.Random(0).shuffle
    with undisturbed():
        end = clock() + seconds
        while len(taken[None]) < LEAST_ROUNDS or clock() < end:
            order = list(every)
            shuffle(order)  # so that none always follows the same other
            for key in order:
                start = clock()
                every[key]()
                taken[key].append((clock() - start) / STEPS)
    return taken
