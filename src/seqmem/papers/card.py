"""The cards: one per paper, in our own words; what it claims, and what must be seen to believe it."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from importlib import resources

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from seqmem.errors import InputError, did_you_mean

ROOMS = (
    "mixers", "models", "tasks", "interp", "decoding", "context", "continual", "cognition", "theory", "survey",
)  # fmt: skip


class Card(BaseModel):
    """A paper: its number in the list, a short name, where it is found, the room its piece lives in, and its claim."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n: int = Field(gt=0)
    slug: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    title: str = Field(min_length=1)
    year: int = Field(ge=1940, le=2100)
    arxiv: str | None = None
    url: str | None = None
    room: str
    claim: str = Field(min_length=1)
    seen: str = Field(min_length=1)  # what must be seen to believe it

    @property
    def link(self) -> str:
        """Where the paper is read; "" where the card does not say."""
        return self.url or (f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else "")


@functools.cache
def cards() -> dict[str, Card]:
    """Every card by its slug, in the order of their numbers. Raises ValueError for a card that is not one."""
    folder = resources.files("seqmem.papers") / "cards"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, where it is there, reads them ten times as fast
    found: list[Card] = []
    for room in ROOMS:
        path = folder / f"{room}.yaml"
        if not path.is_file():
            continue
        for row in yaml.load(path.read_text("utf-8"), loader) or []:
            try:
                card = Card.model_validate(row)
            except ValidationError as error:
                raise ValueError(f"cards/{room}.yaml, {row!r}: {error}") from error
            if card.room != room:
                raise ValueError(f"cards/{room}.yaml: '{card.slug}' says that its room is '{card.room}'")
            found.append(card)
    for key in ("n", "slug"):
        values = [getattr(card, key) for card in found]
        if twice := {value for value in values if values.count(value) > 1}:
            raise ValueError(f"cards: {key} {sorted(twice)} more than once")
    return {card.slug: card for card in sorted(found, key=lambda card: card.n)}


def card_of(slug: str) -> Card:
    """One card. Raises InputError with the nearest names for a slug that there is not."""
    known = cards()
    if slug not in known:
        raise InputError(f"unknown paper '{slug}'.{did_you_mean(slug, known)}{_matching(slug, known.values())}")
    return known[slug]


def _matching(word: str, known: Iterable[Card]) -> str:
    """Papers whose slug or title holds the word, else where the list is."""
    found = [card.slug for card in known if word.lower() in f"{card.slug} {card.title}".lower()][:5]
    return f" It occurs in: {', '.join(found)}." if found else " 'seqmem papers' lists them all."


def room_of(name: str) -> str:
    """The name of a room. Raises InputError for another."""
    if name not in ROOMS:
        raise InputError(f"unknown room '{name}'.{did_you_mean(name, ROOMS)} Rooms: {', '.join(ROOMS)}")
    return name
