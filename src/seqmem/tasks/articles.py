"""Short articles about people who never were, with a question each: what is answered right was read, not known.

In the manner of SynthWiki, from Attention Sorting Combats Recency Bias In Long Context Language Models (2023), arXiv
2310.01427: sentences with blanks, filled with invented names and with words drawn for each article anew.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from seqmem.errors import InputError


class Article(NamedTuple):
    """text: four sentences and a line break. question: about one of its facts. answer: begins with a space, as
    it follows the question in the text."""

    name: str
    text: str
    question: str
    answer: str


_STARTS = ("Bra", "Del", "Fen", "Gor", "Hal", "Jor", "Kel", "Lor", "Mar", "Nor", "Pel", "Ros", "Sel", "Tar",
           "Vel", "Wen")  # fmt: skip
_ENDS = ("dan", "fin", "gard", "lo", "mira", "na", "ric", "sky", "tine", "vin", "wick", "zel")
_WORDS = {
    "job": ("baker", "doctor", "farmer", "judge", "painter", "pilot", "sailor", "singer", "teacher", "writer"),
    "animal": ("bear", "cat", "dog", "fox", "goat", "horse", "lion", "mouse", "rabbit", "snake", "tiger", "wolf"),
    "colour": ("black", "blue", "brown", "gold", "green", "orange", "pink", "purple", "red", "silver", "white",
               "yellow"),
    "tool": ("bell", "camera", "clock", "drum", "guitar", "hammer", "knife", "lamp", "piano", "ring", "sword", "watch"),
}  # fmt: skip
_TEXT = (
    "{name} is a {job}. The favorite animal of {name} is the {animal}. The favorite color of {name} is {colour}. "
    "{name} owns an old {tool}.\n"
)
_QUESTIONS = {
    "animal": "The favorite animal of {name} is the",
    "colour": "The favorite color of {name} is",
    "tool": "{name} owns an old",
}


def made_up_articles(count: int, generator: torch.Generator) -> list[Article]:
    """``count`` articles about people of different names, whose facts are drawn independently.

    One fact of each is asked for, by the beginning of a sentence that the answer, a single word, completes.
    """
    most = len(_STARTS) * len(_ENDS)
    if type(count) is not int or not 1 <= count <= most:
        raise InputError(f"made_up_articles: count is {count!r}, expected a whole number from 1 to {most}")
    numbers = torch.randperm(most, generator=generator)[:count].tolist()

    def draw(words: tuple[str, ...]) -> str:
        return words[int(torch.randint(len(words), (), generator=generator))]

    articles = []
    for number in numbers:
        name = _STARTS[number % len(_STARTS)] + _ENDS[number // len(_STARTS)]
        facts = {"name": name, **{k: draw(words) for k, words in _WORDS.items()}}
        asked = draw(tuple(_QUESTIONS))
        articles.append(Article(name, _TEXT.format(**facts), _QUESTIONS[asked].format(**facts), f" {facts[asked]}"))
    return articles
