"""Stories with a gap in the last sentence: a name that only the story tells, or a word that its neighbours tell.

The Goldilocks Principle: Reading Children's Books with Explicit Memory Representations (2016), arXiv 1511.02301, its
form of question; the stories are this library's own. :mod:`seqmem.tasks.cloze` makes such questions from any book.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check, _draw
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task

NAMES = (
    "anna", "boris", "clara", "david", "emma", "felix", "gina", "henry", "ida", "jonas", "klara", "leo", "mira", "nils",
    "olga", "paul", "quentin", "rosa", "simon", "tilda", "ugo", "vera", "walter", "xenia", "yara", "zeno", "otto",
    "lena", "karl", "mona",
)  # fmt: skip
COLOURS = ("red", "blue", "green", "grey", "white", "brown")
TRADES = ("baker", "miller", "weaver", "sailor", "mason", "tailor")
VERBS = ("walked", "ran", "hid", "sat", "slept", "waited", "danced", "sang", "looked", "worked")
PREPOSITIONS = ("to", "toward", "behind", "on", "under", "near", "around", "inside", "through", "at")
PLACES = ("mill", "river", "well", "barn", "bridge", "tower", "garden", "chapel", "market", "stable")
WORDS = (
    "", "XXXXX", ".", "?", "the", "meeting", *NAMES, *COLOURS, *TRADES, *VERBS, *PREPOSITIONS, *PLACES,
)  # fmt: skip
NUMBER = {word: number for number, word in enumerate(WORDS)}
BLANK = NUMBER["XXXXX"]
SENTENCE = 12  # words: red baker anna walked to the mill meeting blue miller boris .
CAST = 10  # people of a story, and candidates of a question
PREPOSED, HABITS = 0.9, 2  # how often a verb has its preposition; verbs of a trade, and places of a preposition
#: class -> the places in a sentence at which a word of it may be missing
GAPS = {"entity": (2, 10), "noun": (6,), "verb": (3,), "preposition": (4,)}


class Gapped(NamedTuple):
    """context: (batch, sentence, word) tokens. query: (batch, word), with BLANK at ``gap`` (batch,). candidates:
    (batch, 10) tokens, of which the ``answer``-th, (batch,), is right."""

    context: Tensor
    query: Tensor
    gap: Tensor
    candidates: Tensor
    answer: Tensor

    @property
    def right(self) -> Tensor:
        """(batch,) the tokens that are missing."""
        return self.candidates.gather(1, self.answer[:, None])[:, 0]


@dataclass(frozen=True)
class ClozeStories(Task):
    """Ten people of thirty, each with a colour and a trade that nobody shares in this story, meet in places. In the
    last sentence a word is missing; the answer is asked at the question mark.

        entity       who is it: the name that goes with this colour and trade in this story
        verb         one of the two that go with the trade, in all stories
        preposition  the one that mostly goes with the verb, in all stories
        noun         one of the two places that go with the preposition, in all stories

    Options:
        length: time steps of a training example: 12 for every sentence, and one for the question mark.
        kinds: of gap; with several every batch mixes them evenly. Each is a slice, ``"kind=entity"``.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``; the stories grow.
    """

    solved_at: ClassVar[float | None] = None
    baseline: ClassVar[Mapping[str, Any]] = {"kinds": ("preposition",)}
    changes: ClassVar[Changes] = {"kinds": ("verb", "noun", "entity"), "length": (266, 532)}

    length: int = 133
    kinds: tuple[str, ...] = ("entity", "noun", "verb", "preposition")
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = _check.integer("cloze_stories", "length", self.length, at_least=1)
        object.__setattr__(self, "kinds", _check.choices("cloze_stories", "kinds", self.kinds, tuple(GAPS)))
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("cloze_stories", self.test_lengths, length))
        for one in self.test_lengths:
            self._sentences(one)

    def _sentences(self, length: int) -> int:
        count = (length - 1) // SENTENCE - 1
        if count < CAST // 2:
            raise InputError(
                f"task 'cloze_stories': length={length} has room for {max(0, count)} sentences, expected at least "
                f"{CAST // 2}, so that everybody is met: length={(CAST // 2 + 1) * SENTENCE + 1} or more"
            )
        return count

    @property
    def words(self) -> tuple[str, ...]:
        """The word of every token; the first is blank."""
        return WORDS

    @property
    def vocab_size(self) -> int:
        return len(WORDS)

    @property
    def slices(self) -> tuple[str, ...]:
        return tuple(f"kind={kind}" for kind in self.kinds)

    @property
    def chance(self) -> float:
        """Of the best single answer to each kind of gap, its word being known: a name is one of thirty."""
        return sum(1 / (len(NAMES) if kind == "entity" else CAST) for kind in self.kinds) / len(self.kinds)

    def gapped(self, count: int, sentences: int, kind: str, generator: torch.Generator) -> Gapped:
        """``count`` stories of so many sentences, at least 5, and one more with a gap."""
        _check.choice("cloze_stories", "kind", kind, tuple(GAPS))
        story = _stories(count, sentences, generator)
        context, query = story[:, :-1], story[:, -1].clone()
        places = torch.tensor(GAPS[kind])
        gap = places[torch.randint(len(places), (count,), generator=generator)]
        missing = query.gather(1, gap[:, None])
        query.scatter_(1, gap[:, None], BLANK)
        if kind == "entity":
            met = torch.zeros(count, len(WORDS), dtype=torch.bool)
            met.scatter_(1, context[:, :, places].flatten(1), True)
            among = met.nonzero()[:, 1].view(count, CAST)
        else:
            first = {"noun": PLACES, "verb": VERBS, "preposition": PREPOSITIONS}[kind][0]
            among = (NUMBER[first] + torch.arange(CAST)).expand(count, CAST)
        candidates = _draw.shuffled(among, generator)
        return Gapped(context, query, gap, candidates, (candidates == missing).long().argmax(1))

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` rows of ``length`` steps. The kind goes round ``kinds`` from row to row, from a random
        start."""
        _check.request("cloze_stories", batch_size, length, generator, split)
        sentences = self._sentences(length)
        groups = _draw.in_turn(batch_size, len(self.kinds), generator)
        inputs = torch.zeros(batch_size, length, dtype=torch.int64)
        targets = torch.full_like(inputs, IGNORE)
        for group, kind in enumerate(self.kinds):
            rows = (groups == group).nonzero().squeeze(1)
            if len(rows):
                told = self.gapped(len(rows), sentences, kind, generator)
                lines = torch.cat([told.context, told.query[:, None]], 1).flatten(1)
                inputs[rows, -1 - lines.shape[1] : -1] = lines
                targets[rows, -1] = told.right
        inputs[:, -1] = NUMBER["?"]
        return Batch(inputs, targets, groups)

    def example(self, generator: torch.Generator) -> str:
        """A story with a gap for a name, and its candidates."""
        told = self.gapped(1, CAST // 2, "entity", generator)
        lines = [*told.context[0].tolist(), told.query[0].tolist()]
        text = "\n".join(" ".join(WORDS[word] for word in line[:-1]) + "." for line in lines)
        listed = told.candidates[0].tolist()
        return f"{text}\n{' / '.join(WORDS[word] for word in listed)} -> {WORDS[listed[int(told.answer[0])]]}"


def _stories(rows: int, sentences: int, generator: torch.Generator) -> Tensor:
    """(rows, sentence + 1, word): everybody is met in the first ``sentences``; the last one is about two of them."""

    def below(count: int, *shape: int) -> Tensor:
        return torch.randint(count, shape, generator=generator)

    total = sentences + 1
    cast = _draw.shuffled(_draw.subsets(rows, CAST, len(NAMES), generator), generator)
    looks = _draw.shuffled(_draw.subsets(rows, CAST, len(COLOURS) * len(TRADES), generator), generator)
    everybody = torch.arange(CAST).expand(rows, -1)
    told = torch.cat([everybody, below(CAST, rows, 2 * sentences - CAST)], 1)
    who = torch.cat([_draw.shuffled(told, generator), below(CAST, rows, 2)], 1)  # (rows, 2 * total) of the cast
    name, look = cast.gather(1, who).view(rows, total, 2), looks.gather(1, who).view(rows, total, 2)
    colour, trade = look % len(COLOURS), look // len(COLOURS)
    verb = (trade[..., 0] * HABITS + below(HABITS, rows, total)) % len(VERBS)
    usual = torch.rand(rows, total, generator=generator, dtype=torch.float64) < PREPOSED
    preposition = torch.where(usual, verb, below(len(PREPOSITIONS), rows, total))
    place = (preposition * HABITS + below(HABITS, rows, total)) % len(PLACES)
    story = torch.zeros(rows, total, SENTENCE, dtype=torch.int64)
    for first, person in ((0, 0), (8, 1)):
        story[..., first] = NUMBER[COLOURS[0]] + colour[..., person]
        story[..., first + 1] = NUMBER[TRADES[0]] + trade[..., person]
        story[..., first + 2] = NUMBER[NAMES[0]] + name[..., person]
    story[..., 3] = NUMBER[VERBS[0]] + verb
    story[..., 4] = NUMBER[PREPOSITIONS[0]] + preposition
    story[..., 5] = NUMBER["the"]
    story[..., 6] = NUMBER[PLACES[0]] + place
    story[..., 7], story[..., 11] = NUMBER["meeting"], NUMBER["."]
    return story
