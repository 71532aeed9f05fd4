"""The closed vocabulary of a world, and the way from words to plain text and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

from seqmem.errors import InputError
from seqmem.tasks.fact_world.relations import RELATIONS

STOPS = (".", "?")


class _Words(NamedTuple):
    words: tuple[str, ...]


class Words(_Words):
    """``words``: the word of every token; the first is blank."""

    @classmethod
    def of(cls, names: Iterable[str], years: tuple[int, int]) -> Words:
        """Blank, stops, the templates' words, names, and the years of a world."""
        phrases = (text for r in RELATIONS.values() for text in (*r.statements, *r.questions))
        plain = sorted({word for text in phrases for word in text.split() if word[0] != "{"} - set(STOPS))
        dates = [str(year) for year in range(years[0], years[1] + 1)]
        return cls(tuple(dict.fromkeys(("", *STOPS, *plain, *names, *dates))))

    @cached_property
    def token_of(self) -> dict[str, int]:
        return {word: token for token, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, text: str | Sequence[str]) -> list[int]:
        """Tokens of plain text or of words. Raises InputError for a word that is not of this world."""
        words = split_text(text) if isinstance(text, str) else list(text)
        if isinstance(text, str):  # sentences begin with a capital
            begins = [0, *(n + 1 for n, word in enumerate(words[:-1]) if word in STOPS)]
            for n in begins[: len(words)]:
                words[n] = words[n] if words[n] in self.token_of else words[n][0].lower() + words[n][1:]
        for word in words:
            if word not in self.token_of:
                raise InputError(f"'{word}' is no word of this world; it has {len(self)}, see its words")
        return [self.token_of[word] for word in words]

    def __call__(self, text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
        """As a tokenizer: ``{"input_ids": tokens}``."""
        return {"input_ids": self.encode(text)}

    def decode(self, tokens: Iterable[int]) -> str:
        """Plain text; blanks are left out."""
        return to_text([self.words[token] for token in tokens if token])


def split_text(text: str) -> list[str]:
    """Words and stops."""
    return re.findall(r"\w+|[.?]", text)


def to_text(words: Sequence[str]) -> str:
    """As a person writes it: no blank before a stop, a capital after one."""
    out = ""
    for n, word in enumerate(words):
        begins = n == 0 or words[n - 1] in STOPS
        shown = word[0].upper() + word[1:] if begins else word
        out += shown if word in STOPS or not out else f" {shown}"
    return out
