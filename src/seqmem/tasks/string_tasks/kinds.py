"""The eleven kinds, each with its variants: what is asked, in words, and the function that answers.

The first variant of a kind is the common one; the others do the same by a rule that is rarely written about. Source:
Embers of Autoregression (2023), arXiv 2309.13638, for the kinds and most rare variants; those of reversal, counting,
multiplication, birthdays and the keyboard are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from seqmem.errors import InputError, did_you_mean
from seqmem.tasks.string_tasks import ciphers, material, numbers, words
from seqmem.tasks.string_tasks.material import Function
from seqmem.tasks.text import Draws


@dataclass(frozen=True)
class Variant:
    """asked: what is to be done, in words. solve: an input's one answer. draw: ``draw(how, draws)``, a random input
    whose answer is likely (0), unlikely (2) or between. encodes: whether it goes from text to cipher, the way back from
    the other variants. undo: where any text may be an answer, the input with that answer."""

    asked: str
    solve: Function
    draw: Callable[[int, Draws], str]
    undo: Function | None = None
    encodes: bool = False


@dataclass(frozen=True)
class Kind:
    """A name, and variants by name, the common one first."""

    name: str
    variants: Mapping[str, Variant]

    @property
    def common(self) -> str:
        return next(iter(self.variants))

    def variant(self, name: str) -> Variant:
        """InputError, with the nearest known one, for a name that it has not."""
        if name not in self.variants:
            raise InputError(
                f"kind '{self.name}' has no variant {name!r}.{did_you_mean(name, self.variants)} Known: "
                f"{', '.join(self.variants)}"
            )
        return self.variants[name]


def kind_of(name: str) -> Kind:
    """The kind of that name; InputError, with the nearest known one, where there is none."""
    if name not in KINDS:
        raise InputError(f"unknown kind {name!r}.{did_you_mean(name, KINDS)} Known: {', '.join(KINDS)}")
    return KINDS[name]


def _cipher(how_so: str, encode: Function, decode: Function) -> tuple[Variant, Variant]:
    """The way back, and the way there."""
    back = Variant(f"Decode this text, {how_so}.", decode, partial(material.answered_by_text, undo=encode), encode)
    return back, Variant(f"Encode this text, so that it is one {how_so}.", encode, material.text, decode, encodes=True)


def _ciphers(made: Mapping[str, tuple[Variant, Variant]]) -> dict[str, Variant]:
    """All ways back, then, with ``encode_`` before the name, the ways there."""
    there = {f"encode_{name}": variant for name, (_, variant) in made.items()}
    return {name: variant for name, (variant, _) in made.items()} | there


def _shift(by: int) -> tuple[Variant, Variant]:
    so = f"in which every letter was moved on by {by} places in the alphabet (rot-{by})"
    return _cipher(so, partial(ciphers.shift, by=by), partial(ciphers.shift, by=-by))


def _keys(layout: str) -> tuple[Variant, Variant]:
    so = f"in which every letter is the one to the right of what was meant on a {layout} keyboard, at the end of a row "
    keys = partial(ciphers.keyboard, layout=layout)
    return _cipher(so + "the row's first", partial(keys, by=1), partial(keys, by=-1))


def _pig_latin(ending: str, after_vowel: str = "") -> Variant:
    asked = (
        f"Rewrite this text: the consonants at the beginning of a word go to its end, followed by -{ending}; a word "
        f"that begins with a vowel gets -{after_vowel + ending}."
    )
    return Variant(asked, partial(ciphers.pig_latin, ending=ending, after_vowel=after_vowel), material.text)


def _acronyms(which: str, letter: int) -> Variant:
    return Variant(
        f"Write the {which} letters of these words as one word.",
        partial(words.acronym, letter=letter),
        partial(material.acronym_words, letter=letter),
    )


def _reversal(asked: str, keep: int) -> Variant:
    turn = partial(words.reversal, keep=keep)
    return Variant(asked, turn, partial(material.answered_by_text, undo=turn), turn)


def _counting(what: str, named: str) -> Variant:
    return Variant(f"Count the {named} in this text.", partial(words.counting, what=what), material.counted_words)


def _swapping(neighbour: str, side: str, other: str) -> Variant:
    solve, undo = (partial(words.article_swapping, neighbour=one) for one in (neighbour, other))
    return Variant(
        f"Let every article (a, an, the) in this text change places with the word {side} it.",
        solve,
        partial(material.with_inner_articles, solve=solve, undo=undo),
    )


def _linear(slope: int, offset: int) -> Variant:
    solve = partial(numbers.linear, slope=slope, offset=offset)
    return Variant(f"Multiply this number by {slope}/5 and add {offset}.", solve, material.number)


def _multiplication(asked: str, backwards: bool) -> Variant:
    return Variant(
        asked,
        partial(numbers.multiplication, backwards=backwards),
        partial(material.factors, backwards=backwards),
    )


def _birthday(order: str, year_first: bool) -> Variant:
    asked = f"When was the person behind the semicolon born? Write {order}."
    return Variant(asked, partial(numbers.birthday, year_first=year_first), material.people)


#: the shifts by how often one meets them: rot-13, the small ones, the others
SHIFTS = (13, 1, 3, 2, *range(4, 13), *range(14, 26))

KINDS: dict[str, Kind] = {
    name: Kind(name, variants)
    for name, variants in {
        "shift": _ciphers({str(by): _shift(by) for by in SHIFTS}),
        "pig_latin": {
            "ay": _pig_latin("ay"),
            "way": _pig_latin("ay", "w"),
            "yay": _pig_latin("ay", "y"),
            "hay": _pig_latin("hay"),
            "uv": _pig_latin("uv"),
        },
        "acronyms": {"first": _acronyms("first", 1), "second": _acronyms("second", 2)},
        "reversal": {
            "all": _reversal("Write these words in reverse order.", 0),
            "but_first": _reversal("Write the first of these words, then the others in reverse order.", 1),
        },
        "sorting": {
            "ascending": Variant("Sort these words by the alphabet.", words.sorting, material.word_list),
            "descending": Variant(
                "Sort these words by the alphabet, from z to a.",
                partial(words.sorting, descending=True),
                material.word_list,
            ),
        },
        "counting": {
            "words": _counting("words", "words"),
            "letters": _counting("letters", "letters"),
            "spaces": _counting("spaces", "spaces between words"),
            "further_letters": _counting("further_letters", "letters after the first"),
        },
        "article_swapping": {
            "next": _swapping("next", "after", "previous"),
            "previous": _swapping("previous", "before", "next"),
        },
        "linear": {"9/5x+32": _linear(9, 32), "7/5x+31": _linear(7, 31)},
        "multiplication": {
            "forwards": _multiplication("Multiply these two numbers.", False),
            "backwards": _multiplication(
                "Multiply these two numbers, which are written with the last digit first, as the product is to be.",
                True,
            ),
        },
        "birthdays": {
            "day_first": _birthday("day, month and year", False),
            "year_first": _birthday("year, month and day", True),
        },
        "keyboard": _ciphers({layout: _keys(layout) for layout in ciphers.KEYBOARDS}),
    }.items()
}
