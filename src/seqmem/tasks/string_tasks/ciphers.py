"""Text letter by letter or word by word: shift ciphers, a cipher of neighbouring keys, Pig Latin and its kin.

All that is no small letter stays as it is.
"""

from __future__ import annotations

import re
from string import ascii_lowercase as ALPHABET

from seqmem.errors import InputError

#: layout of a keyboard -> its rows of letters
KEYBOARDS = {
    "qwerty": ("qwertyuiop", "asdfghjkl", "zxcvbnm"),
    "dvorak": ("pyfgcrl", "aoeuidhtns", "qjkxbmwvz"),
}


def shift(text: str, by: int) -> str:
    """Every letter moved on by so many places, from z to a: ``shift("hello", 13) == "uryyb"``."""
    by %= 26
    return text.translate(str.maketrans(ALPHABET, ALPHABET[by:] + ALPHABET[:by]))


def keyboard(text: str, layout: str = "qwerty", by: int = 1) -> str:
    """Every letter becomes that of the key ``by`` places to the right, from the end of a row to its beginning."""
    if layout not in KEYBOARDS:
        raise InputError(f"unknown keyboard {layout!r}, expected one of {', '.join(KEYBOARDS)}")
    rows = KEYBOARDS[layout]
    moved = [row[by % len(row) :] + row[: by % len(row)] for row in rows]
    return text.translate(str.maketrans("".join(rows), "".join(moved)))


def pig_latin(text: str, ending: str = "ay", after_vowel: str = "") -> str:
    """The consonants in front of every word to its end, and the ending: ``stone`` becomes ``onestay``. A word that
    begins with a vowel gets ``after_vowel`` and the ending: with ``w``, ``old`` becomes ``oldway``. ``y`` is a vowel
    behind the first letter, and ``qu`` goes together."""

    def turned(word: re.Match[str]) -> str:
        return word[2] + (word[1] or after_vowel) + ending

    return re.sub(r"\b(?=[a-z])(y?(?:qu|[b-df-hj-np-tv-xz])*)([a-z]*)", turned, text)
