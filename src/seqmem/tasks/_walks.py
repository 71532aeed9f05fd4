"""How stories come about: all stories of a batch are lived through at once, sentence by sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from seqmem.tasks._draw import any_of

PHRASE = 7  # words of the longest sentence or question


class _Grammar(NamedTuple):
    people: tuple[str, ...] = ("anna", "boris", "clara", "david")
    places: tuple[str, ...] = ("attic", "cellar", "garden", "kitchen", "library", "stable")
    things: tuple[str, ...] = ("apple", "book", "coin")
    goes: tuple[str, ...] = ("walked", "ran", "returned")
    takes: tuple[str, ...] = ("took", "grabbed")
    drops: tuple[str, ...] = ("dropped", "left")
    others: tuple[str, ...] = ("to", "the", "where", "what", "is", "was", "before", "north", "of", ".", "?")


GRAMMAR = _Grammar()
WORDS: tuple[str, ...] = ("", *(word for words in GRAMMAR for word in words))
KINDS = ("one", "two", "three", "north")


class _Marks(NamedTuple):
    stop: int = WORDS.index(".")
    ask: int = WORDS.index("?")


SENTENCE = _Marks()
PERSON, PLACE, THING = (WORDS.index(words[0]) for words in (GRAMMAR.people, GRAMMAR.places, GRAMMAR.things))
NOBODY = NOWHERE = NEVER = -1

#: sentences (batch, sentence, word), question (batch, word), answer (batch,), support (batch, 3)
Stories = tuple[Tensor, Tensor, Tensor, Tensor]


def tell(kind: str, rows: int, sentences: int, generator: torch.Generator) -> Stories:
    """Stories with a question of this kind; lives in which there is nothing to ask are thrown away."""
    tellers: dict[str, Callable[[int, int, torch.Generator], tuple[Stories, Tensor]]] = {
        "one": _one, "two": _two, "three": _three, "north": _north,
    }  # fmt: skip
    found: list[Stories] = []
    while sum(len(story[0]) for story in found) < rows or not found:
        story, valid = tellers[kind](2 * rows + 8, sentences, generator)
        found.append(tuple(part[valid] for part in story))  # type: ignore[arg-type]
    return tuple(torch.cat(parts)[:rows] for parts in zip(*found, strict=True))  # type: ignore[return-value]


class _Lives(NamedTuple):
    """What has happened at the end. Sentences are named by their number, places and things from 0."""

    sentences: Tensor  # (batch, sentence, word)
    place: Tensor  # (batch, person) where they are
    walk: Tensor  # (batch, person) the sentence that says so
    lies: Tensor  # (batch, thing) where it is
    handled: Tensor  # (batch, thing) the sentence that says who has it or dropped it
    carried: Tensor  # (batch, thing) that person's last walk while they had it
    before: Tensor  # (batch, thing) where it was before it was carried to where it is
    journey: Tensor  # (batch, thing, 3) who took it, the walk here, the walk before


def _live(rows: int, sentences: int, things: bool, generator: torch.Generator) -> _Lives:
    """Everybody begins nowhere; a thing may be taken where it lies, or anywhere the first time."""
    people, places, kinds = len(GRAMMAR.people), len(GRAMMAR.places), len(GRAMMAR.things)
    place, walk = (torch.full((rows, people), NOWHERE) for _ in range(2))
    holder, lies, handled, carried, before = (torch.full((rows, kinds), NOBODY) for _ in range(5))
    journey = torch.full((rows, kinds, 3), NEVER)
    told = torch.zeros(rows, sentences, PHRASE, dtype=torch.int64)
    row = torch.arange(rows)
    for now in range(sentences):
        who = torch.randint(people, (rows,), generator=generator)
        what = torch.randint(kinds, (rows,), generator=generator)
        here = place[row, who]
        known = here != NOWHERE
        there = (torch.rand(rows, generator=generator, dtype=torch.float64) * (places - known.long())).long()
        there += known & (there >= here)  # another place than here
        acts = (torch.rand(rows, generator=generator, dtype=torch.float64) < 0.5) & things
        free = (holder[row, what] == NOBODY) & ((lies[row, what] == NOWHERE) | (lies[row, what] == here))
        take = acts & free & known
        drop = acts & (holder[row, what] == who)
        go = ~(take | drop)
        told[:, now] = _event(who, what, there, take, drop, generator)

        # with a walk, all that the walker holds comes along
        along = go[:, None] & (holder == who[:, None])  # (batch, thing)
        moved = torch.stack([handled, torch.full_like(handled, now), walk[row, who, None].expand_as(handled)], 2)
        journey = torch.where(along[..., None], moved, journey)
        before = torch.where(along, lies, before)
        lies = torch.where(along, there[:, None], lies)
        carried = carried.masked_fill(along, now)
        place[row[go], who[go]] = there[go]
        walk[row[go], who[go]] = now

        holder[row[take], what[take]] = who[take]
        lies[row[take], what[take]] = here[take]
        carried[row[take], what[take]] = walk[row, who][take]
        holder[row[drop], what[drop]] = NOBODY
        handled[row[~go], what[~go]] = now
    return _Lives(told, place, walk, lies, handled, carried, before, journey)


def _event(who: Tensor, what: Tensor, there: Tensor, take: Tensor, drop: Tensor, generator: torch.Generator) -> Tensor:
    """The sentence of each row, (batch, word): "anna walked to the attic", "anna took the apple", "anna left it"."""

    def one_of(verbs: tuple[str, ...]) -> Tensor:
        return WORDS.index(verbs[0]) + torch.randint(len(verbs), who.shape, generator=generator)

    goes, takes, drops = (one_of(verbs) for verbs in (GRAMMAR.goes, GRAMMAR.takes, GRAMMAR.drops))
    moves = _phrase(PERSON + who, goes, "to", "the", PLACE + there)
    handles = _phrase(PERSON + who, torch.where(take, takes, drops), "the", THING + what)
    return torch.where((take | drop)[:, None], handles, moves)


def _phrase(*words: str | Tensor) -> Tensor:
    """Words, the same in all rows or one for each, as (batch, PHRASE) with blanks after them."""
    (rows,) = {word.shape[0] for word in words if isinstance(word, Tensor)}
    phrase = torch.zeros(rows, PHRASE, dtype=torch.int64)
    for n, word in enumerate(words):
        phrase[:, n] = word if isinstance(word, Tensor) else WORDS.index(word)
    return phrase


def _support(rows: int, *facts: Tensor) -> Tensor:
    """(batch, 3), -1 where there are no more facts."""
    support = torch.full((rows, 3), NEVER)
    for n, fact in enumerate(facts):
        support[:, n] = fact
    return support


def _one(rows: int, sentences: int, generator: torch.Generator) -> tuple[Stories, Tensor]:
    lives = _live(rows, sentences, False, generator)
    who, row = any_of(lives.walk != NEVER, generator), torch.arange(rows)
    question = _phrase("where", "is", PERSON + who)
    support = _support(rows, lives.walk[row, who])
    return (lives.sentences, question, PLACE + lives.place[row, who], support), support[:, 0] != NEVER


def _two(rows: int, sentences: int, generator: torch.Generator) -> tuple[Stories, Tensor]:
    lives = _live(rows, sentences, True, generator)
    what, row = any_of(lives.handled != NEVER, generator), torch.arange(rows)
    question = _phrase("where", "is", "the", THING + what)
    support = _support(rows, lives.handled[row, what], lives.carried[row, what])
    return (lives.sentences, question, PLACE + lives.lies[row, what], support), support[:, 0] != NEVER


def _three(rows: int, sentences: int, generator: torch.Generator) -> tuple[Stories, Tensor]:
    lives = _live(rows, sentences, True, generator)
    what, row = any_of(lives.before != NOWHERE, generator), torch.arange(rows)
    question = _phrase("where", "was", "the", THING + what, "before", "the", PLACE + lives.lies[row, what])
    support = lives.journey[row, what]
    return (lives.sentences, question, PLACE + lives.before[row, what], support), support[:, 0] != NEVER


def _north(rows: int, sentences: int, generator: torch.Generator) -> tuple[Stories, Tensor]:
    """Among walks, a chain "a north of b", "b north of c", in any order and place; the question is about b."""
    lives = _live(rows, sentences, False, generator)
    a, b, c = (PLACE + torch.rand(rows, len(GRAMMAR.places), generator=generator, dtype=torch.float64).argsort(1)).T[:3]
    at = torch.rand(rows, sentences, generator=generator, dtype=torch.float64).argsort(1)[:, :2]  # (batch, fact)
    story, row = lives.sentences, torch.arange(rows)
    story[row, at[:, 0]] = _phrase("the", a, "is", "north", "of", "the", b)
    story[row, at[:, 1]] = _phrase("the", b, "is", "north", "of", "the", c)
    upper = torch.rand(rows, generator=generator, dtype=torch.float64) < 0.5
    question = torch.where(
        upper[:, None], _phrase("what", "is", "north", "of", "the", b), _phrase("what", "is", "the", b, "north", "of")
    )
    support = _support(rows, torch.where(upper, at[:, 0], at[:, 1]))
    return (story, question, torch.where(upper, a, c), support), torch.ones(rows, dtype=torch.bool)
