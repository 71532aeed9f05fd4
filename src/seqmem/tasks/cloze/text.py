"""A book as sentences of words."""

from __future__ import annotations

import re

ENDS = (".", "!", "?")
TITLES = ("mr", "mrs", "dr", "st", "capt", "no", "vol")
WORD = re.compile(r"[A-Za-z]+(?:[-'’][A-Za-z]+)*|\d+|[.!?]+|[,;:]")


def sentences_of(text: str) -> list[tuple[str, ...]]:
    """The sentences of a plain text, each as words and punctuation marks; quotation marks, dashes and brackets are left
    out. A sentence ends with . ! or ?, but not behind a title such as Mr."""
    sentences: list[tuple[str, ...]] = []
    words: list[str] = []
    for word in WORD.findall(text):
        if word[0] not in ENDS:
            words.append(word)
            continue
        if word == "." and words and words[-1].lower() in TITLES:
            continue
        if words:
            sentences.append((*words, word[0]))
        words = []
    return [*sentences, tuple(words)] if words else sentences
