"""Conflicts made of questions, against what a person would put into the passage."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.conflicts import (
    Item,
    alias_conflicts,
    breakdown,
    corpus_conflicts,
    kind_of,
    measure_conflicts,
    popularity_conflicts,
    same_answer,
    type_conflicts,
    with_substitutes,
)

WAR = Item(
    "who did the US fight in the first world war",
    "The United States declared war on Germany in 1917. Germany and the Germans lost; deutschland (Germany).",
    "Germany",
    "location",
    ("Deutschland", "the German Empire"),
)
ITEMS = [
    WAR,
    Item("where is the Louvre", "The Louvre is in Paris. Paris is large.", "Paris", "location"),
    Item("where is the Prado", "Madrid has the Prado, and Rome has not.", "Madrid", "location"),
    Item("who wrote Emma", "Emma is by Jane Austen (Miss Austen).", "Jane Austen", "person", ("Miss Austen",)),
    Item("who wrote Moby-Dick", "Melville wrote it.", "Melville", "person"),
    Item("when did the war end", "It ended on 11 November 1918.", "11 November 1918"),
    Item("how many live there", "It has 12 people.", "12"),
    Item("who is not named", "Nobody says it.", "Anna", "person"),
]


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_mention_is_replaced_and_nothing_else() -> None:
    for seed in range(20):
        (war, *_) = corpus_conflicts(ITEMS, draw(seed))
        assert war.item is WAR
        assert war.substitute in ("Paris", "Madrid")
        assert war.passage == WAR.passage.replace("Germany", war.substitute)
        assert "Germans" in war.passage
        assert war.read.answer == war.substitute


def test_corpus_substitutes_have_the_kind_and_are_new_to_the_passage() -> None:
    found = Counter(
        (made.item.answer, made.substitute) for seed in range(40) for made in corpus_conflicts(ITEMS, draw(seed))
    )
    assert {pair for pair in found if pair[0] == "Madrid"} == {("Madrid", "Germany"), ("Madrid", "Paris")}
    assert {b for a, b in found if a == "Jane Austen"} == {"Melville", "Anna"}
    assert not {"Anna", "12", "11 November 1918"} & {a for a, _ in found}  # not named, or alone of its kind


def test_aliases_name_the_same_and_types_another_kind() -> None:
    renamed = {(c.item.answer, c.substitute) for seed in range(20) for c in alias_conflicts(ITEMS, draw(seed))}
    assert renamed == {
        ("Germany", "Deutschland"), ("Germany", "the German Empire"), ("Jane Austen", "Miss Austen"),
    }  # fmt: skip
    for seed in range(10):
        for conflict in type_conflicts(ITEMS, draw(seed), "person"):
            assert kind_of(conflict.item) != "person"
            assert conflict.substitute in ("Jane Austen", "Melville", "Anna")
        kinds = {item.answer: kind_of(item) for item in ITEMS}
        for conflict in type_conflicts(ITEMS, draw(seed)):
            assert kinds[conflict.substitute] != kind_of(conflict.item)


def test_a_sentence_still_begins_with_a_capital() -> None:
    item = Item("who bakes", "Miller bakes. He, Miller, is old.", "Miller", "trade")
    (changed,) = corpus_conflicts([item], draw(), [Item("", "", "the tall cook", "trade")])
    assert changed.passage == "The tall cook bakes. He, the tall cook, is old."


def test_popularity_takes_one_substitute_from_each_bin() -> None:
    names = [f"N{n}" for n in range(9)]
    answers = [Item("", "", name, "person") for name in names]
    item = Item("who", "It was Anna.", "Anna", "person")
    popularity = {name: -n for n, name in enumerate(names)}  # N8 is the least popular
    for seed in range(10):
        low, middle, high = popularity_conflicts([item], draw(seed), popularity, 3, answers)
        assert [c.group for c in (low, middle, high)] == ["1 of 3", "2 of 3", "3 of 3"]
        assert low.substitute in names[6:]
        assert middle.substitute in names[3:6]
        assert high.substitute in names[:3]


def test_kinds_of_answers_without_one() -> None:
    for answer, kind in (
        ("6 April 1917", "date"), ("1917", "date"), ("in 1917", "date"), ("May 5", "date"), ("12", "number"),
        ("three hundred", "number"), ("12.5 million", "number"), ("Jane Austen", "name"), ("Mayor Smith", "name"),
    ):  # fmt: skip
        assert kind_of(Item("", "", answer)) == kind, answer
    assert kind_of(WAR) == "location"


def test_rates_and_the_ratio() -> None:
    items = [Item(f"q{n}", f"It is name{n}.", f"name{n}", "person") for n in range(10)]
    conflicts = corpus_conflicts(items, draw())
    memory = {item.question: item.answer for item in items}

    def reader(asked):  # type: ignore[no-untyped-def]
        """Says 0-2 from memory, reads 3-8, has never heard of 9."""
        out = []
        for question, passage in asked:
            n = int(question[1:])
            read = passage.removeprefix("It is ").rstrip(".")
            out.append("unknown" if n == 9 else f"The {memory[question]}!" if n < 3 or not passage else read)
        return out

    measured = measure_conflicts(reader, conflicts)
    assert measured.known == 0.9
    assert measured.rates[:4] == pytest.approx((3 / 9, 6 / 9, 0, 3 / 9))
    assert measure_conflicts(reader, conflicts, known="memory").rates.asked == 9
    everything = measure_conflicts(reader, conflicts, known="all")
    assert everything.rates[:4] == pytest.approx((0.3, 0.6, 0.1, 1 / 3))
    groups = breakdown(everything, lambda c: str(int(c.item.question[1:]) < 3))
    assert groups["True"].memorisation == 1
    assert groups["False"][:3] == pytest.approx((0, 6 / 7, 1 / 7))
    assert math.isnan(measure_conflicts(lambda asked: ["?"] * len(asked), conflicts, "all").rates.memorisation)


def test_answers_are_compared_as_in_squad() -> None:
    assert same_answer(" the  Paris. ", "paris")
    assert not same_answer("in Paris", "Paris")
    assert not same_answer("", "the")


def test_training_sets_with_a_share_of_substitutes() -> None:
    items = [Item(f"q{n}", f"It is name{n}.", f"name{n}", "person") for n in range(40)]
    mixed = with_substitutes(items, 0.2, draw())
    assert len(mixed) == 50
    changed = [item for item in mixed if item not in items]
    assert len(changed) == 10
    assert all(item.answer in item.passage and item.answer != f"name{item.question[1:]}" for item in changed)
    assert [item for item in with_substitutes(items, 0, draw()) if item not in items] == []


def test_bad_input_says_so() -> None:
    alone = [ITEMS[4]]
    for call, says in (
        (lambda: corpus_conflicts(alone, draw()), "policy corpus: of 1 items none can be changed"),
        (lambda: alias_conflicts(alone, draw()), "expected items with aliases"),
        (lambda: with_substitutes(ITEMS, 1.0, draw()), "share is 1.0"),
        (lambda: popularity_conflicts(ITEMS, draw(), {}, 0), "bins is 0"),
        (lambda: measure_conflicts(lambda asked: [], corpus_conflicts(ITEMS, draw())), "gave 0 answers"),
        (lambda: measure_conflicts(lambda asked: ["?"] * len(asked), corpus_conflicts(ITEMS, draw())), "known='all'"),
    ):
        with pytest.raises(InputError, match=says):
            call()
