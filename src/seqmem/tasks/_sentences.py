"""Everything that the text tasks are written with: filler about nothing, and the words and forms of their facts.

The order of these words is the vocabulary of models that read words (:data:`WORDS`): to change it makes such models,
and the golden batches, another.
"""

from __future__ import annotations

import re

from seqmem.tasks._walks import GRAMMAR

_WHO = (
    "The postman", "A tall stranger", "My older cousin", "The new teacher", "A quiet neighbour", "The captain",
    "An old shepherd", "The young doctor", "A travelling singer", "The night watchman", "Our landlord", "The twins",
    "A retired sailor", "The choir", "Some students", "The gardener", "A careful clerk", "The cook", "Two brothers",
    "The visitors",
)  # fmt: skip
_DID = (
    "waited for the rain to end", "bought two loaves of bread", "spoke about the long winter", "slept until noon",
    "looked for a lost umbrella", "wrote a letter to a friend", "went home by the river", "laughed at an old joke",
    "paid for the tickets", "listened to the wind", "asked for a glass of water", "missed the last train",
    "walked slowly up the hill", "mended a pair of shoes", "counted the passing ships", "told a story twice",
    "forgot to close the window", "sat down under a tree", "argued about the weather", "carried a heavy basket",
)  # fmt: skip
_WHEN = (
    "after lunch", "on Monday", "before sunrise", "in the evening", "once more", "without a word", "as usual",
    "for no reason", "that day", "with great care", "in early spring", "while the bells rang",
)  # fmt: skip
#: prose about nothing: every sentence follows every other, and none says anything that a task asks
FILLER = tuple(f"{who} {did} {when}." for who in _WHO for did in _DID for when in _WHEN)

PLACES = (
    "lighthouse", "bridge", "bakery", "harbour", "castle", "chapel", "station", "orchard", "quarry", "theatre",
    "market", "tower",
)  # fmt: skip
SECRETS = (
    "marmalade", "thunder", "velvet", "compass", "feather", "granite", "lantern", "pepper", "ribbon", "saddle",
    "tulip", "walnut", "anchor", "button", "candle", "dolphin", "emerald", "falcon", "ginger", "honey", "ivory",
    "jungle", "mirror", "needle",
)  # fmt: skip
SECRET = "The secret word of the {place} is {word}."
PASSKEY = "The pass key is {key}. Remember it: {key} is the pass key."

LETTERS = tuple("BCDEFGHJKLMNOPQRSTUVWXYZ")
LET = "Let {name} be {value}."

THINGS = (
    "wagon", "shutter", "fence", "bench", "boat", "kettle", "ladder", "barrel", "sledge", "gate", "bucket", "drum",
)  # fmt: skip
COLOURS = (
    "black", "blue", "brown", "gold", "green", "grey", "orange", "pink", "purple", "red", "white", "yellow",
)  # fmt: skip
PAINTED = "The {thing} is painted {colour} now."

QUESTIONS = {
    "secret": "The secret word of the {place} is",
    "passkey": "What is the pass key? The pass key is",
    "let": "So {name} must be",
    "painted": "In the end the {thing} is painted",
    "story": "Question: {question}? Answer: in the",
}

_WORD = re.compile(r"[A-Za-z]+|\d|[^\w\s]")


def words_of(text: str) -> list[str]:
    """Words, digits and punctuation marks, one by one."""
    return _WORD.findall(text)


def _vocabulary() -> tuple[str, ...]:
    """The blank first, then every word once."""
    forms = " ".join((SECRET, PASSKEY, LET, PAINTED, *QUESTIONS.values(), "Where What"))
    people = [name.capitalize() for name in GRAMMAR.people]
    stories = [word for words in GRAMMAR for word in words]
    texts = (*_WHO, *_DID, *_WHEN, re.sub(r"{\w+}", "", forms), *PLACES, *SECRETS, *"0123456789", *LETTERS, *THINGS,
             *COLOURS, *people, *stories)  # fmt: skip
    return ("", *dict.fromkeys(word for text in texts for word in words_of(text)))


WORDS = _vocabulary()
