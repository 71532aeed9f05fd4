"""A battery: items of equal length whose answers, or inputs, a reference model finds likely, less so, or unlikely."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch

from seqmem.errors import InputError
from seqmem.tasks import _check, _text
from seqmem.tasks.string_tasks.grammar import exchanged, shuffled
from seqmem.tasks.string_tasks.kinds import Kind, kind_of
from seqmem.tasks.string_tasks.material import HOW
from seqmem.tasks.string_tasks.reference import CharNGram, Reference
from seqmem.tasks.text import Draws

Level = Literal["high", "medium", "low"]
LEVELS: tuple[Level, ...] = ("high", "medium", "low")


@dataclass(frozen=True)
class Item:
    """One question with its one answer. log_p_input, log_p_output: nats, by the reference model; level: of the one that
    the battery was asked to vary. frequent: whether the variant is the kind's common one."""

    kind: str
    variant: str
    asked: str
    input: str
    output: str
    log_p_input: float
    log_p_output: float
    level: Level
    frequent: bool


@cache
def novel() -> CharNGram:
    """The default reference: the novel inside the package, in small letters, contexts of up to four characters."""
    return CharNGram(_text.load(()).written().lower(), order=5)


def battery(
    kind: str,
    generator: torch.Generator,
    *,
    variants: Sequence[str] | None = None,
    by: Literal["output", "input"] = "output",
    per_level: int = 20,
    reference: Reference | None = None,
    pool: int = 10,
) -> list[Item]:
    """``per_level`` items of each variant and level, variants and levels in their order.

    kind: one of :data:`KINDS`. variants: names of its variants, by default all. by: what the levels are about, the
    probability of the answer or of the input. reference: text -> log p in nats, by default :func:`novel`. pool:
    candidates of each sort that are drawn for an item.

    Candidates are drawn likely, unlikely and between; of those of one length (of what the levels are about, in
    characters) the likeliest are high, the unlikeliest low, those in the middle medium, so that each level has as many
    items of each length. The inputs of a battery are different. Raises InputError where the pool has not enough.
    """
    known = kind_of(kind)
    _check.choice("string_tasks", "by", by, ("output", "input"))
    _check.integer("string_tasks", "per_level", per_level, at_least=1)
    _check.integer("string_tasks", "pool", pool, at_least=3)
    judge, draws = novel() if reference is None else reference, Draws(generator)
    names = list(known.variants) if variants is None else list(variants)
    return [item for name in names for item in _of_variant(known, name, draws, by, per_level, judge, pool)]


def matched(
    kind: str,
    variant: str,
    sentences: Sequence[str],
    generator: torch.Generator,
    *,
    reference: Reference | None = None,
) -> list[Item]:
    """Three items of each sentence, with the same letters: answered by the sentence (high), by it with two words
    exchanged (medium), by its words in any order (low). For variants whose answer may be any text: shift, keyboard and
    reversal."""
    known = kind_of(kind)
    chosen, judge, draws = known.variant(variant), novel() if reference is None else reference, Draws(generator)
    if chosen.undo is None:
        raise InputError(f"kind '{kind}', variant {variant!r}: not every text is an answer; use battery() for it")
    made = []
    for level, change in (("high", None), ("medium", exchanged), ("low", shuffled)):
        for sentence in sentences:
            answer = sentence if change is None else change(sentence, draws)
            given = chosen.undo(answer)
            known_as = (kind, variant, chosen.asked, given, answer, judge(given), judge(answer))
            made.append(Item(*known_as, level, variant == known.common))  # type: ignore[arg-type]
    return made


def _of_variant(
    kind: Kind, name: str, draws: Draws, by: str, per_level: int, judge: Reference, pool: int
) -> list[Item]:
    variant = kind.variant(name)
    drawn = dict.fromkeys(variant.draw(how, draws) for _ in range(pool * per_level) for how in HOW)
    lengths: defaultdict[int, list[tuple[str, str, float, float]]] = defaultdict(list)
    for given in drawn:
        answer = variant.solve(given)
        lengths[len(answer if by == "output" else given)].append((given, answer, judge(given), judge(answer)))
    counts = _allotted({length: len(found) for length, found in lengths.items()}, per_level)
    if sum(counts.values()) < per_level:
        raise InputError(
            f"kind '{kind.name}', variant {name!r}: {len(drawn)} candidates have {sum(counts.values())} items of each "
            f"level at equal lengths, expected per_level={per_level}; raise pool={pool}"
        )
    taken: dict[Level, list[Item]] = {level: [] for level in LEVELS}
    for length, count in counts.items():
        found = sorted(lengths[length], key=lambda one: one[3] if by == "output" else one[2], reverse=True)
        middle = (len(found) - count) // 2
        chosen = {"high": found[:count], "medium": found[middle : middle + count], "low": found[len(found) - count :]}
        for level in LEVELS:
            taken[level] += [
                Item(kind.name, name, variant.asked, *candidate, level, name == kind.common)
                for candidate in chosen[level]
            ]
    return [item for level in LEVELS for item in taken[level]]


def _allotted(sizes: Mapping[int, int], wanted: int) -> dict[int, int]:
    """How many items of each length a level gets: in proportion to the candidates, at most a third of them, together as
    many as are wanted or there is room for."""
    counts = {length: min(size // 3, wanted * size // sum(sizes.values())) for length, size in sizes.items()}
    while (missing := wanted - sum(counts.values())) > 0:
        room = [length for length, size in sizes.items() if counts[length] < size // 3]
        if not room:
            break
        for length in sorted(room, key=lambda one: -sizes[one])[:missing]:
            counts[length] += 1
    return counts
