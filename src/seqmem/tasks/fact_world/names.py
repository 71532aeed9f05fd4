"""Names that nobody has: made of syllables, one word each, no two the same."""

from __future__ import annotations

from itertools import product

import torch

from seqmem.errors import InputError
from seqmem.tasks import _draw

ONSETS = ["b", "br", "d", "dr", "f", "g", "gr", "k", "kl", "l", "m", "n", "p", "pl", "r", "s", "t", "tr", "v", "z"]
VOWELS = ["a", "e", "i", "o", "u"]
SYLLABLES = tuple(onset + vowel for onset, vowel in product(ONSETS, VOWELS))

#: kind -> number of syllables and the endings that tell the kind to a reader
SHAPES: dict[str, tuple[int, tuple[str, ...]]] = {
    "person": (2, ("lt", "nd", "rk", "sk", "th", "x")),
    "place": (1, ("dale", "ford", "haven", "holm", "mere", "wick")),
    "organisation": (2, ("guild", "line", "press", "trust", "works")),
    "region": (2, ("land", "mark", "shire")),
}
TRADES = (
    "baker", "brewer", "carpenter", "cooper", "dyer", "farmer", "glazier", "hatter", "joiner", "mason", "miller",
    "painter", "potter", "printer", "roofer", "sailor", "tailor", "tanner", "weaver", "wheelwright",
)  # fmt: skip


def names(kind: str, count: int, generator: torch.Generator) -> tuple[str, ...]:
    """``count`` names of a kind of :data:`SHAPES`, capitalised, in random order."""
    syllables, endings = SHAPES[kind]
    total = len(SYLLABLES) ** syllables * len(endings)
    if count > total:
        raise InputError(f"{count} names of kind '{kind}' were asked for, expected at most {total}")
    found = []
    for code in _draw.shuffled(_draw.subsets(1, count, total, generator), generator)[0].tolist():
        stem, ending = divmod(code, len(endings))
        word = ""
        for _ in range(syllables):
            stem, one = divmod(stem, len(SYLLABLES))
            word += SYLLABLES[one]
        found.append((word + endings[ending]).capitalize())
    return tuple(found)
