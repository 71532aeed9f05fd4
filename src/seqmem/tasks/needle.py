"""A needle in a haystack: one sentence that matters among many that do not.

Kind of task: RULER: What's the Real Context Size of Your Long-Context Language Models? (2024), arXiv 2404.06654.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from seqmem.errors import InputError
from seqmem.tasks import _check
from seqmem.tasks._sentences import PLACES, QUESTIONS, SECRET, SECRETS
from seqmem.tasks.base import Changes
from seqmem.tasks.text import Draws, Story, TextTask


@dataclass(frozen=True)
class Needle(TextTask):
    """``The secret word of the bridge is velvet.`` somewhere in prose; at the end ``The secret word of the bridge is``.

    Options:
        needles: how many such sentences, about different places and with different words; one is asked.
        length, tokens, test_lengths: see :class:`~seqmem.tasks.text.TextTask`.
    """

    answers: ClassVar[tuple[str, ...]] = SECRETS
    changes: ClassVar[Changes] = {"needles": (4, 12), "length": (512, 1024)}

    tokens: Literal["words", "bytes"] = "words"
    needles: int = 1

    def __post_init__(self) -> None:
        if _check.integer(self.name, "needles", self.needles, at_least=1) > len(PLACES):
            raise InputError(f"task '{self.name}': needles={self.needles}, expected at most {len(PLACES)}")
        super().__post_init__()

    def story(self, depth: float, draws: Draws) -> Story:
        """The asked needle at ``depth``, the others anywhere."""
        places, words = draws.sample(PLACES, self.needles), draws.sample(SECRETS, self.needles)
        depths = [depth, *(draws.uniform() for _ in places[1:])]
        facts = [
            (at, SECRET.format(place=place, word=word)) for at, place, word in zip(depths, places, words, strict=True)
        ]
        return Story(facts, QUESTIONS["secret"].format(place=places[0]), words[0])
