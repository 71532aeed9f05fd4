"""How near an answer is to the right one."""

from __future__ import annotations


def edit_distance(a: str, b: str) -> int:
    """The least number of characters to put in, take out or replace, so that one text becomes the other."""
    row = list(range(len(b) + 1))
    for n, x in enumerate(a, 1):
        before, row[0] = row[0], n
        for m, y in enumerate(b, 1):
            before, row[m] = row[m], min(before + (x != y), row[m] + 1, row[m - 1] + 1)
    return row[-1]


def cleaned(answer: str) -> str:
    """The first line that says anything, without quotation marks and spaces around it."""
    lines = (line.strip().strip("\"'`“”‘’ ") for line in answer.split("\n"))
    return next((line for line in lines if line), "")
