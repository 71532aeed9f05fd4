"""Cross-serial strings against plain Python."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE
from seqmem.tasks.cross_serial import WORDS, CrossSerial, legal


def word(m: int, n: int) -> str:
    return "a" * m + "b" * n + "c" * m + "d" * n


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("length", [5, 9, 10, 36])
def test_strings_and_what_is_asked(generator: torch.Generator, length: int, everywhere: bool) -> None:
    batch = CrossSerial(everywhere=everywhere).sample(100, length, generator)
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        text = "".join(WORDS[token] for token in inputs)
        counts = Counter(text)
        string = word(counts["a"], counts["b"])
        assert text == "." + string + "." * (length - 1 - len(string))
        follows = string + "."
        asked = [follows[t] if t <= len(string) and (everywhere or text[t] in "cd") else "" for t in range(length)]
        assert ["" if token == IGNORE else WORDS[token] for token in targets] == asked


def test_all_that_fit_are_equally_likely(generator: torch.Generator) -> None:
    rows = 12_000
    found = Counter(map(tuple, CrossSerial().sample(rows, 9, generator).inputs.tolist()))
    assert len(found) == 6
    assert max(abs(count / rows - 1 / 6) for count in found.values()) < 5 * (5 / 36 / rows) ** 0.5


def test_legal_is_what_can_be_completed(generator: torch.Generator) -> None:
    inputs = CrossSerial().sample(40, 13, generator).inputs
    for row, allowed in zip(inputs.tolist(), legal(inputs).tolist(), strict=True):
        text = "".join(WORDS[token] for token in row).rstrip(".")
        strings = ["." + word(m, n) + "." for m in range(1, 20) for n in range(1, 20)]
        for t in range(len(text)):
            may = {s[t + 1] for s in strings if s.startswith(text[: t + 1])}
            assert {WORDS[token] for token, yes in enumerate(allowed[t]) if yes} == may
        assert all(flags == [True, False, False, False, False] for flags in allowed[len(text) :])


@pytest.mark.parametrize("everywhere", [False, True])
def test_chance_is_what_a_blind_guess_scores(generator: torch.Generator, everywhere: bool) -> None:
    task = CrossSerial(everywhere=everywhere)
    targets = task.sample(4000, 9, generator).targets
    targets = targets[targets != IGNORE]
    assert torch.bincount(targets).max().item() / len(targets) == pytest.approx(task.chance, abs=0.02)


def test_bad_requests_say_so(generator: torch.Generator) -> None:
    with pytest.raises(InputError, match="length=4 is too short, expected at least 5"):
        CrossSerial(length=4)
    with pytest.raises(InputError, match="everywhere='yes'"):
        CrossSerial(everywhere="yes")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="length=12 is too short, expected at least 13"):
        CrossSerial().strings(torch.tensor([3]), torch.tensor([3]), 12)


def test_example_shows_question_and_answer(generator: torch.Generator) -> None:
    string, asked = (line.split()[1:] for line in CrossSerial().example(generator).splitlines())
    assert all(a in ("_", s) for a, s in zip(asked, [*string[1:], "."], strict=True))
