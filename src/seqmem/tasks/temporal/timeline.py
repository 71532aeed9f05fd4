"""Events with durations in a random partial order, and stories that tell them in any order, many at once."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError

PEOPLE = ("anna", "boris", "clara", "david", "emma", "felix", "gina", "henry")
ACTIONS = (
    "baked", "cooked", "danced", "fished", "hiked", "jogged", "knitted", "napped", "painted", "rested", "sewed",
    "skated", "studied", "swam", "travelled", "worked",
)  # fmt: skip
NONE, THEN, BEFORE, MEANWHILE = range(4)
LONGEST, GAP = 4, 2  # hours of an event; of a pause
DENSITY = 0.7  # of the edges between an event and each of the two before it


class Told(NamedTuple):
    """Stories, (batch, event) each, in the order of telling. person, action: numbers. start, hours: when, how long.
    link: how each follows the event told before it: THEN (it begins after that has ended), BEFORE (it ended before
    that began), MEANWHILE (they overlap), NONE for the first. before: (batch, event, event), True at i, j where the
    words say that i has ended when j begins, also by way of others."""

    person: Tensor
    action: Tensor
    start: Tensor
    hours: Tensor
    link: Tensor
    before: Tensor


def tell_timelines(count: int, events: int, agreement: float, generator: torch.Generator) -> Told:
    """``count`` stories of ``events`` events, told so that a share ``agreement`` of all pairs stands in the order in
    which the events begin: 1 in that order, 0.5 shuffled. In each some order of two events follows from the words.

    Event i depends on each of the two before it with probability 0.7 and begins, after a pause, when the last of those
    has ended; one that depends on none begins at a random time.
    """
    most = len(PEOPLE) * len(ACTIONS)
    if not 2 <= events <= most or not 0 <= agreement <= 1:
        raise InputError(
            f"{events} events at agreement={agreement}, expected 2 to {most} events and an agreement from 0 to 1"
        )
    found: list[Told] = []
    while sum(len(told.person) for told in found) < count or not found:
        told = _stories(count + 8, events, agreement, generator)
        useful = told.before.flatten(1).any(1)
        found.append(Told(*(part[useful] for part in told)))
    return Told(*(torch.cat(parts)[:count] for parts in zip(*found, strict=True)))


def _stories(rows: int, events: int, agreement: float, generator: torch.Generator) -> Told:
    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    hours = 1 + (uniform(rows, events) * LONGEST).long()
    start = torch.zeros(rows, events, dtype=torch.int64)
    end = hours.clone()
    for event in range(1, events):
        earlier = slice(max(0, event - 2), event)
        needed = uniform(rows, event - earlier.start) < DENSITY
        ready = torch.where(needed, end[:, earlier], 0).amax(1)
        free = (uniform(rows) * end.amax(1)).long()
        begin = torch.where(needed.any(1), ready + (uniform(rows) * (GAP + 1)).long(), free)
        start[:, event], end[:, event] = begin, begin + hours[:, event]
    in_time = (start * events + torch.arange(events)).argsort(1)
    order = in_time.gather(1, permutations(rows, events, agreement, generator))
    names = _names(rows, events, generator)
    start, hours = start.gather(1, order), hours.gather(1, order)
    ended = (start + hours)[:, :, None] <= start[:, None]  # (rows, i, j): i before j
    follows = ended[:, range(events - 1), range(1, events)]  # (rows, event - 1)
    precedes = ended[:, range(1, events), range(events - 1)]
    link = torch.where(follows, THEN, torch.where(precedes, BEFORE, MEANWHILE))
    said = torch.zeros_like(ended)
    said[:, range(events - 1), range(1, events)] = follows
    said[:, range(1, events), range(events - 1)] = precedes
    first = torch.full((rows, 1), NONE)
    return Told(names % len(PEOPLE), names // len(PEOPLE), start, hours, torch.cat([first, link], 1), _closure(said))


def permutations(rows: int, count: int, agreement: float, generator: torch.Generator) -> Tensor:
    """(rows, count): of 0 to count - 1, in which a share ``agreement`` of all pairs is in order on average.

    Mallows' model by repeated insertion: number i goes k places before the end with probability in proportion to q^k,
    which puts k pairs out of order.
    """
    q = _dispersion(count, agreement)
    weights = _powers(q, count)
    order = torch.zeros(rows, 1, dtype=torch.int64)
    for number in range(1, count):
        bounds = weights[: number + 1].cumsum(0)
        draw = torch.rand(rows, generator=generator, dtype=torch.float64) * bounds[-1]
        back = torch.searchsorted(bounds, draw, right=True).clamp(max=number)  # (rows,)
        place = (number - back)[:, None]
        grid = torch.arange(number + 1)
        moved = torch.cat([order, torch.full((rows, 1), number)], 1)
        source = torch.where(grid < place, grid, torch.where(grid == place, number, grid - 1))
        order = moved.gather(1, source)
    return order


def _powers(q: float, count: int) -> Tensor:
    """q^k, scaled so that none is too large."""
    k = torch.arange(count, dtype=torch.float64)
    return q**k if q <= 1 else q ** (k - count + 1)


@lru_cache(256)
def _dispersion(count: int, agreement: float) -> float:
    """The q at which the expected share of pairs in order is ``agreement``, by bisection of log q."""
    if agreement in (0.0, 1.0):
        return 1e-300 if agreement else 1e12
    pairs, low, high = count * (count - 1) / 2, -12.0, 12.0
    for _ in range(60):
        middle = (low + high) / 2
        weights = _powers(math.e**middle, count)
        k = torch.arange(count, dtype=torch.float64)
        wrong = sum(float((weights[:n] * k[:n]).sum() / weights[:n].sum()) for n in range(2, count + 1))
        low, high = (middle, high) if 1 - wrong / pairs > agreement else (low, middle)
    return math.e ** ((low + high) / 2)


def _names(rows: int, events: int, generator: torch.Generator) -> Tensor:
    """(rows, events): who does what, as one number; no two alike in a row. Up to sixteen events, each is an action of
    its own, up to eight, of a person of their own."""

    def ranked(count: int) -> Tensor:
        return torch.rand(rows, count, generator=generator, dtype=torch.float64).argsort(1)

    if events > len(ACTIONS):
        return ranked(len(PEOPLE) * len(ACTIONS))[:, :events]
    action = ranked(len(ACTIONS))[:, :events]
    if events <= len(PEOPLE):
        return action * len(PEOPLE) + ranked(len(PEOPLE))[:, :events]
    return action * len(PEOPLE) + torch.randint(len(PEOPLE), (rows, events), generator=generator)


def _closure(said: Tensor) -> Tensor:
    """What follows by transitivity, (batch, event, event) bool."""
    reach, steps = said.float(), 1
    while steps < said.shape[1]:
        reach = ((reach + reach @ reach) > 0).float()
        steps *= 2
    return reach > 0
