"""Inputs whose answers are likely, unlikely, or between: what a battery chooses its items from."""

from __future__ import annotations

from collections.abc import Callable

from seqmem.tasks.string_tasks import ciphers, numbers
from seqmem.tasks.string_tasks.grammar import NOUNS, WORDS, Grammar, exchanged, shuffled
from seqmem.tasks.text import Draws

Function = Callable[[str], str]
ENGLISH = Grammar()
LIKELY, MIXED, UNLIKELY = HOW = 0, 1, 2


def text(how: int, draws: Draws) -> str:
    """A sentence; one in which two words changed places; or its words in any order."""
    sentence = ENGLISH.sentence(draws)
    return sentence if how == LIKELY else (exchanged if how == MIXED else shuffled)(sentence, draws)


def answered_by_text(how: int, draws: Draws, *, undo: Function) -> str:
    """An input whose answer is such a text."""
    return undo(text(how, draws))


def with_inner_articles(how: int, draws: Draws, *, solve: Function, undo: Function) -> str:
    """The same, where the answer decides the input: no article at an end or beside another."""
    while True:
        answer = f"then {text(how, draws)} again"
        if solve(undo(answer)) == answer:
            return undo(answer)


def acronym_words(how: int, draws: Draws, *, letter: int) -> str:
    """Words of which these letters spell a noun, a noun's letters in another order, or any letters."""
    spelled = draws.choice([noun for noun in NOUNS if len(noun) == 5])
    if how == MIXED:
        spelled = "".join(draws.sample(spelled, len(spelled)))
    elif how == UNLIKELY:
        spelled = "".join(draws.choice(ciphers.ALPHABET) for _ in spelled)
    return " ".join(_word_with(wanted, letter, draws) for wanted in spelled)


def _word_with(wanted: str, letter: int, draws: Draws) -> str:
    """A word of the grammar with this letter there; where there is none, a noun that gets it."""
    if fitting := [word for word in WORDS if word[letter - 1 : letter] == wanted]:
        return draws.choice(fitting)
    noun = draws.choice(NOUNS)
    return noun[: letter - 1] + wanted + noun[letter:]


def word_list(how: int, draws: Draws) -> str:
    """Five nouns: common ones, any, or any with their letters in another order."""
    chosen = draws.sample(NOUNS[:8] if how == LIKELY else NOUNS, 5)
    return " ".join("".join(draws.sample(word, len(word))) if how == UNLIKELY else word for word in chosen)


def counted_words(how: int, draws: Draws) -> str:
    """So many nouns: ten or twenty; a multiple of five; any number up to thirty."""
    count = {LIKELY: 10 * (1 + draws.below(2)), MIXED: 5 * (1 + draws.below(6)), UNLIKELY: 1 + draws.below(30)}[how]
    return " ".join(draws.choice(NOUNS) for _ in range(count))


def number(how: int, draws: Draws) -> str:
    """Below 100: multiples of ten, of five (the answer is whole), any."""
    step = {LIKELY: 10, MIXED: 5, UNLIKELY: 1}[how]
    return str(step * draws.below(100 // step))


def factors(how: int, draws: Draws, *, backwards: bool = False) -> str:
    """Two numbers of two digits: multiples of ten, one of them one, or any."""
    a, b = 10 + draws.below(90), 10 + draws.below(90)
    a = a if how == UNLIKELY else a // 10 * 10
    b = b // 10 * 10 if how == LIKELY else b
    return " ".join(str(n)[::-1] if backwards else str(n) for n in (a, b))


def people(how: int, draws: Draws) -> str:
    """Three people and their birthdays, and one of their names."""
    return numbers.people(3, how == LIKELY or (how == MIXED and draws.below(2) == 0), draws)
