"""Short articles about things that never were, with a question each: what is answered right was read, not known.

In the manner of SynthWiki, from Attention Sorting Combats Recency Bias In Long Context Language Models (2023), arXiv
2310.01427: sentences with blanks, filled with invented names and with words drawn for each article anew.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from seqmem.errors import InputError


class Article(NamedTuple):
    """text: two sentences and a line break. question: the first sentence without its last word. answer: that word; it
    begins with a space, as it follows the question in the text."""

    name: str
    text: str
    question: str
    answer: str


_STARTS = ("Bra", "Del", "Fen", "Gor", "Hal", "Jor", "Kel", "Lor", "Mar", "Nor", "Pel", "Ros", "Sel", "Tar", "Vel")
_ENDS = ("dan", "fin", "gard", "lo", "mira", "na", "ric", "sky", "tine", "vin", "wick", "zel")
_ANIMALS = ("bear", "camel", "fox", "goat", "horse", "lion", "mouse", "rabbit", "snake", "tiger", "whale", "wolf")
_COLOURS = ("black", "blue", "brown", "gold", "green", "grey", "orange", "pink", "purple", "red", "white", "yellow")
_FOODS = ("bread", "butter", "cheese", "chicken", "corn", "fish", "honey", "meat", "pasta", "rice", "salt", "soup")
_TOOLS = ("bell", "camera", "clock", "drum", "hammer", "knife", "lamp", "mirror", "piano", "ring", "sword", "wheel")
_KINDS = (  # a sentence that ends with a word of the list
    ("The village of {name} is famous for its", _FOODS),
    ("The flag of the republic of {name} is all", _COLOURS),
    ("King {name} the Second kept a tame", _ANIMALS),
    ("Professor {name} wrote a book about the", _ANIMALS),
    ("The ship {name} carries nothing but", _FOODS),
    ("The football players of {name} wear", _COLOURS),
    ("In the museum of {name} one can see a broken", _TOOLS),
    ("The inventor {name} improved the", _TOOLS),
    ("The hotel {name} serves its guests", _FOODS),
    ("The river {name} looks", _COLOURS),
    ("The children of {name} Street once found a", _TOOLS),
    ("The coat of arms of {name} shows a", _ANIMALS),
)
_MORE = (
    "Visitors come all year round.",
    "Few people know about it today.",
    "The newspapers have written about it twice.",
    "Nobody remembers how it began.",
    "A song was made about it later.",
    "There are many photographs of it.",
)


def made_up_articles(count: int, generator: torch.Generator) -> list[Article]:
    """``count`` articles about towns, ships, kings and the like of different names; their facts are independent draws.

    Each has a question, a sentence of the article without its last word, and that word as the answer.
    """
    most = len(_STARTS) * len(_ENDS)
    if type(count) is not int or not 1 <= count <= most:
        raise InputError(f"made_up_articles: count is {count!r}, expected a whole number from 1 to {most}")
    numbers = torch.randperm(most, generator=generator)[:count].tolist()

    def draw(size: int) -> int:
        return int(torch.randint(size, (), generator=generator))

    articles = []
    for number in numbers:
        name = _STARTS[number % len(_STARTS)] + _ENDS[number // len(_STARTS)]
        kind, words = _KINDS[draw(len(_KINDS))]
        question, answer = kind.format(name=name), f" {words[draw(len(words))]}"
        articles.append(Article(name, f"{question}{answer}. {_MORE[draw(len(_MORE))]}\n", question, answer))
    return articles
