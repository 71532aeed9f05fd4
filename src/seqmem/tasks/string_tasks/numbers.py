"""Arithmetic on digits, and dates that a text says of people who never lived."""

from __future__ import annotations

import re

from seqmem.errors import InputError
from seqmem.tasks.text import Draws

MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
SYLLABLES = ("ba", "de", "fi", "lo", "mu", "na", "re", "si", "to", "vu")


def linear(text: str, slope: int = 9, offset: int = 32) -> str:
    """``slope / 5 * x + offset`` of a whole number, with one digit after the point where it is none: Fahrenheit of
    Celsius with 9 and 32."""
    tenths = 2 * slope * _whole(text) + 10 * offset
    sign, (whole, rest) = "-" if tenths < 0 else "", divmod(abs(tenths), 10)
    return f"{sign}{whole}.{rest}" if rest else f"{sign}{whole}"


def multiplication(text: str, backwards: bool = False) -> str:
    """The product of two whole numbers with a space between them. ``backwards``: all three are written with the last
    digit first."""
    factors = text.split()
    if len(factors) != 2:
        raise InputError(f"{text!r}, expected two whole numbers such as '12 34'")
    a, b = (_whole(factor[::-1] if backwards else factor) for factor in factors)
    return str(a * b)[::-1] if backwards else str(a * b)


def birthday(text: str, year_first: bool = False) -> str:
    """``nadefi 3 may 1912, tosilo 7 june 1950; tosilo`` -> ``7 june 1950``, or ``1950 june 7``: the date behind the
    name that is asked."""
    told, _, name = text.partition("; ")
    dates = dict(re.findall(r"(\w+) (\d+ \w+ \d+)", told))
    if name not in dates:
        raise InputError(f"{text!r} does not say the birthday of {name!r}; expected 'name day month year, ...; name'")
    return " ".join(reversed(dates[name].split())) if year_first else dates[name]


def people(count: int, likely: bool, draws: Draws) -> str:
    """``count`` names and dates with a name that is asked. Names are random syllables. Likely dates: the 1st, 10th or
    20th of a month of the summer of 1950 or 1960; others: any."""
    names = set[str]()
    while len(names) < count:
        names.add("".join(draws.choice(SYLLABLES) for _ in range(3)))
    told = sorted(names)
    dates = [_date(likely, draws) for _ in told]
    return ", ".join(f"{n} {d}" for n, d in zip(told, dates, strict=True)) + f"; {draws.choice(told)}"


def _date(likely: bool, draws: Draws) -> str:
    month = 5 + draws.below(3) if likely else draws.below(12)
    day = draws.choice((1, 10, 20)) if likely else 1 + draws.below(DAYS[month])
    return f"{day} {MONTHS[month]} {draws.choice((1950, 1960)) if likely else 1900 + draws.below(100)}"


def _whole(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]+", text.strip()):
        raise InputError(f"{text!r} is no whole number in digits")
    return int(text)
