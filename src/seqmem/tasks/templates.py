"""Templates: strings in which only the pattern matters, made of symbols that training has seen or has not.

Source: When can transformers reason with abstract symbols? (2023), arXiv 2310.09753.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check, _draw
from seqmem.tasks.base import IGNORE, Batch, Split, Task

BLANK, FIRST = range(2)

#: kind -> its templates
KINDS: dict[str, tuple[str, ...]] = {
    "same": ("aa->1", "ab->0"),
    "other": ("aba->b", "abb->a"),
    "pairs": ("aabb->0", "abab->1", "abba->2"),
    "majority": ("aab->a", "aba->a", "baa->a"),
    "count": ("aaa->1", "aab->2", "aba->2", "abb->2", "abc->3"),
}
FORM = re.compile(r"([a-zA-Z]+)->([a-z]|[A-Z0-9]+)")


@dataclass(frozen=True)
class Templates(Task):
    """A template is drawn, its wildcards become distinct symbols, and its answer is asked at the last of them.

    A template is a string of wildcards (small letters) and fixed tokens (capitals), an arrow and the answer: one of its
    wildcards, or a label (capitals and digits). ``"aba->b"``: the answer to ``7 3 7`` is 3. All templates are equally
    likely. Steps that are left over are blank, strewn before the last symbol at random. To ask later, end the templates
    with a fixed token: ``"abaQ->b"``.

    Training draws from the first ``symbols`` symbols. Half of the validation and test examples, the slice ``unseen``,
    are made of ``unseen`` other ones. Token 0 is blank; labels and fixed tokens follow, then the symbols.

    Options:
        kind: same (are both symbols the same?), other (of two, the one that does not come last), pairs (aabb, abab or
            abba?), majority (which comes twice?), count (how many different ones?), or own.
        templates: those of kind own.
        symbols, unseen: how many there are of each.
        length: time steps of a training example; 0: those of the longest template.
        test_lengths: lengths to test at, by default 1, 2 and 4 times ``length``: more blanks.
    """

    kind: str = "same"
    templates: tuple[str, ...] = ()
    symbols: int = 64
    unseen: int = 64
    length: int = 0
    test_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check.choice("templates", "kind", self.kind, [*KINDS, "own"])
        if isinstance(self.templates, str) or (self.kind == "own") != bool(self.templates):
            raise InputError(
                f"task 'templates': kind={self.kind!r} with templates={self.templates!r}, expected a list of templates "
                "such as 'aba->b' with kind own, and none with another"
            )
        object.__setattr__(self, "templates", tuple(self.templates))
        parsed = [_parsed(one) for one in self._written]
        _refuse_contradictions(parsed)
        most = max(len(_wildcards(string)) for string, _ in parsed)
        for option in ("symbols", "unseen"):
            _check.integer("templates", option, getattr(self, option), at_least=max(1, most))
        least = max(len(string) for string, _ in parsed)
        if _check.integer("templates", "length", self.length, at_least=0) == 0:
            object.__setattr__(self, "length", least)
        object.__setattr__(self, "test_lengths", _check.lengths_to_test("templates", self.test_lengths, self.length))
        for one in self.test_lengths:
            self._check_length(one)

    @property
    def _written(self) -> Sequence[str]:
        return self.templates if self.kind == "own" else KINDS[self.kind]

    @property
    def words(self) -> tuple[str, ...]:
        """Labels and fixed tokens; the i-th is token 1 + i."""
        parsed = [_parsed(one) for one in self._written]
        fixed = {token for string, _ in parsed for token in string if token.isupper()}
        return tuple(sorted(fixed | {answer for _, answer in parsed if not answer.islower()}))

    @property
    def first_symbol(self) -> int:
        """Symbols of training are the tokens from this number on, ``unseen`` ones those after them."""
        return FIRST + len(self.words)

    @property
    def vocab_size(self) -> int:
        return self.first_symbol + self.symbols + self.unseen

    @property
    def slices(self) -> tuple[str, ...]:
        return ("seen", "unseen")

    @property
    def chance(self) -> float:
        """Of a guess that knows the symbols of training: the likeliest label, or any symbol."""
        answers = [_parsed(one)[1] for one in self._written]
        symbolic = sum(answer.islower() for answer in answers) / len(answers)
        return max([symbolic / self.symbols, *(answers.count(word) / len(answers) for word in self.words)])

    def _check_length(self, length: int) -> None:
        least = max(len(_parsed(one)[0]) for one in self._written)
        if length < least:
            raise InputError(
                f"task 'templates': length={length} is too short, expected at least {least}, the longest template"
            )

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` fresh examples of ``length`` steps. The template goes round from row to row, from a random
        start; so does, but for training, whether the symbols are unseen."""
        _check.request("templates", batch_size, length, generator, split)
        self._check_length(length)
        written = self._written
        start = torch.randint(2 * len(written), (), generator=generator)
        turn = torch.arange(batch_size) + start
        which, groups = turn % len(written), turn // len(written) % 2
        if split == "train":
            groups = torch.zeros_like(groups)
        inputs = torch.empty(batch_size, length, dtype=torch.int64)
        targets = torch.full((batch_size, length), IGNORE)
        for index, one in enumerate(written):
            rows = (which == index).nonzero().squeeze(1)
            inputs[rows], targets[rows, -1] = self._filled(one, length, groups[rows], generator)
        return Batch(inputs, targets, groups)

    def _filled(self, one: str, length: int, groups: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Inputs (rows, length) and answers (rows,) of one template."""
        string, answer = _parsed(one)
        rows, wildcards = len(groups), _wildcards(string)
        drawn = [
            first + _draw.shuffled(_draw.subsets(rows, len(wildcards), size, generator), generator)
            for first, size in ((0, self.symbols), (self.symbols, self.unseen))
        ]
        symbol = self.first_symbol + torch.where(groups[:, None] == 1, drawn[1], drawn[0])  # (rows, wildcard)
        fixed = {word: torch.full((rows,), FIRST + n) for n, word in enumerate(self.words)}
        token = fixed | {letter: symbol[:, n] for n, letter in enumerate(wildcards)}
        free = torch.arange(length - 1).expand(rows, -1)
        places = _draw.shuffled(free, generator)[:, : len(string) - 1].sort(1).values
        places = torch.cat([places, torch.full((rows, 1), length - 1)], 1)
        inputs = torch.full((rows, length), BLANK)
        inputs.scatter_(1, places, torch.stack([token[letter] for letter in string], 1))
        return inputs, token[answer]

    def example(self, generator: torch.Generator) -> str:
        """Symbols as numbers, unseen ones with a star; blanks as dots."""
        batch = self.sample(1, self.length, generator, split="test")
        said = " ".join(self._shown(token) for token in batch.inputs[0].tolist())
        return f"{said}  ->  {self._shown(int(batch.targets[0, -1]))}"

    def _shown(self, token: int) -> str:
        if token < self.first_symbol:
            return "." if token == BLANK else self.words[token - FIRST]
        number = token - self.first_symbol
        return f"s{number}" if number < self.symbols else f"s{number}*"


def _parsed(template: str) -> tuple[str, str]:
    """The string and the answer."""
    found = FORM.fullmatch(template) if isinstance(template, str) else None
    if found is None or (found[2].islower() and found[2] not in found[1]):
        raise InputError(
            f"task 'templates': template {template!r}, expected small letters for wildcards and capitals for fixed "
            "tokens, an arrow, and one of its wildcards or a label of capitals and digits, such as 'aBa->a'"
        )
    return found[1], found[2]


def _wildcards(string: str) -> str:
    """The small letters of a template, each once, in their order."""
    return "".join(dict.fromkeys(letter for letter in string if letter.islower()))


def _refuse_contradictions(parsed: list[tuple[str, str]]) -> None:
    """Strings that differ in the letters' names alone must not have two answers, nor come twice."""
    known: set[str] = set()
    for string, _ in parsed:
        order = _wildcards(string)
        pattern = "".join(f"<{order.index(letter)}>" if letter.islower() else letter for letter in string)
        if pattern in known:
            raise InputError(
                f"task 'templates': {string!r} is a string of another template too, expected each pattern once"
            )
        known.add(pattern)
