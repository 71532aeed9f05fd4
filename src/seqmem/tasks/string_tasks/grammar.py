"""English-like sentences from a small probabilistic grammar: text whose probabilities are known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from seqmem.errors import InputError
from seqmem.tasks.text import Draws

NOUNS = [
    "man",
    "woman",
    "house",
    "door",
    "road",
    "river",
    "child",
    "dog",
    "letter",
    "garden",
    "table",
    "window",
    "bread",
    "horse",
    "teacher",
    "city",
    "bird",
    "stone",
    "boat",
    "field",
    "forest",
    "kettle",
    "lantern",
    "pigeon",
]
ADJECTIVES = ["old", "new", "small", "red", "cold", "quiet", "young", "empty", "narrow", "gentle", "wooden", "distant"]
VERBS = ["saw", "found", "left", "took", "held", "heard", "kept", "moved", "watched", "followed", "carried", "painted"]
ALONE = ["slept", "waited", "laughed", "fell", "came", "stood", "vanished", "wandered"]
PREPOSITIONS = ["in", "near", "under", "by", "behind", "beyond"]
ARTICLES = ("the", "a")
WORDS = tuple(sorted({*NOUNS, *ADJECTIVES, *VERBS, *ALONE, *PREPOSITIONS, *ARTICLES}))


def _ranked(words: Sequence[str]) -> list[tuple[float, tuple[str, ...]]]:
    """Words with probabilities in proportion to 1 / rank."""
    total = sum(1 / n for n in range(1, len(words) + 1))
    return [(1 / n / total, (word,)) for n, word in enumerate(words, 1)]


#: symbol -> (probability, what it becomes) each; what has no rule is a word
ENGLISH: dict[str, list[tuple[float, tuple[str, ...]]]] = {
    "S": [(1.0, ("NP", "VP"))],
    "NP": [(0.65, ("D", "N")), (0.35, ("D", "A", "N"))],
    "VP": [(0.5, ("V", "NP")), (0.2, ("I", "PP")), (0.2, ("V", "NP", "PP")), (0.1, ("I",))],
    "PP": [(1.0, ("P", "NP"))],
    "D": [(0.75, ("the",)), (0.25, ("a",))],
    "N": _ranked(NOUNS),
    "A": _ranked(ADJECTIVES),
    "V": _ranked(VERBS),
    "I": _ranked(ALONE),
    "P": _ranked(PREPOSITIONS),
}


@dataclass(frozen=True)
class Grammar:
    """A probabilistic context-free grammar whose symbols, but for words, all have rules.

    rules: symbol -> (probability, right-hand side) each; probabilities of one symbol sum to 1. start: its first symbol.
    Raises InputError where they do not.
    """

    rules: Mapping[str, Sequence[tuple[float, tuple[str, ...]]]] = field(default_factory=lambda: ENGLISH)
    start: str = "S"

    def __post_init__(self) -> None:
        if self.start not in self.rules:
            raise InputError(
                f"the grammar has no rule for its start {self.start!r}, expected one of {list(self.rules)}"
            )
        for symbol, expansions in self.rules.items():
            total = sum(probability for probability, _ in expansions)
            if not expansions or any(p < 0 for p, _ in expansions) or abs(total - 1) > 1e-9:
                raise InputError(f"the probabilities of {symbol!r} sum to {total:g}, expected 1")

    def sentence(self, draws: Draws) -> str:
        """A random one, its words with a space between them."""
        waiting, said = [self.start], list[str]()
        while waiting:
            symbol = waiting.pop()
            if symbol not in self.rules:
                said.append(symbol)
                continue
            waiting.extend(reversed(_chosen(self.rules[symbol], draws.uniform())))
        return " ".join(said)

    def log_probability(self, sentence: str) -> float:
        """Natural logarithm of the probability of a sentence, all its derivations together; minus infinity for what
        the grammar has not."""
        words = sentence.split()
        known: dict[tuple[str, int, int], float] = {}

        def inside(symbol: str, start: int, stop: int) -> float:
            if symbol not in self.rules:
                return float(stop - start == 1 and words[start] == symbol)
            if (symbol, start, stop) not in known:
                known[symbol, start, stop] = 0.0  # a symbol that becomes itself adds nothing
                known[symbol, start, stop] = sum(p * spanned(right, start, stop) for p, right in self.rules[symbol])
            return known[symbol, start, stop]

        def spanned(symbols: tuple[str, ...], start: int, stop: int) -> float:
            if len(symbols) <= 1:
                return inside(symbols[0], start, stop) if symbols else float(start == stop)
            last = stop - len(symbols) + 1
            return sum(
                left * spanned(symbols[1:], cut, stop)
                for cut in range(start + 1, last + 1)
                if (left := inside(symbols[0], start, cut))
            )

        probability = inside(self.start, 0, len(words)) if words else 0.0
        return math.log(probability) if probability else -math.inf


def _chosen(expansions: Sequence[tuple[float, tuple[str, ...]]], uniform: float) -> tuple[str, ...]:
    """The right-hand side in whose part of the unit interval a number lies."""
    for probability, right in expansions:
        uniform -= probability
        if uniform < 0:
            return right
    return expansions[-1][1]  # the probabilities' sum was rounded


def shuffled(text: str, draws: Draws) -> str:
    """The same words in another random order: the same letters and length."""
    words = text.split()
    return " ".join(draws.sample(words, len(words)))


def exchanged(text: str, draws: Draws) -> str:
    """The same words, two of which changed places."""
    words = text.split()
    if len(words) > 1:
        a, b = draws.sample(range(len(words)), 2)
        words[a], words[b] = words[b], words[a]
    return " ".join(words)
