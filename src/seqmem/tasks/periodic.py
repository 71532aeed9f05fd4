"""Functions of one number to be fitted in an interval and continued beyond it: four periodic ones, and one that is not.

FAN: Fourier Analysis Networks (2024), arXiv 2410.02675, whose kinds of function these are: a wave, a remainder, a wave
inside another function, several periods.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from seqmem.errors import InputError, did_you_mean

SPAN = 4 * math.pi  # the training interval is [-SPAN, SPAN]

#: name -> (function, period)
PERIODIC: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "sine": (lambda x: torch.sin(2 * math.pi * x), 1.0),
    "remainder": (lambda x: torch.remainder(x, 5), 5.0),
    "nested": (lambda x: torch.exp(torch.sin(x)), 2 * math.pi),
    "two_periods": (lambda x: torch.sin(x) + torch.sin(x / 1.5), 6 * math.pi),
}
APERIODIC: dict[str, Callable[[Tensor], Tensor]] = {"cubic": lambda x: x**3 * torch.tanh(x)}


def function(name: str) -> Callable[[Tensor], Tensor]:
    """The function of this name, on tensors of any shape. Raises InputError for an unknown name."""
    if name in PERIODIC:
        return PERIODIC[name][0]
    if name in APERIODIC:
        return APERIODIC[name]
    known = [*PERIODIC, *APERIODIC]
    raise InputError(f"unknown function '{name}'.{did_you_mean(name, known)} Known: {', '.join(known)}")


def places(count: int, generator: torch.Generator, *, inner: float = 0.0, outer: float = 1.0) -> Tensor:
    """``count`` numbers with ``inner * SPAN <= |x| < outer * SPAN``, uniform, both signs; (count, 1) float64.

    The default is the training interval; ``inner=1, outer=4`` is what lies beyond it, up to four times as far.
    """
    if count < 1 or not 0 <= inner < outer:
        raise InputError(f"count {count}, inner {inner}, outer {outer}; expected at least 1, and 0 <= inner < outer")
    distance = inner + (outer - inner) * torch.rand(count, 1, generator=generator, dtype=torch.float64)
    sign = 2.0 * torch.randint(2, (count, 1), generator=generator) - 1
    return SPAN * sign * distance
