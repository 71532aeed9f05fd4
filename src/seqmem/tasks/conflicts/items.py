"""Questions with a passage and a typed answer, and the same with another answer put in its place."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import NamedTuple

MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "hundred", "thousand", "million", "billion",
)  # fmt: skip
ARTICLES = ("a", "an", "the")


class Item(NamedTuple):
    """``kind``: the type of the answer, such as "person", "organisation" or "location"; "" asks :func:`kind_of`, which
    knows dates and numbers. ``aliases``: other names of the answer."""

    question: str
    passage: str
    answer: str
    kind: str = ""
    aliases: tuple[str, ...] = ()


class Conflict(NamedTuple):
    """``item`` with ``substitute`` for its answer; ``passage`` says so at every mention. ``group``: for breakdowns,
    such as the bin of popularity that the substitute comes from."""

    item: Item
    passage: str
    substitute: str
    policy: str
    group: str = ""

    @property
    def read(self) -> Item:
        """What a reader of the passage should answer."""
        return Item(self.item.question, self.passage, self.substitute, self.item.kind)


def kind_of(item: Item) -> str:
    """The item's kind; where it has none "date", "number" or "name", by the words of its answer."""
    if item.kind:
        return item.kind
    words = re.findall(r"[a-z]+|\d+", item.answer.lower())
    if any(word in MONTHS for word in words) or re.fullmatch(r"(in )?(1\d|20)\d\ds?", item.answer.lower()):
        return "date"
    counted = [word.isdigit() or word in NUMBERS for word in words]
    return "number" if counted and counted[0] else "name"


def names_of(item: Item) -> tuple[str, ...]:
    """The answer and its aliases."""
    return (item.answer, *item.aliases)


def mentions(names: Sequence[str], text: str) -> list[re.Match[str]]:
    """Where ``text`` names one of ``names`` as whole words, the longest name first."""
    longest = sorted((name for name in names if name), key=len, reverse=True)
    if not longest:
        return []
    pattern = r"(?<!\w)(?:" + "|".join(map(re.escape, longest)) + r")(?!\w)"
    return list(re.finditer(pattern, text))


def replaced(names: Sequence[str], substitute: str, text: str) -> str:
    """``text`` with ``substitute`` for every mention, capitalised where a sentence begins with it and did before."""
    out, end = "", 0
    for found in mentions(names, text):
        begins = found.group()[0].isupper() and re.search(r"(^|[.!?]\s+)$", text[: found.start()]) is not None
        out += text[end : found.start()] + (substitute[:1].upper() + substitute[1:] if begins else substitute)
        end = found.end()
    return out + text[end:]


def same_answer(said: str, name: str) -> bool:
    """Exact match as of SQuAD: case, punctuation, articles and spaces do not count."""
    return bool(_normal(said)) and _normal(said) == _normal(name)


def _normal(text: str) -> str:
    plain = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return " ".join(word for word in plain.split() if word not in ARTICLES)
