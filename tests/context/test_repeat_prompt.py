"""A prompt said twice, within a limit."""

from __future__ import annotations

from typing import Any

import pytest

from seqmem.context import repeat_prompt
from seqmem.errors import InputError


class Words:
    """A token is a word; two words that meet at a line break are one token, as pieces of words may be."""

    def __call__(self, text: str) -> dict[str, Any]:
        return {"input_ids": text.split(" ")}

    def decode(self, ids: list[str]) -> str:
        return " ".join(ids)


def test_context_and_question_come_in_turn() -> None:
    assert repeat_prompt("C", "Q?") == "C\nQ?\nC\nQ?"
    assert repeat_prompt("C", "Q?", times=1) == "C\nQ?"
    assert repeat_prompt("C", "Q?", times=3, separator=" ") == "C Q? C Q? C Q?"
    assert repeat_prompt("", "Q?") == "Q?\nQ?"


@pytest.mark.parametrize("limit", range(3, 30))
@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("separator", [" ", "\n"])
def test_the_limit_cuts_the_contexts_ends_alike(limit: int, times: int, separator: str) -> None:
    context = " ".join(f"w{i}" for i in range(8))

    def shown(kept: int) -> str:
        """By hand, with so many words of the context."""
        words = " ".join(context.split()[:kept])
        return separator.join([part for part in (words, "who ?") if part] * times)

    counts = [len(shown(kept).split(" ")) for kept in range(9)]
    fitting = [kept for kept in range(9) if counts[kept] <= limit]
    options: dict[str, Any] = {"times": times, "separator": separator, "tokenizer": Words(), "max_tokens": limit}
    if not fitting:
        with pytest.raises(InputError, match=f"max_tokens is {limit}, the question {times} times alone is"):
            repeat_prompt(context, "who ?", **options)
        return
    found = repeat_prompt(context, "who ?", **options)
    assert found in [shown(kept) for kept in fitting[-2:]]  # at most one word less than could be
    assert len(Words()(found)["input_ids"]) <= limit


def test_bad_input_says_so() -> None:
    for options, says in (
        ({"times": 0}, "times is 0, expected a whole number of at least 1"),
        ({"max_tokens": 5}, "max_tokens needs the tokenizer"),
        ({"max_tokens": 0, "tokenizer": Words()}, "max_tokens is 0"),
    ):
        with pytest.raises(InputError, match=says):
            repeat_prompt("a", "b", **options)  # type: ignore[arg-type]
