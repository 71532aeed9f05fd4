"""Tasks in text: facts strewn over prose about nothing, a question at the end, an answer that continues it.

They are read by any causal language model with its own tokenizer (``seqmem eval``), and, as words or bytes, by models
that are trained on them (``seqmem compare``). One's own: a class with a :meth:`TextTask.story`; docs/tasks.md has one.

Kinds of task: RULER: What's the Real Context Size of Your Long-Context Language Models? (2024), arXiv 2404.06654.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import torch

from seqmem.errors import InputError
from seqmem.tasks import _check, _draw
from seqmem.tasks._sentences import FILLER, WORDS
from seqmem.tasks.base import IGNORE, Batch, Split, Task
from seqmem.tasks.tokenizers import ByteTokenizer, Reader, WordTokenizer, best_guess

T = TypeVar("T")
DEPTHS = 5  # slices of a batch: fifths of the text
TRIED = 16  # documents that a task writes when it is made, to see that they fit


class Story(NamedTuple):
    """facts: (place, sentence) each, the place from 0, the beginning of the text, to 1, its end; of two at one place
    the first comes first. question: what stands behind the text, on a line of its own. answer: what continues it,
    without the space before it."""

    facts: Sequence[tuple[float, str]]
    question: str
    answer: str


class Document(NamedTuple):
    """prompt, answer: text; the answer begins with its space. depth: where the fact that decides stands, 0 to 1. ids:
    the tokens of both. asked: how many of these, the last ones, are the answer's."""

    prompt: str
    answer: str
    depth: float
    ids: list[int]
    asked: int


class Draws:
    """Random choices, one after the other, from an explicit generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self._left: list[float] = []

    def uniform(self) -> float:
        """A number from 0 to below 1."""
        if not self._left:
            self._left = torch.rand(64, generator=self.generator, dtype=torch.float64).tolist()
        return self._left.pop()

    def below(self, count: int) -> int:
        """A whole number from 0 to below ``count``."""
        return int(self.uniform() * count)

    def choice(self, items: Sequence[T]) -> T:
        """One of them."""
        return items[self.below(len(items))]

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """``count`` different ones, in a random order."""
        left = list(items)
        for n in range(count):
            other = n + self.below(len(left) - n)
            left[n], left[other] = left[other], left[n]
        return left[:count]


@dataclass(frozen=True)
class TextTask(Task):
    """Base of the tasks in text. A task of one's own writes :meth:`story` and says what the ``answers`` are.

    Class variables: ``answers``, all that there are, equally likely (chance follows from them); ``header``, a text at
    the beginning of every document; ``words``, the vocabulary for ``tokens="words"``, the blank first.

    Options:
        length: most tokens of a training example, prompt and answer together.
        tokens: what a model trained on this task reads: ``"words"``, of the task's own vocabulary, or ``"bytes"``. A
            pretrained model reads with its own tokenizer.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``; there is more filler then.
    """

    answers: ClassVar[tuple[str, ...]] = ()
    header: ClassVar[str] = ""
    words: ClassVar[tuple[str, ...]] = WORDS

    length: int = 256
    tokens: Literal["words", "bytes"] = "bytes"
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = _check.integer(self.name, "length", self.length, at_least=1)
        _check.choice(self.name, "tokens", self.tokens, ("words", "bytes"))
        object.__setattr__(self, "test_lengths", _check.lengths_to_test(self.name, self.test_lengths, length))
        if not self.answers:
            raise InputError(f"task '{self.name}': answers is empty, expected all answers that there are")
        self.documents(TRIED, min(self.test_lengths), self.tokenizer, torch.Generator().manual_seed(0))

    def story(self, depth: float, draws: Draws) -> Story:
        """Facts, question and answer of one document; the fact that decides stands at ``depth``: ``(depth, "...")``."""
        raise NotImplementedError

    def stories(self, depths: Sequence[float], draws: Draws) -> Iterable[Story]:
        """A story for each depth: :meth:`story`, one after the other."""
        return (self.story(depth, draws) for depth in depths)

    def filler(self, draws: Draws) -> str:
        """A sentence about nothing, to stand between the facts."""
        return draws.choice(FILLER)

    @property
    def name(self) -> str:
        """As in the table of tasks; the class's name for one's own."""
        cls = type(self)
        return cls.__module__.rpartition(".")[2] if cls.__module__.startswith("seqmem.tasks.") else cls.__name__

    @property
    def tokenizer(self) -> ByteTokenizer | WordTokenizer:
        """What a model trained on this task reads with."""
        return ByteTokenizer() if self.tokens == "bytes" else _word_tokenizer(self.words)

    @property
    def vocab_size(self) -> int:
        return self.tokenizer.vocab_size

    @property
    def slices(self) -> tuple[str, ...]:
        return tuple(f"depth={(n + 0.5) / DEPTHS:g}" for n in range(DEPTHS))

    @property
    def chance(self) -> float:
        """Of the answer's tokens, words or bytes, each given those before it; see
        :func:`~seqmem.tasks.tokenizers.best_guess`."""
        return _chance(self.answers, self.tokens, self.words)

    @property
    def exact_chance(self) -> float:
        """Of a whole answer."""
        return 1 / len(self.answers)

    def documents(
        self,
        count: int,
        length: int,
        tokenizer: Any,
        generator: torch.Generator,
        depths: Sequence[float] | None = None,
    ) -> list[Document]:
        """``count`` documents of at most ``length`` tokens, prompt and answer together; a sentence more would not fit.

        tokenizer: a :class:`~seqmem.tasks.tokenizers.Reader` or what it takes, any tokenizer of transformers among
        that. depths: where the fact that decides stands, one from 0 to 1 for each document; default: anywhere.

        Raises InputError where the facts and the question alone are longer than ``length``.
        """
        _check.request(self.name, count, length, generator, "test")
        reader = tokenizer if isinstance(tokenizer, Reader) else Reader(tokenizer)
        draws = Draws(generator)
        where = [draws.uniform() for _ in range(count)] if depths is None else [float(depth) for depth in depths]
        if len(where) != count or not all(0 <= depth <= 1 for depth in where):
            raise InputError(f"task '{self.name}': depths={where}, expected {count} numbers from 0 to 1")
        stories = self.stories(where, draws)
        return [self._write(story, d, length, reader, draws) for d, story in zip(where, stories, strict=True)]

    def _write(self, story: Story, depth: float, length: int, reader: Reader, draws: Draws) -> Document:
        """The story with as much filler as there is room for."""
        if not story.answer or not all(0 <= place <= 1 for place, _ in story.facts):
            raise InputError(f"task '{self.name}': {story}, expected an answer, and places from 0 to 1")
        answer, filler = f" {story.answer}", list[str]()
        ids, asked = reader.read(self._prompt(story, filler), answer)
        sentence = self.filler(draws)
        while len(ids) + reader.size(sentence) <= length:  # again where sentences together have fewer tokens than alone
            room = length - len(ids)
            while (room := room - reader.size(sentence)) >= 0:
                filler.append(sentence)
                sentence = self.filler(draws)
            ids, asked = reader.read(self._prompt(story, filler), answer)
        while len(ids) > length and filler:  # or more
            filler.pop()
            ids, asked = reader.read(self._prompt(story, filler), answer)
        if len(ids) > length:
            raise InputError(
                f"task '{self.name}': length={length} is too short: facts and question alone have {len(ids)} tokens; "
                "use a greater length"
            )
        return Document(self._prompt(story, filler), answer, depth, ids, asked)

    def _prompt(self, story: Story, filler: Sequence[str]) -> str:
        lines, done = [self.header] if self.header else [], 0
        for place, fact in sorted(story.facts, key=lambda fact: fact[0]):
            upto = round(place * len(filler))
            lines += [*filler[done:upto], fact]
            done = upto
        return " ".join([*lines, *filler[done:]]) + "\n" + story.question

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh documents, each at the end of its row, blanks before it; the answer's tokens are asked,
        each given those before it. The depth goes round fifths of the text from row to row, from a random start."""
        _check.request(self.name, batch_size, length, generator, split)
        groups = _draw.in_turn(batch_size, DEPTHS, generator)
        within = torch.rand(batch_size, generator=generator, dtype=torch.float64)
        depths: list[float] = ((groups + within) / DEPTHS).tolist()
        tokenizer = self.tokenizer
        inputs, targets = [], []
        for document in self.documents(batch_size, length, tokenizer, generator, depths):
            ids, asked = document.ids, document.asked
            inputs.append([tokenizer.blank] * (length + 1 - len(ids)) + ids[:-1])
            targets.append([IGNORE] * (length - asked) + ids[-asked:])
        return Batch(torch.tensor(inputs), torch.tensor(targets), groups)

    def example(self, generator: torch.Generator) -> str:
        """The facts, dots for what stands between them, the question and the answer."""
        draws = Draws(generator)
        (story,) = self.stories([draws.uniform()], draws)
        facts = [fact for _, fact in sorted(story.facts, key=lambda fact: fact[0])]
        return f"{' ... '.join(['', *facts, '']).strip()}\n{story.question} -> {story.answer}"


@lru_cache(maxsize=16)
def _word_tokenizer(words: tuple[str, ...]) -> WordTokenizer:
    return WordTokenizer(words)


@lru_cache(maxsize=16)
def _chance(answers: tuple[str, ...], tokens: str, words: tuple[str, ...]) -> float:
    tokenizer = ByteTokenizer() if tokens == "bytes" else _word_tokenizer(words)
    return best_guess(tokenizer(f" {answer}")["input_ids"] for answer in answers)
