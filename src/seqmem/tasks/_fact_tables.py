"""The facts and templates of a world as tensors, from which tasks make a whole batch at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _draw
from seqmem.tasks.fact_world import RELATIONS, Fact, FactWorld
from seqmem.tasks.fact_world.words import Words

SUBJECT, OBJECT, SINCE, UNTIL, YEAR = range(-5, 0)  # slots of a template
SLOTS = {"{subject}": SUBJECT, "{object}": OBJECT, "{since}": SINCE, "{until}": UNTIL, "{year}": YEAR}
STATEMENT, QUESTION = range(2)
FORMS, SPLITS = ("statements", "questions"), ("train", "test")
ROLES = ("known", "told", "unknown")


class Tables(NamedTuple):
    """A *matter* is what can be asked: a subject and a relation, with one fact, or several of different years."""

    subject: Tensor  # (fact,) token; facts of one matter stand together
    object: Tensor  # (fact,) token
    since: Tensor  # (fact,) token of the year, 0 where there is none
    until: Tensor  # (fact,)
    relation: Tensor  # (fact,) number
    first: Tensor  # (matter,) its first fact
    many: Tensor  # (matter,) how many it has
    weight: Tensor  # (matter,) how often it is told of, in proportion
    guess: Tensor  # (matter,) what a guess among the candidates scores
    roles: dict[str, Tensor]  # role -> its matters
    templates: Tensor  # (template, word) tokens, slots and blanks
    begin: Tensor  # (relation, form, split) the first template
    choices: Tensor  # (relation, form, split) how many there are


def build(world: FactWorld, told: float, unknown: float, given: str) -> Tables:
    """Roles: of a share ``unknown`` of the people nothing is ever said; a share ``told`` of what is said of the others
    is never asked in training; the rest is "known". given: task and option of ``told``, for an error."""
    draw = torch.Generator().manual_seed(world.seed + 2)
    seen, hidden = world.split("entity", draw, share=unknown)[:2]
    matters: dict[tuple[str, str], list[Fact]] = {}
    for fact in (*seen, *hidden):
        matters.setdefault(fact.about, []).append(fact)
    facts = [fact for listed in matters.values() for fact in listed]
    about_seen = len({fact.about for fact in seen})
    order = torch.rand(about_seen, generator=draw, dtype=torch.float64).argsort()
    only_told = round(told * about_seen)
    if not 0 < only_told < about_seen:
        raise InputError(f"{given} leaves nothing of one kind, expected a share in between")
    token = world.words.token_of
    dates = [(0, 0) if f.since is None else (token[str(f.since)], token[str(f.until)]) for f in facts]
    counts = torch.tensor([len(listed) for listed in matters.values()])
    templates, begin, choices = _templates(world.words)
    number = {name: n for n, name in enumerate(RELATIONS)}
    return Tables(
        subject=torch.tensor([token[fact.subject.name] for fact in facts]),
        object=torch.tensor([token[fact.object.name] for fact in facts]),
        since=torch.tensor([since for since, _ in dates]),
        until=torch.tensor([until for _, until in dates]),
        relation=torch.tensor([number[fact.relation] for fact in facts]),
        first=counts.cumsum(0) - counts,
        many=counts,
        weight=torch.tensor([world.weight(listed[0]) for listed in matters.values()], dtype=torch.float64),
        guess=torch.tensor([_guess(world, relation) for _, relation in matters], dtype=torch.float64),
        roles={
            "known": order[only_told:],
            "told": order[:only_told],
            "unknown": torch.arange(about_seen, len(matters)),
        },
        templates=templates,
        begin=begin,
        choices=choices,
    )


def _guess(world: FactWorld, relation: str) -> float:
    """Nobody is their own teacher."""
    described = RELATIONS[relation]
    return 1 / (len(world.candidates(relation)) - (described.subject == described.object))


def _templates(words: Words) -> tuple[Tensor, Tensor, Tensor]:
    """A question goes on with its answer and a stop."""
    found: list[list[int]] = []
    begin = torch.zeros(len(RELATIONS), len(FORMS), len(SPLITS), dtype=torch.int64)
    choices = torch.zeros_like(begin)
    for r, relation in enumerate(RELATIONS.values()):
        for f, form in enumerate(FORMS):
            for s, which in enumerate(SPLITS):
                texts = relation.templates(form, which)
                begin[r, f, s], choices[r, f, s] = len(found), len(texts)
                for text in texts:
                    said = text if form == "statements" else f"{text} {{object}} ."
                    found.append([SLOTS.get(word) or words.token_of[word] for word in said.split()])
    longest = max(map(len, found))
    padded = torch.tensor([line + [0] * (longest - len(line)) for line in found])
    return padded, begin, choices


def phrase(tables: Tables, matter: Tensor, form: Tensor, split: Tensor | int, generator: torch.Generator) -> Tensor:
    """Words for matters (rows, piece), as a statement or a question, in a random template of a random fact as of a
    random year of it: (rows, piece, word) tokens, 0 behind the end. The object is marked by :data:`OBJECT`, still."""

    def any_of(count: Tensor) -> Tensor:
        return (torch.rand(count.shape, generator=generator, dtype=torch.float64) * count).long()

    fact = tables.first[matter] + any_of(tables.many[matter])
    relation = tables.relation[fact]
    template = tables.begin[relation, form, split] + any_of(tables.choices[relation, form, split])
    since, until = tables.since[fact], tables.until[fact]
    year = since + any_of(until - since + 1)
    words = tables.templates[template]
    for slot, filler in ((SUBJECT, tables.subject[fact]), (SINCE, since), (UNTIL, until), (YEAR, year)):
        words = torch.where(words == slot, filler[:, :, None], words)
    # the object stays a slot, so that the caller can see where it is; OBJECT - token says which it is
    return torch.where(words == OBJECT, OBJECT - tables.object[fact][:, :, None], words)


def some_matters(
    tables: Tables, roles: tuple[str, ...], rows: int, most: int, zipf: bool, draw: torch.Generator
) -> Tensor:
    """(rows, piece): at most ``most`` different matters of these roles for every row, by weight or all alike."""
    among = torch.cat([tables.roles[role] for role in roles])
    weight = tables.weight[among] if zipf else torch.ones(len(among), dtype=torch.float64)
    return among[_draw.weighted(rows, min(most, len(among)), weight, draw)]
