"""The eight points in order, and what runs them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from seqmem.errors import InputError
from seqmem.testing.attention import attention_reproduces
from seqmem.testing.causality import causality
from seqmem.testing.gradients import finite_at_length, finite_differences
from seqmem.testing.independence import repeatable, rows_apart
from seqmem.testing.memory import growth, not_mutated
from seqmem.testing.padding import padding, resets
from seqmem.testing.split import split_invariance
from seqmem.testing.subject import Measure, Subject, Violation, one_line
from seqmem.testing.weights import autocast, round_trip

POINTS: tuple[tuple[str, tuple[Callable[[Subject], Measure], ...]], ...] = (
    ("split invariance", (split_invariance,)),
    ("causality", (causality,)),
    ("independence", (rows_apart, repeatable)),
    ("padding and resets", (padding, resets)),
    ("memory", (growth, not_mutated)),
    ("gradients", (finite_differences, finite_at_length)),
    ("weights", (round_trip, autocast)),
    ("attention", (attention_reproduces,)),
)


@dataclass(frozen=True)
class PointResult:
    """One point: what was measured, the bound, what it means. Not ``applicable``: there was nothing to test."""

    point: int
    name: str
    ok: bool
    measured: float | None
    bound: float | None
    message: str
    applicable: bool = True

    @property
    def verdict(self) -> str:
        return "FAIL" if not self.ok else "ok" if self.applicable else "n/a"

    def __str__(self) -> str:
        return f"{self.point} {self.name:<18}  {self.verdict:<4}  {self.message}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; a figure that is not finite becomes None (the message has it)."""
        measured = self.measured if self.measured is not None and math.isfinite(self.measured) else None
        return {**vars(self), "measured": measured}


class ContractError(AssertionError):
    """A layer breaks the contract. ``results`` has every point measured; the message explains those that fail."""

    def __init__(self, label: str, results: list[PointResult]) -> None:
        failing = [r for r in results if not r.ok]
        lines = "".join(f"\n  {r.point} {r.name}: {r.message}" for r in failing)
        super().__init__(f"{label} breaks the mixer contract in {len(failing)} of {len(results)} points:{lines}")
        self.results = results


def check_points(subject: Subject, points: Collection[int] = range(1, 9), examples: int = 0) -> Iterator[PointResult]:
    """The points one after the other, as each is measured; with ``examples`` a ninth, so many drawn calls."""
    if examples < 0:
        raise InputError(f"examples is {examples}, expected 0 (no drawn calls) or more")
    if examples:
        from seqmem.testing.drawn import drawn_calls, require_hypothesis  # needs Hypothesis

        require_hypothesis()
    for number, (name, checks) in enumerate(POINTS, start=1):
        if number in points:
            yield _point(number, name, checks, subject)
    if examples:
        yield _point(9, "drawn calls", (partial(drawn_calls, examples=examples),), subject)


@contextmanager
def _one_thread() -> Iterator[None]:
    """The checks are thousands of tiny calls: handing each to several threads costs many times the arithmetic."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _point(number: int, name: str, checks: tuple[Callable[[Subject], Measure], ...], subject: Subject) -> PointResult:
    held: list[Measure] = []
    broken: list[Violation] = []
    for check in checks:
        with torch.random.fork_rng(devices=[]), _one_thread():
            torch.manual_seed(subject.seed)
            try:
                held.append(check(subject))
            except Violation as violation:
                broken.append(violation)
            except Exception as error:  # the layer's own code, outside of forward()
                broken.append(Violation(f"raised {one_line(error)}"))
    if broken:
        texts = list(dict.fromkeys(str(v) for v in broken))  # the same trouble is told once
        return PointResult(number, name, False, broken[0].value, broken[0].bound, "; ".join(texts))
    first = held[0]
    return PointResult(
        number, name, True, first.value, first.bound, "; ".join(m.text for m in held), any(m.applicable for m in held)
    )


def check_mixer(
    cls_or_factory: str | Callable[[int], nn.Module],
    width: int = 16,
    *,
    seed: int = 0,
    points: Collection[int] = range(1, 9),
    examples: int = 0,
    raise_on_failure: bool = True,
) -> list[PointResult]:
    """Measure the eight points of the mixer contract on a layer.

    ``cls_or_factory``: a class constructed as ``Class(width)``, any function of the width that returns a layer, or a
    name that :func:`seqmem.mixers.get_mixer` knows. ``points`` chooses some of the eight. ``examples``: so many calls
    drawn by Hypothesis besides (:mod:`seqmem.testing.drawn`), some 20 ms each. Returns one result per point. Raises
    ContractError with every failing point unless ``raise_on_failure`` is False, and InputError where no layer can be
    built. Takes a few seconds on one core.
    """
    if strange := set(points) - set(range(1, 9)):
        raise InputError(f"points {sorted(strange)} do not exist, expected numbers from 1 to 8")
    subject = Subject(cls_or_factory, width, seed)
    results = list(check_points(subject, points, examples))
    if raise_on_failure and not all(r.ok for r in results):
        raise ContractError(subject.label, results)
    return results
