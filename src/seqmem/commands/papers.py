"""``seqmem papers``: list the papers, and what became of them."""

from __future__ import annotations

import argparse
import sys
from typing import Any

SUMMARY = "list the papers, and what became of them"
DESCRIPTION = (
    "List the papers: number, name, title, room, and state: nothing (not built yet), built (seqmem reproduce runs it), "
    "or checked (with the verdict of the committed run)."
)
STATES = ("nothing", "built", "checked")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("word", nargs="?", metavar="WORD", help="only papers with this word in name, title or claim")
    parser.add_argument("--room", metavar="ROOM", help="only papers of this room")
    parser.add_argument("--state", choices=STATES, help="only papers in this state")
    parser.add_argument("--json", action="store_true", help="print a JSON list of objects")


def run(arguments: argparse.Namespace) -> int:
    from seqmem.papers.card import room_of
    from seqmem.report.tables import print_listing

    rows = listing()
    if arguments.room is not None:
        room = room_of(arguments.room)
        rows = [row for row in rows if row["room"] == room]
    if arguments.state is not None:
        rows = [row for row in rows if row["state"] == arguments.state]
    if arguments.word is not None:
        word = arguments.word.lower()
        rows = [row for row in rows if word in f"{row['slug']} {row['title']} {row['claim']}".lower()]
    if not rows:
        print("no paper matches", file=sys.stderr)
    if not arguments.json:
        rows = [{**row, "year": str(row["year"]), "state": _told(row)} for row in rows]
    print_listing(rows, ("n", "slug", "title", "year", "room", "state"), as_json=arguments.json)
    return 0


def listing() -> list[dict[str, Any]]:
    """A row per card, in the order of their numbers."""
    from seqmem.papers import MODULES
    from seqmem.papers.card import cards
    from seqmem.papers.results import published

    rows = []
    for card in cards().values():
        result = published().get(card.slug, {}) if card.slug in MODULES else {}
        state = "checked" if result else "built" if card.slug in MODULES else "nothing"
        rows.append(
            {
                "n": card.n,
                "slug": card.slug,
                "title": card.title,
                "year": card.year,
                "arxiv": card.arxiv,
                "room": card.room,
                "claim": card.claim,
                "state": state,
                "verdict": result.get("verdict"),
                "seeds": result.get("seeds"),
                "seconds": result.get("seconds"),
            }
        )
    return rows


def _told(row: dict[str, Any]) -> str:
    if row["state"] == "nothing":
        return "not built yet"
    if row["state"] == "built":
        return "built"
    return f"checked: {row['verdict']} ({row['seeds']} seeds, {row['seconds']:.0f} s)"
