"""The cards: whole, distinct, and where the table of modules points."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from seqmem.errors import InputError
from seqmem.papers import MODULES
from seqmem.papers.card import ROOMS, Card, card_of, cards, room_of

CARD = {"n": 1, "slug": "a-b", "title": "T", "year": 2020, "room": "theory", "claim": "C", "seen": "S"}


def test_all_are_there() -> None:
    assert [card.n for card in cards().values()] == list(range(1, 184))
    assert {card.room for card in cards().values()} == set(ROOMS)


def test_every_module_has_a_card() -> None:
    for slug, module in MODULES.items():
        assert slug in cards()
        assert module == f"seqmem.papers.{slug.replace('-', '_')}"


@pytest.mark.parametrize("wrong", [{"n": 0}, {"slug": "A b"}, {"year": 20}, {"claim": ""}, {"seen": None}, {"more": 1}])
def test_what_is_not_one(wrong: dict[str, object]) -> None:
    Card.model_validate(CARD)
    with pytest.raises(ValidationError):
        Card.model_validate(CARD | wrong)


def test_links() -> None:
    assert Card.model_validate(CARD).link == ""
    assert Card.model_validate(CARD | {"arxiv": "2410.03170"}).link == "https://arxiv.org/abs/2410.03170"
    assert Card.model_validate(CARD | {"arxiv": "x", "url": "https://a.b"}).link == "https://a.b"


def test_unknown_names() -> None:
    with pytest.raises(InputError, match=r"unknown paper 'lag-sytem'. Did you mean 'lag-system'\?"):
        card_of("lag-sytem")
    with pytest.raises(InputError, match=r"It occurs in: .*assoc-memory-scaling"):
        card_of("associative mem")
    with pytest.raises(InputError, match=r"unknown room 'theroy'. Did you mean 'theory'"):
        room_of("theroy")
