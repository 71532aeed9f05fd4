"""What can be said of whom, and in which words.

A template is words with slots: {subject}, {object}, {since} and {until} (the first and the last year of a dated fact),
{year} (the year that a question is about). Held-out templates have no word that the others have not, so that whoever
fails on them fails on the phrase, not on a word.
"""

from __future__ import annotations

from typing import NamedTuple


class Relation(NamedTuple):
    """``subject`` and ``object``: kinds. ``dated``: it changes, each fact holds for some years. The templates of
    statements and questions; the last ``HELD_OUT`` of each are for tests only."""

    name: str
    subject: str
    object: str
    dated: bool
    statements: tuple[str, ...]
    questions: tuple[str, ...]

    def templates(self, form: str, split: str) -> tuple[str, ...]:
        """form: "statements" or "questions". split: "train", "test" or "all"."""
        every: tuple[str, ...] = getattr(self, form)
        return {"train": every[:-HELD_OUT], "test": every[-HELD_OUT:], "all": every}[split]


HELD_OUT = 1

RELATIONS: dict[str, Relation] = {
    relation.name: relation
    for relation in (
        Relation(
            "birthplace", "person", "place", False,
            ("{subject} was born in {object} .", "the birthplace of {subject} is {object} .",
             "{object} is the place where {subject} was born .", "{subject} is a native of {object} .",
             "the place where {subject} was born is {object} ."),
            ("where was {subject} born ?", "what is the birthplace of {subject} ?",
             "{subject} is a native of which place ?", "in which place was {subject} born ?"),
        ),
        Relation(
            "birth_year", "person", "year", False,
            ("{subject} was born in the year {object} .", "the birth of {subject} was in {object} .",
             "in {object} {subject} was born .", "the year of the birth of {subject} is {object} ."),
            ("when was {subject} born ?", "in which year was {subject} born ?",
             "what is the year of the birth of {subject} ?", "in which year was the birth of {subject} ?"),
        ),
        Relation(
            "trade", "person", "trade", False,
            ("{subject} is a {object} .", "the trade of {subject} is that of a {object} .",
             "{subject} has the trade of a {object} .", "by trade {subject} is a {object} ."),
            ("what is the trade of {subject} ?", "which trade has {subject} ?", "{subject} is what by trade ?",
             "by trade what is {subject} ?"),
        ),
        Relation(
            "teacher", "person", "person", False,
            ("{subject} was taught by {object} .", "{object} was the teacher of {subject} .",
             "the teacher of {subject} was {object} .", "{subject} was a pupil of {object} .",
             "{object} taught {subject} ."),
            ("who taught {subject} ?", "who was the teacher of {subject} ?", "{subject} was a pupil of who ?",
             "{subject} was taught by who ?"),
        ),
        Relation(
            "home", "person", "place", True,
            ("{subject} lived in {object} from {since} to {until} .",
             "from {since} to {until} {subject} lived in {object} .",
             "the home of {subject} from {since} to {until} was {object} .",
             "{object} was the home of {subject} from {since} to {until} .",
             "from {since} to {until} the home of {subject} was {object} ."),
            ("where did {subject} live in {year} ?", "in {year} where did {subject} live ?",
             "what was the home of {subject} in {year} ?", "in {year} what was the home of {subject} ?"),
        ),
        Relation(
            "employer", "person", "organisation", True,
            ("{subject} worked for {object} from {since} to {until} .",
             "from {since} to {until} {subject} worked for {object} .",
             "the employer of {subject} from {since} to {until} was {object} .",
             "{object} was the employer of {subject} from {since} to {until} .",
             "from {since} to {until} {object} was the employer of {subject} ."),
            ("who did {subject} work for in {year} ?", "in {year} who did {subject} work for ?",
             "who was the employer of {subject} in {year} ?", "in {year} who was the employer of {subject} ?"),
        ),
        Relation(
            "seat", "organisation", "place", False,
            ("{subject} has its seat in {object} .", "the seat of {subject} is {object} .",
             "{subject} is at home in {object} .", "{object} is the seat of {subject} ."),
            ("where has {subject} its seat ?", "what is the seat of {subject} ?", "{subject} is at home where ?",
             "where is the seat of {subject} ?"),
        ),
        Relation(
            "founding_year", "organisation", "year", False,
            ("{subject} was founded in {object} .", "the founding of {subject} was in {object} .",
             "in {object} {subject} was founded .", "in the year {object} {subject} was founded ."),
            ("when was {subject} founded ?", "in which year was {subject} founded ?",
             "when was the founding of {subject} ?", "in which year was the founding of {subject} ?"),
        ),
        Relation(
            "leader", "organisation", "person", True,
            ("{subject} was led by {object} from {since} to {until} .",
             "{object} led {subject} from {since} to {until} .",
             "from {since} to {until} {object} was the leader of {subject} .",
             "the leader of {subject} from {since} to {until} was {object} .",
             "from {since} to {until} {subject} was led by {object} ."),
            ("who led {subject} in {year} ?", "in {year} who was the leader of {subject} ?",
             "{subject} was led by who in {year} ?", "who was the leader of {subject} in {year} ?"),
        ),
        Relation(
            "region", "place", "region", False,
            ("{subject} lies in {object} .", "the region of {subject} is {object} .",
             "{subject} is a place in {object} .", "{subject} is in the region of {object} .",
             "{object} is the region of {subject} ."),
            ("where does {subject} lie ?", "what is the region of {subject} ?", "in which region is {subject} ?",
             "in which region does {subject} lie ?"),
        ),
    )
}  # fmt: skip
