"""Checking papers: their parts from the store or from workers, gathered into evidence as they come."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from seqmem.errors import InputError
from seqmem.papers import MODULES
from seqmem.papers.card import ROOMS, card_of, cards
from seqmem.papers.evidence import Evidence, gather
from seqmem.papers.identity import identity
from seqmem.papers.paper import BUDGETS, Built
from seqmem.papers.part import Part, PartRecord, source_of
from seqmem.training.engines import LOCAL, Engine, run_with
from seqmem.training.events import OnEvent
from seqmem.training.store import Store, open_store


def load(slug: str) -> Built:
    """The module of a paper. Raises InputError for an unknown name (with the nearest) or a paper not built yet."""
    if slug not in MODULES:
        card, known = card_of(slug), cards()
        near = [other for other in MODULES if known[other].room == card.room]
        beside = f"built in its room, {card.room}: {', '.join(near[:8])}" if near else f"nothing in room {card.room} is"
        raise InputError(f"'{slug}' ({card.title}, {card.year}) is not built yet; {beside}; 'seqmem papers' lists all")
    module = importlib.import_module(MODULES[slug])
    return Built(module.PAPER, module.measure, module)


def plan(
    papers: Sequence[Built], budget: str = "laptop", model: str | None = None, seeds: int | None = None
) -> dict[str, list[Part]]:
    """The parts of each paper, by slug.

    Raises InputError for a budget that there is not, too few seeds, or a model where a paper takes none.
    """
    if budget not in BUDGETS:
        raise InputError(f"budget is '{budget}', expected one of {', '.join(BUDGETS)}")
    if seeds is not None and seeds < 1:
        raise InputError(f"seeds is {seeds}, expected 1 or more")
    if model is not None and (stubborn := [built.paper.slug for built in papers if not built.paper.takes_model]):
        raise InputError(
            f"{', '.join(stubborn)} {'trains its' if len(stubborn) == 1 else 'train their'} own models and cannot be "
            f"given '{model}'; leave --model out, or see 'seqmem papers' for those that look into a model"
        )
    who = identity(model) if model is not None else None
    local = model is not None and Path(model).expanduser().exists()
    where = str(Path(str(model)).expanduser().absolute()) if local else model
    return {
        built.paper.slug: [
            Part(
                slug=built.paper.slug,
                module=built.module.__name__,
                part=part,
                seed=seed,
                budget=budget,
                settings=dict(built.paper.settings[budget]),
                model=where if built.paper.gives_model(part) else None,
                identity=who if built.paper.gives_model(part) else None,
                source=source_of(built.module, built.paper.uses),
            )
            for part in built.paper.parts
            for seed in built.paper.seeds_of(part, budget, seeds)
        ]
        for built in papers
    }


def reproduce(
    papers: Sequence[Built],
    store: Store,
    budget: str = "laptop",
    model: str | None = None,
    seeds: int | None = None,
    workers: int | None = None,
    progress: OnEvent | None = None,
    engine: Engine = LOCAL,
) -> Iterator[Evidence]:
    """The evidence on each paper, as its last part comes in. Parts in the store are not run again; a part that fails
    makes its paper's verdict "failed", and the others go on. Closing the iterator, or a KeyboardInterrupt, stops the
    workers; what is finished stays in the store. Raises InputError as :func:`plan` does.
    """
    planned = plan(papers, budget, model, seeds)
    by_slug = {built.paper.slug: built.paper for built in papers}
    owner = {part.hash: slug for slug, parts in planned.items() for part in parts}
    records: dict[str, PartRecord] = {}
    parts = [part for parts in planned.values() for part in parts]
    running = run_with(engine, parts, store, workers, progress)
    try:
        for record in running:
            records[record["part"]] = record
            slug = owner[record["part"]]
            if all(part.hash in records for part in planned[slug]):
                yield gather(by_slug[slug], card_of(slug), budget, planned[slug], records)
    finally:
        running.close()  # type: ignore[attr-defined]


def chosen(slugs: Sequence[str], room: str | None = None, everything: bool = False) -> list[Built]:
    """The papers that were asked for: by name, all that are built, or those of a room.

    Raises InputError for none, for a name that there is not or that is not built, and for a room without any.
    """
    if (len(slugs) > 0) + (room is not None) + everything != 1:
        raise InputError("name papers, or give --all, or --room ROOM: one of the three; 'seqmem papers' lists them")
    if slugs:
        return [load(slug) for slug in dict.fromkeys(slugs)]
    known = cards()
    found = [slug for slug in MODULES if everything or (slug in known and known[slug].room == room)]
    if not found:
        have = sorted({known[slug].room for slug in MODULES if slug in known}, key=ROOMS.index)
        raise InputError(f"no paper of room '{room}' is built yet; rooms that have some: {', '.join(have)}")
    return [load(slug) for slug in found]


def check(
    slug: str,
    budget: str = "laptop",
    model: str | None = None,
    *,
    seeds: int | None = None,
    store: Store | str | Path | None = None,
    workers: int = 0,
) -> Evidence:
    """Check one paper, in this process unless ``workers`` says otherwise.

    Parts that the store has are not run again. Raises InputError for a paper that is unknown or not built, and for
    what is found wrong with ``model``.
    """
    kept = store if isinstance(store, Store) else open_store(store)
    (evidence,) = reproduce([load(slug)], kept, budget, model, seeds, workers)
    for problem in evidence.problems:
        if problem["bad_input"]:
            raise InputError(problem["detail"])
    return evidence
