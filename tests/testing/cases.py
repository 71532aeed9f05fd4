"""Which wrong layer must fail where, and what the message must name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import nn


class Case(NamedTuple):
    layer: type[nn.Module]
    point: int
    says: str
    alone: bool  # the fault touches one thing, so that every other point holds


WRONG: list[Case] = []


def wrong(point: int, says: str, *, alone: bool = False) -> Callable[[type[nn.Module]], type[nn.Module]]:
    def add(layer: type[nn.Module]) -> type[nn.Module]:
        WRONG.append(Case(layer, point, says, alone))
        return layer

    return add
