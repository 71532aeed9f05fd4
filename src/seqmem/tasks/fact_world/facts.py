"""What is true in a world, before any word of it: entities, facts, and claims against them."""

from __future__ import annotations

from typing import NamedTuple

KINDS = ("person", "place", "organisation", "region", "trade", "year")


class Entity(NamedTuple):
    """``rank``: 0 is the most popular of its kind."""

    kind: str
    name: str
    rank: int


class Fact(NamedTuple):
    """``relation`` of ``subject`` is ``object``; a dated one from the year ``since`` to the year ``until``, both
    included."""

    subject: Entity
    relation: str
    object: Entity
    since: int | None = None
    until: int | None = None

    def holds_in(self, year: int | None) -> bool:
        """Whether it is true in a year; without dates it always is."""
        if self.since is None or self.until is None:
            return True
        return year is not None and self.since <= year <= self.until

    @property
    def about(self) -> tuple[str, str]:
        """What a question asks for: the subject's name and the relation. Dated facts share it with those before and
        after."""
        return self.subject.name, self.relation

    @property
    def names(self) -> set[str]:
        """Of the entities in it."""
        return {self.subject.name, self.object.name}
