"""String tasks to train on: a rule that is common and rules that are rare, amid text; are likely answers easier?

Source: Embers of Autoregression (2023), arXiv 2309.13638; the whole battery is :mod:`seqmem.tasks.string_tasks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check, _draw
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task
from seqmem.tasks.string_tasks.kinds import Kind, kind_of
from seqmem.tasks.string_tasks.material import LIKELY, UNLIKELY, text
from seqmem.tasks.text import Draws

END = "\n"
TRIED = 1000  # draws of an example that fits, before the length counts as too short


@dataclass(frozen=True)
class Embers(Task):
    """Rows of bytes: in training, text (sentences, one after the other, all of which is asked) or an example of a
    variant with a likely answer:

        13:gur zna fnj gur ubhfr=the man saw the house

    in which the answer and the line break behind it are asked. Validation examples are such examples. Test examples
    have the common variant or one of the others, evenly, and likely answers or unlikely ones (words in any order, any
    numbers): four slices. Line breaks fill rows up. At longer lengths, examples are as they are in training.

    Options:
        kind: shift, pig_latin, acronyms, reversal, sorting, counting, article_swapping, linear, multiplication,
            birthdays or keyboard.
        common: the share of the common variant among the examples. The others have shares in proportion to 1 / rank, in
            the order of their table; those that encode are left out.
        text: the share of rows of text.
        length: time steps of a training example.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``.
    """

    solved_at: ClassVar[float | None] = None
    changes: ClassVar[Changes] = {"kind": ("reversal", "keyboard"), "common": (0.9,), "length": (160,)}

    kind: str = "shift"
    common: float = 0.6
    text: float = 0.5
    length: int = 80
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        try:
            known = kind_of(self.kind)
        except InputError as error:
            raise InputError(f"task 'embers': {error}") from None
        for option in ("common", "text"):
            object.__setattr__(self, option, _check.share("embers", option, getattr(self, option)))
        length = _check.integer("embers", "length", self.length, at_least=1)
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("embers", self.test_lengths, length))
        draws = Draws(torch.Generator().manual_seed(0))
        for name in self.variants:
            for how in (LIKELY, UNLIKELY):
                self._example(known, name, how, min(self.test_lengths), draws)

    @property
    def variants(self) -> tuple[str, ...]:
        """Names, the common one first."""
        return tuple(name for name, variant in kind_of(self.kind).variants.items() if not variant.encodes)

    @cached_property
    def shares(self) -> Tensor:
        """(variants,) float64: how often each is trained."""
        weights = 1 / torch.arange(1, len(self.variants), dtype=torch.float64)
        rest = 1 - self.common
        return torch.cat([torch.tensor([float(self.common)], dtype=torch.float64), rest * weights / weights.sum()])

    @property
    def vocab_size(self) -> int:
        return 256

    @property
    def slices(self) -> tuple[str, ...]:
        return ("common, likely", "common, unlikely", "rare, likely", "rare, unlikely")

    @property
    def chance(self) -> float:
        """Of saying the commonest byte of the answers always, counted in a thousand test examples."""
        return _chance(self)

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` rows. In the test the slices go round from row to row, from a random start."""
        _check.request("embers", batch_size, length, generator, split)
        draws, kind = Draws(generator), kind_of(self.kind)
        if split == "test":
            groups = _draw.in_turn(batch_size, 4, generator)
            names = [self.variants[0] if group < 2 else draws.choice(self.variants[1:]) for group in groups.tolist()]
            likely = [group % 2 == 0 for group in groups.tolist()]
        else:
            uniform = torch.rand(batch_size, generator=generator, dtype=torch.float64)
            chosen = torch.searchsorted(self.shares.cumsum(0)[:-1].contiguous(), uniform, right=True)
            groups = 2 * (chosen > 0).long()
            names, likely = [self.variants[n] for n in chosen.tolist()], [True] * batch_size
        prose = [split == "train" and draws.uniform() < self.text for _ in names]
        rows = [
            _prose(length, draws) if written else self._example(kind, name, LIKELY if easy else UNLIKELY, length, draws)
            for name, easy, written in zip(names, likely, prose, strict=True)
        ]
        return _laid_out(rows, length, groups)

    def _example(self, kind: Kind, name: str, how: int, length: int, draws: Draws) -> tuple[str, str]:
        """What is given, and what is asked: an example of at most ``length`` + 1 bytes."""
        variant = kind.variant(name)
        for _ in range(TRIED):
            given = variant.draw(how, draws)
            pair = f"{name}:{given}=", variant.solve(given) + END
            if sum(map(len, pair)) <= length + 1:
                return pair
        raise InputError(
            f"task 'embers': length={length} is too short for kind='{kind.name}', variant '{name}'; use a "
            "greater length"
        )

    def example(self, generator: torch.Generator) -> str:
        """One of the test's, and which slice it belongs to."""
        batch = self.sample(1, self.length, generator, split="test")
        assert batch.groups is not None
        asked = batch.targets[0] != IGNORE
        given = bytes(batch.inputs[0, : int(asked.nonzero()[0]) + 1].tolist()).decode()
        answer = bytes(batch.targets[0][asked].tolist()).decode().strip()
        return f"{given}  ->  {answer}   ({self.slices[int(batch.groups[0])]})"


@lru_cache(16)
def _chance(task: Embers) -> float:
    answers = task.sample(1000, task.length, torch.Generator().manual_seed(0), split="test").targets
    counts = answers[answers != IGNORE].bincount()
    return float(counts.max() / counts.sum())


def _prose(length: int, draws: Draws) -> tuple[str, str]:
    """Sentences until the row is full: a line break is given, all else asked."""
    said = ""
    while len(said) < length:
        said += text(LIKELY, draws) + END
    return END, said[:length]


def _laid_out(rows: list[tuple[str, str]], length: int, groups: Tensor) -> Batch:
    """Rows of what is given and asked, line breaks behind."""
    whole = "".join((given + asked).ljust(length + 1, END) for given, asked in rows)
    tokens = torch.frombuffer(bytearray(whole.encode()), dtype=torch.uint8).view(len(rows), length + 1).long()
    first = torch.tensor([len(given) for given, _ in rows])[:, None]
    last = first + torch.tensor([len(asked) for _, asked in rows])[:, None]
    place = torch.arange(1, length + 1)  # of the token that a target is
    asked = (place >= first) & (place < last)
    return Batch(tokens[:, :-1].contiguous(), torch.where(asked, tokens[:, 1:], IGNORE), groups)
