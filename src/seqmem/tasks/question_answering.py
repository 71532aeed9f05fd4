"""Questions about people who walk about and carry things, the facts strewn over prose.

Kinds of question: Towards AI-Complete Question Answering (2015), arXiv 1502.05698; strewn over prose: BABILong: Testing
the Limits of LLMs with Long Context Reasoning-in-a-Haystack (2024), arXiv 2406.10149. The stories are those of
:class:`~seqmem.tasks.stories.Stories`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from seqmem.errors import InputError
from seqmem.tasks import _check
from seqmem.tasks._sentences import QUESTIONS
from seqmem.tasks._walks import GRAMMAR, KINDS, WORDS, tell
from seqmem.tasks.base import Changes
from seqmem.tasks.text import Draws, Story, TextTask


@dataclass(frozen=True)
class QuestionAnswering(TextTask):
    """``Anna took the apple.`` and later ``Anna walked to the garden.``; at the end ``Where is the apple?``

    Options:
        facts: how many sentences the answer follows from, 1 to 3: where a person is, where a thing is, where a thing
            was before.
        sentences: of the story, these facts among them; the others are about the same people and things.
        length, tokens, test_lengths: see :class:`~seqmem.tasks.text.TextTask`.
    """

    answers: ClassVar[tuple[str, ...]] = GRAMMAR.places
    changes: ClassVar[Changes] = {"facts": (1, 3), "sentences": (20,), "length": (512, 1024)}

    tokens: Literal["words", "bytes"] = "words"
    facts: int = 2
    sentences: int = 10

    def __post_init__(self) -> None:
        if _check.integer(self.name, "facts", self.facts, at_least=1) > 3:
            raise InputError(f"task '{self.name}': facts={self.facts}, expected 1, 2 or 3")
        _check.integer(self.name, "sentences", self.sentences, at_least=4)
        super().__post_init__()

    def stories(self, depths: Sequence[float], draws: Draws) -> Iterator[Story]:
        """The last of the facts at ``depth``, what was told before it before it, what was told later behind it."""
        told = tell(KINDS[self.facts - 1], len(depths), self.sentences, draws.generator)
        lines, questions, answers, support = (part.tolist() for part in told)
        for depth, story, question, answer, facts in zip(depths, lines, questions, answers, support, strict=True):
            decides = max(facts)
            before = sorted(depth * draws.uniform() for _ in range(decides))
            behind = sorted(depth + (1 - depth) * draws.uniform() for _ in range(decides + 1, self.sentences))
            places = [*before, depth, *(min(place, 1.0) for place in behind)]
            sentences = [f"{_written(line)}." for line in story]
            yield Story(
                list(zip(places, sentences, strict=True)),
                QUESTIONS["story"].format(question=_written(question)),
                WORDS[answer],
            )

    def story(self, depth: float, draws: Draws) -> Story:
        """One of :meth:`stories`."""
        return next(self.stories([depth], draws))


def _written(tokens: Sequence[int]) -> str:
    """A sentence with its capitals, without its mark."""
    words = [WORDS[token] for token in tokens if token]
    named = [word.capitalize() if n == 0 or word in GRAMMAR.people else word for n, word in enumerate(words)]
    return " ".join(named)
