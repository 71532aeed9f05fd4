"""The paper cards as data: every card is whole, unique, and filed under its room."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

CARDS = Path(__file__).parents[2] / "src" / "seqmem" / "papers" / "cards"
ROOMS = ("mixers", "models", "tasks", "interp", "continual", "decoding", "context", "cognition", "theory", "survey")
FIELDS = ["n", "slug", "title", "year", "arxiv", "url", "room", "claim", "seen"]
ARXIV = re.compile(r"\d{4}\.\d{4,5}|[a-z-]+(\.[A-Z]{2})?/\d{7}")


def read(room: str) -> list[dict[str, Any]]:
    cards: list[dict[str, Any]] = yaml.safe_load((CARDS / f"{room}.yaml").read_text(encoding="utf-8"))
    return cards


def test_there_is_one_file_per_room() -> None:
    assert {path.stem for path in CARDS.iterdir()} == set(ROOMS)


def test_numbers_and_slugs_are_unique() -> None:
    cards = [card for room in ROOMS for card in read(room)]
    assert sorted(card["n"] for card in cards) == list(range(1, 184))
    assert len({card["slug"] for card in cards}) == len({card["title"] for card in cards}) == len(cards)


def test_no_two_papers_share_an_address() -> None:
    addresses = [card["arxiv"] or card.get("url") for room in ROOMS for card in read(room)]
    known = [address for address in addresses if address is not None]
    assert len(known) == len(set(known))


@pytest.mark.parametrize("room", ROOMS)
def test_every_card_is_whole(room: str) -> None:
    for card in read(room):
        expected = [field for field in FIELDS if field != "url" or "url" in card]
        assert list(card) == expected, card["slug"]
        assert card["room"] == room, card["slug"]
        assert isinstance(card["n"], int)
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", card["slug"])
        assert 1950 <= card["year"] <= 2100
        for field in ("title", "claim", "seen"):
            assert card[field], (card["slug"], field)
            assert card[field] == " ".join(card[field].split()), (card["slug"], field)
        for field in ("claim", "seen"):
            assert card[field].endswith("."), (card["slug"], field)


@pytest.mark.parametrize("room", ROOMS)
def test_a_paper_is_cited_by_arxiv_id_or_else_by_address(room: str) -> None:
    for card in read(room):
        if card["arxiv"] is not None:
            assert ARXIV.fullmatch(card["arxiv"]), card["slug"]
        if "url" in card:
            assert card["arxiv"] is None, card["slug"]
            assert card["url"].startswith("https://"), card["slug"]


@pytest.mark.parametrize("room", ROOMS)
def test_the_files_fit_the_line_length(room: str) -> None:
    lines = (CARDS / f"{room}.yaml").read_text(encoding="utf-8").splitlines()
    assert max(map(len, lines)) <= 120
