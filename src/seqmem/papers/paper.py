"""What a paper's module says before it is run: the experiment, its figures, and the rule that judges them."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from seqmem.papers import rule as rules

BUDGETS = ("smoke", "laptop", "full")

#: ``report(fraction, text)``: how far a part is, for the progress bar
Report = Callable[[float, str], None]

#: ``measure(part, settings, seed, model, report) -> {"figures", "series", "notes", "tables"}``
Measure = Callable[[str, dict[str, Any], int, str | None, Report], dict[str, Any]]


@dataclass(frozen=True)
class Figure:
    """Something measured: its name in rules, what it is in a few words, its unit."""

    name: str
    what: str
    unit: str = ""


@dataclass(frozen=True)
class Rule:
    """How the figures become a verdict; three expressions (:mod:`seqmem.papers.rule`).

    control: what must be true where the effect cannot be; else the verdict is ``invalid``. holds, in_part: the claim,
    and the part of it that is still worth having ("" where there is none).
    """

    holds: str
    in_part: str
    control: str


@dataclass(frozen=True)
class Paper:
    """An experiment on a paper's claim. The card (title, year, claim) is data: :mod:`seqmem.papers.card`.

    uses: the public names that it exercises. setup, baseline, control, limits, own_model: for the reader, in words.
    figures: all that ``measure`` reports, in the order of the table. parts: pieces that are run and stored apart, each
    of which reports some of the figures. settings, seeds: per budget. exact: True where nothing is random (one run, no
    interval), or the parts of which that is so. takes_model: whether ``measure`` can be given the user's own model, or
    the parts that can; the others are then run as without it.

    Raises ValueError, on construction, for a rule that does not fit the figures or a budget without settings.
    """

    slug: str
    uses: tuple[str, ...]
    setup: str
    baseline: str
    control: str
    figures: tuple[Figure, ...]
    rule: Rule
    limits: str
    settings: Mapping[str, Mapping[str, Any]]
    own_model: str = ""
    parts: tuple[str, ...] = ("all",)
    seeds: Mapping[str, int] | None = None
    exact: bool | tuple[str, ...] = False
    takes_model: bool | tuple[str, ...] = False

    def __post_init__(self) -> None:
        names = [figure.name for figure in self.figures]
        if len(set(names)) < len(names) or not names:
            raise ValueError(f"{self.slug}: figures need distinct names, these are {names}")
        rules.check(self.rule.holds, set(names))
        rules.check(self.rule.control, set(names))
        if self.rule.in_part:
            rules.check(self.rule.in_part, set(names))
        if set(self.settings) != set(BUDGETS) or (self.exact is not True and set(self.seeds or ()) != set(BUDGETS)):
            raise ValueError(f"{self.slug}: settings and seeds are given for each of {BUDGETS}")
        named = {part for some in (self.exact, self.takes_model) if isinstance(some, tuple) for part in some}
        if not self.uses or not self.parts or named - set(self.parts):
            raise ValueError(
                f"{self.slug}: needs a public name that it uses, and parts, among them those of exact and takes_model"
            )

    def is_exact(self, part: str) -> bool:
        """Whether nothing in this part is random."""
        return self.exact if isinstance(self.exact, bool) else part in self.exact

    def gives_model(self, part: str) -> bool:
        """Whether this part is run on the user's own model."""
        return self.takes_model if isinstance(self.takes_model, bool) else part in self.takes_model

    def seeds_of(self, part: str, budget: str, seeds: int | None = None) -> range:
        """The seeds that a part is run with: the budget's, or as many as the user asked for."""
        if self.is_exact(part):
            return range(1)
        return range(seeds if seeds is not None else (self.seeds or {})[budget])


@dataclass(frozen=True)
class Built:
    """A paper whose module is written."""

    paper: Paper
    measure: Measure
    module: types.ModuleType
