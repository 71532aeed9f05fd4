"""Five digits in prose, to be said again.

Kind of task: Landmark Attention: Random-Access Infinite Context Length for Transformers (2023), arXiv 2305.16300.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from seqmem.tasks._sentences import PASSKEY, QUESTIONS
from seqmem.tasks.text import Draws, Story, TextTask


@dataclass(frozen=True)
class Passkey(TextTask):
    """``The pass key is 71432. Remember it: 71432 is the pass key.`` somewhere in prose, and asked at the end.

    Options:
        length, tokens, test_lengths: see :class:`~seqmem.tasks.text.TextTask`.
    """

    answers: ClassVar[tuple[str, ...]] = tuple(f"{number:05d}" for number in range(100_000))

    tokens: Literal["words", "bytes"] = "words"

    def story(self, depth: float, draws: Draws) -> Story:
        """The key at ``depth``."""
        key = draws.choice(self.answers)
        return Story([(depth, PASSKEY.format(key=key))], QUESTIONS["passkey"], key)
