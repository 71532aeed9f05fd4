"""What is trained on and what is held out, so that nothing of the second is in the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch

from seqmem.errors import InputError
from seqmem.tasks import _check
from seqmem.tasks.fact_world.facts import Entity, Fact


class Split(NamedTuple):
    """Facts, and which templates ("train" or "test") they are told and asked with on either side."""

    train: tuple[Fact, ...]
    test: tuple[Fact, ...]
    train_templates: Literal["train", "test"] = "train"
    test_templates: Literal["train", "test"] = "train"


def split(facts: Sequence[Fact], people: Sequence[Entity], by: str, share: float, generator: torch.Generator) -> Split:
    """by="fact": a share of what can be asked, (subject, relation), is held out, with all its years.

    by="entity": a share of the people. The test is what can be asked of them; no training fact names one of them,
    neither as its subject nor as its object. by="template": all facts on both sides, the test in held-out phrases.
    """
    _check.choice("fact_world", "by", by, ("fact", "entity", "template"))
    if by == "template":
        return Split(tuple(facts), tuple(facts), "train", "test")
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        raise InputError(f"share={share!r}, expected a number between 0 and 1")
    if by == "fact":
        asked = list(dict.fromkeys(fact.about for fact in facts))
        held_out = {asked[at] for at in _some(len(asked), share, generator)}
        return Split(
            tuple(fact for fact in facts if fact.about not in held_out),
            tuple(fact for fact in facts if fact.about in held_out),
        )
    hidden = {people[at].name for at in _some(len(people), share, generator)}
    return Split(
        tuple(fact for fact in facts if not fact.names & hidden),
        tuple(fact for fact in facts if fact.subject.name in hidden),
    )


def _some(count: int, share: float, generator: torch.Generator) -> list[int]:
    """At least one, and not all, of ``count``."""
    size = min(count - 1, max(1, round(share * count)))
    return torch.rand(count, generator=generator, dtype=torch.float64).argsort()[:size].tolist()
