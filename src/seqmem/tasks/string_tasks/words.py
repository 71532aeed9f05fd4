"""Words moved about, counted and sorted."""

from __future__ import annotations

from seqmem.errors import InputError

ARTICLES = ("a", "an", "the")


def acronym(text: str, letter: int = 1) -> str:
    """The first letters of all words, or the second: ``acronym("boat old teacher") == "bot"``."""
    words = text.split()
    if short := [word for word in words if len(word) < letter]:
        raise InputError(f"the word {short[0]!r} has no letter {letter}; give longer words")
    return "".join(word[letter - 1] for word in words)


def reversal(text: str, keep: int = 0) -> str:
    """The words in reverse order, the first ``keep`` of them where they are."""
    words = text.split()
    return " ".join(words[:keep] + words[keep:][::-1])


def sorting(text: str, descending: bool = False) -> str:
    """The words in the order of the alphabet."""
    return " ".join(sorted(text.split(), reverse=descending))


def counting(text: str, what: str = "words") -> str:
    """How many words, spaces between words, letters, or letters after the first: a number in digits."""
    words = text.split()
    letters = sum(len(word) for word in words)
    counts = {
        "words": len(words),
        "spaces": max(0, len(words) - 1),
        "letters": letters,
        "further_letters": max(0, letters - 1),
    }
    if what not in counts:
        raise InputError(f"unknown {what!r} to count, expected one of {', '.join(counts)}")
    return str(counts[what])


def article_swapping(text: str, neighbour: str = "next") -> str:
    """Every article changes places with the word after it, or before it (``"previous"``), the articles from left to
    right; where there is no such word it stays. ``previous`` undoes ``next`` where no two articles are neighbours and
    none is at an end."""
    if neighbour not in ("next", "previous"):
        raise InputError(f"unknown neighbour {neighbour!r}, expected next or previous")
    words, done = text.split(), list[str]()
    if neighbour == "next":
        n = 0
        while n < len(words):
            pair = words[n] in ARTICLES and n + 1 < len(words)
            done += [words[n + 1], words[n]] if pair else [words[n]]
            n += 2 if pair else 1
        return " ".join(done)
    for word in words:
        if word in ARTICLES and done:
            done.insert(len(done) - 1, word)
        else:
            done.append(word)
    return " ".join(done)
