"""What a paper's module may say, and what may come out of its measure()."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from seqmem.papers.paper import Figure, Rule
from seqmem.papers.part import measured_of, resolve
from tests.papers.toy import PAPER


@pytest.mark.parametrize(
    "changes",
    [
        {"figures": ()},
        {"figures": (Figure("gain", "a"), Figure("gain", "b"))},
        {"rule": Rule("gains > 1", "", "null < 1")},
        {"rule": Rule("gain", "", "null < 1")},
        {"rule": Rule("gain > 1", "wrong > 1", "null < 1")},
        {"rule": Rule("gain > 1", "", "")},
        {"settings": {"laptop": {}}},
        {"seeds": None},
        {"exact": ("third",)},
        {"uses": ()},
        {"parts": ()},
    ],
)
def test_what_is_not_a_paper(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"toy|rule"):
        replace(PAPER, **changes)


def test_seeds() -> None:
    assert list(PAPER.seeds_of("first", "laptop")) == [0]
    assert list(PAPER.seeds_of("first", "laptop", 7)) == [0]
    assert list(PAPER.seeds_of("second", "laptop")) == [0, 1, 2]
    assert list(PAPER.seeds_of("second", "laptop", 2)) == [0, 1]
    exact = replace(PAPER, exact=True, seeds=None)
    assert list(exact.seeds_of("second", "laptop", 5)) == [0]


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        (None, "returns a dict"),
        ({"figures": {}, "more": 1}, "returns a dict"),
        ({"figures": {"other": 1.0}}, "'other'"),
        ({"figures": {}, "series": {"a": {"x": [1], "y": []}}}, "1 x and 0 y"),
        ({"figures": {}, "series": {"a|b": {"x": [1], "y": [1]}}}, r"\|"),
    ],
)
def test_what_measure_may_not_return(measured: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measured_of(PAPER, measured)


def test_names_are_resolved() -> None:
    from seqmem.theory import AssocMemory

    assert resolve("seqmem.theory.AssocMemory.store") is AssocMemory.store
    for wrong in ("seqmem.theory.Nothing", "seqmem.nothing.at.all", "no_such_package.x"):
        with pytest.raises(ValueError, match="there is no"):
            resolve(wrong)
