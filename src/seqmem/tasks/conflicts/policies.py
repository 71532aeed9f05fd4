"""Which other answer is put into a passage.

    alias       another name of the same entity: nothing is contradicted
    corpus      the answer of another item, of the same kind
    type        an answer of another kind
    popularity  of the same kind, from one bin of popularity after the other

Entity-Based Knowledge Conflicts in Question Answering (2021), arXiv 2109.05052. A substitute is never a name of the
answer and stands neither in the passage nor in the question already, so that what is answered says where it was found.
Items whose passage does not name the answer, and those without a substitute, are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch

from seqmem.errors import InputError
from seqmem.tasks.conflicts.items import Conflict, Item, kind_of, mentions, names_of, replaced, same_answer

#: what makes conflicts of items, such as :func:`corpus_conflicts`
Policy = Callable[[Sequence[Item], torch.Generator], list[Conflict]]


def alias_conflicts(items: Sequence[Item], generator: torch.Generator) -> list[Conflict]:
    """The answer under one of its aliases."""
    made = [_conflict(item, item.aliases, "alias", generator, own=True) for item in items]
    return _some(made, "alias", "items with aliases")


def corpus_conflicts(
    items: Sequence[Item], generator: torch.Generator, answers: Sequence[Item] | None = None
) -> list[Conflict]:
    """An answer of the same kind from ``answers`` (default: the items themselves), the frequent ones more often."""
    named = _by_kind(items if answers is None else answers)
    made = [_conflict(item, named.get(kind_of(item), []), "corpus", generator) for item in items]
    return _some(made, "corpus", "two different answers of a kind")


def type_conflicts(
    items: Sequence[Item], generator: torch.Generator, kind: str | None = None, answers: Sequence[Item] | None = None
) -> list[Conflict]:
    """An answer of another kind: of ``kind``, else of any other than the item's own."""
    named = _by_kind(items if answers is None else answers)
    made = []
    for item in items:
        others = [k for k in named if k != kind_of(item) and kind in (None, k)]
        made.append(_conflict(item, [name for k in others for name in named[k]], "type", generator))
    return _some(made, "type", "answers of two kinds")


def popularity_conflicts(
    items: Sequence[Item],
    generator: torch.Generator,
    popularity: Mapping[str, float],
    bins: int = 3,
    answers: Sequence[Item] | None = None,
) -> list[Conflict]:
    """Of each item ``bins`` conflicts, with a substitute of the same kind from each bin of ``popularity`` (name ->
    visits, mentions, or any other measure). Bins have as many names each; ``group`` is "1 of 3" for the least popular.
    """
    if bins < 1:
        raise InputError(f"bins is {bins}, expected at least 1")
    by_kind = _by_kind(items if answers is None else answers)
    named = {kind: dict.fromkeys(name for name in names if name in popularity) for kind, names in by_kind.items()}
    ranked = {kind: sorted(names, key=lambda name: popularity[name]) for kind, names in named.items()}
    made = []
    for number in range(bins):
        for item in items:
            names = ranked.get(kind_of(item), [])
            among = names[number * len(names) // bins : (number + 1) * len(names) // bins]
            group = f"{number + 1} of {bins}"
            made.append(_conflict(item, among, "popularity", generator, group=group))
    return _some(made, "popularity", f"{bins} answers of a kind, with their popularity")


def with_substitutes(
    items: Sequence[Item], share: float, generator: torch.Generator, policy: Policy = corpus_conflicts
) -> list[Item]:
    """A training set against memorising: ``items``, and substituted copies, whose answer is the substitute, as a
    ``share`` of the whole; in random order. Where the policy makes fewer at once it is asked again."""
    if not 0 <= share < 1:
        raise InputError(f"share is {share}, expected from 0 to below 1")
    wanted = round(len(items) * share / (1 - share))
    copies: list[Item] = []
    while len(copies) < wanted:
        copies += [conflict.read for conflict in policy(items, generator)]
    chosen = torch.rand(len(copies), generator=generator, dtype=torch.float64).argsort()[:wanted].tolist()
    mixed = [*items, *(copies[n] for n in chosen)]
    return [mixed[n] for n in torch.rand(len(mixed), generator=generator, dtype=torch.float64).argsort().tolist()]


def _by_kind(items: Iterable[Item]) -> dict[str, list[str]]:
    named: dict[str, list[str]] = {}
    for item in items:
        named.setdefault(kind_of(item), []).append(item.answer)
    return named


def _conflict(
    item: Item, among: Sequence[str], policy: str, generator: torch.Generator, *, group: str = "", own: bool = False
) -> Conflict | None:
    """``own``: a name of the answer itself is wanted."""
    names = names_of(item)
    if not mentions(names, item.passage):
        return None

    def fits(name: str) -> bool:
        if own:
            return bool(name) and not same_answer(name, item.answer)
        known = any(same_answer(name, other) for other in names)
        return not known and not mentions([name], f"{item.passage}\n{item.question}")

    left = [name for name in among if fits(name)]
    if not left:
        return None
    name = left[int(torch.randint(len(left), (), generator=generator))]
    return Conflict(item, replaced(names, name, item.passage), name, policy, group)


def _some(made: Sequence[Conflict | None], policy: str, needs: str) -> list[Conflict]:
    found = [conflict for conflict in made if conflict is not None]
    if not found:
        raise InputError(f"policy {policy}: of {len(made)} items none can be changed, expected {needs}, and passages "
                         "that name their answer")  # fmt: skip
    return found
