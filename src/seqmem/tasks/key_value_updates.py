"""Facts that are overwritten: the last value counts.

Kind of task: Unable to Forget: Proactive Interference Reveals Working Memory Limits in LLMs Beyond Context Length
(2025), arXiv 2506.08184.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from seqmem.errors import InputError
from seqmem.tasks import _check
from seqmem.tasks._sentences import COLOURS, PAINTED, QUESTIONS, THINGS
from seqmem.tasks.base import Changes
from seqmem.tasks.text import Draws, Story, TextTask


@dataclass(frozen=True)
class KeyValueUpdates(TextTask):
    """``The gate is painted red now.`` and later ``The gate is painted blue now.``; at the end the last colour is asked
    for.

    Options:
        keys: how many things are painted; one is asked.
        updates: how often each is painted, every time in another colour.
        length, tokens, test_lengths: see :class:`~seqmem.tasks.text.TextTask`.
    """

    answers: ClassVar[tuple[str, ...]] = COLOURS
    changes: ClassVar[Changes] = {"keys": (8,), "updates": (6,), "length": (512, 1024)}

    tokens: Literal["words", "bytes"] = "words"
    keys: int = 4
    updates: int = 3

    def __post_init__(self) -> None:
        for option, most in (("keys", len(THINGS)), ("updates", len(COLOURS))):
            if (given := _check.integer(self.name, option, getattr(self, option), at_least=1)) > most:
                raise InputError(f"task '{self.name}': {option}={given}, expected at most {most}")
        super().__post_init__()

    def story(self, depth: float, draws: Draws) -> Story:
        """The last update of the asked thing at ``depth``, its earlier ones before it, those of others anywhere."""
        facts, last = [], ""
        things = draws.sample(THINGS, self.keys)
        for thing in things:
            colours = draws.sample(COLOURS, self.updates)
            if thing == things[0]:
                last = colours[-1]
                places = [*sorted(depth * draws.uniform() for _ in colours[1:]), depth]
            else:
                places = sorted(draws.uniform() for _ in colours)
            facts += [(at, PAINTED.format(thing=thing, colour=c)) for at, c in zip(places, colours, strict=True)]
        return Story(facts, QUESTIONS["painted"].format(thing=things[0]), last)
