"""The fifteen tasks against solvers that read the written example."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks._chomsky import KINDS
from seqmem.tasks.base import IGNORE
from seqmem.tasks.chomsky import Chomsky


def on_stack(words: list[str]) -> list[str]:
    stack: list[str] = []
    for word in words:
        if word == "pop":
            stack = stack[:-1]
        else:
            stack = [*stack, word.split()[-1]]
    return [*reversed(stack), "end"]


def hidden(words: list[str]) -> list[str]:
    half, place = len(words) // 2, words.index("_")
    return [words[(place + half) % len(words)]]


def bits_of(words: list[str], sign: str) -> list[str]:
    cut = words.index(sign)
    a, b = (sum(2**n for n, bit in enumerate(part) if bit == "1") for part in (words[:cut], words[cut + 1 :]))
    result = a + b if sign == "+" else a * b
    found = []
    while result:
        found.append(str(result % 2))
        result //= 2
    return [*found, "end"]


def root(words: list[str]) -> list[str]:
    number = int("".join(words), 2)
    guess = max(r for r in range(2 ** ((len(words) + 1) // 2)) if r * r <= number)
    return list(f"{guess:b}".zfill(math.ceil(len(words) / 2)))


def unknown(words: list[str]) -> list[str]:
    left, right = "".join(words).split("=")
    fitting = [d for d in range(5) if (eval(left.replace("x", str(d))) - int(right)) % 5 == 0]
    assert len(fitting) == 1
    return [str(fitting[0])]


def value(words: list[str]) -> list[str]:
    return [str(eval("".join(words)) % 5)]


SOLVERS: dict[str, Callable[[list[str]], list[str]]] = {
    "even_pairs": lambda w: [str(len(re.findall("(?=01|10)", "".join(w))) % 2)],
    "parity_check": lambda w: [str("".join(w).count("1") % 2)],
    "cycle_navigation": lambda w: [str((w.count("forward") - w.count("back")) % 5)],
    "modular_arithmetic": value,
    "stack_manipulation": on_stack,
    "reverse_string": lambda w: w[::-1],
    "modular_arithmetic_brackets": value,
    "solve_equation": unknown,
    "duplicate_string": lambda w: w + w,
    "missing_duplicate": hidden,
    "odds_first": lambda w: w[::2] + w[1::2],
    "binary_addition": lambda w: bits_of(w, "+"),
    "binary_multiplication": lambda w: bits_of(w, "*"),
    "compute_sqrt": root,
    "bucket_sort": sorted,
}


@pytest.mark.parametrize(
    ("kind", "length"),
    [(kind, length) for kind in KINDS for length in (4, 5, 11, 24, 33) if KINDS[kind].longest(length) is not None],
)
def test_answers(generator: torch.Generator, kind: str, length: int) -> None:
    task = Chomsky(kind, length=40)
    symbols = KINDS[kind].symbols
    for split in ("train", "test"):
        batch = task.sample(30, length, generator, split=split)
        for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
            size = inputs.index(task.ask)
            assert inputs[size:] == [task.ask] * (length - size)
            answer = [symbols[token] for token in targets if token != IGNORE]
            assert targets[:size] == [IGNORE] * size
            assert targets[size + len(answer) :] == [IGNORE] * (length - size - len(answer))
            assert answer == SOLVERS[kind]([symbols[token] for token in inputs[:size]])


@pytest.mark.parametrize("kind", KINDS)
def test_chance_is_what_a_blind_guess_scores_at_most(generator: torch.Generator, kind: str) -> None:
    task = Chomsky(kind)
    targets = task.sample(1500, 60, generator, split="test").targets
    counts = torch.bincount(targets[targets != IGNORE])
    assert counts.max() / counts.sum() < task.chance + 0.05
    assert len(counts) >= round(1 / task.chance)


def test_brackets_are_balanced_and_every_length_occurs(generator: torch.Generator) -> None:
    from seqmem.tasks._chomsky.expressions import draw

    written = ("0", "1", "2", "3", "4", "+", "-", "(", ")")
    for size in range(1, 40):
        tokens, values = draw(20, size, generator)
        for row, expected in zip(tokens.tolist(), values.tolist(), strict=True):
            assert eval("".join(written[token] for token in row)) % 5 == expected
    assert len({tuple(row) for row in draw(200, 12, generator)[0].tolist()}) > 190


def test_training_strings_vary_and_test_strings_do_not(generator: torch.Generator) -> None:
    task = Chomsky("reverse_string", length=20)
    sizes = {int((task.sample(2, 20, generator).inputs[0] != task.ask).sum()) for _ in range(200)}
    assert sizes == set(range(1, 11))
    assert {int((task.sample(2, 20, generator, split="test").inputs[0] != task.ask).sum()) for _ in range(9)} == {10}
    fixed = Chomsky("reverse_string", length=20, vary=False)
    assert {int((fixed.sample(2, 20, generator).inputs[0] != fixed.ask).sum()) for _ in range(9)} == {10}


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.running])
def test_every_prefix_has_the_answer_of_its_own_string(generator: torch.Generator, kind: str) -> None:
    task = Chomsky(kind, length=12, every_prefix=True)
    batch = task.sample(8, 12, generator, split="test")
    size = task._longest(12)
    words = [[KINDS[kind].symbols[token] for token in row] for row in batch.inputs[:, :size].tolist()]
    for row, targets in zip(words, batch.targets.tolist(), strict=True):
        for end in range(1, size + 1):
            expected = IGNORE if row[end - 1] in "+-*" else KINDS[kind].symbols.index(SOLVERS[kind](row[:end])[0])
            assert targets[end - 1] == expected
        assert targets[size] == targets[size - 1]


def test_levels() -> None:
    levels = [Chomsky(kind).level for kind in KINDS]
    assert [levels.count(level) for level in ("regular", "context-free", "context-sensitive")] == [4, 4, 7]


def test_bad_options_say_so() -> None:
    with pytest.raises(InputError, match="every_prefix=True with kind='reverse_string', whose prefixes have no answer"):
        Chomsky("reverse_string", every_prefix=True)
    with pytest.raises(InputError, match=r"unknown kind 'even_pair'\. Did you mean 'even_pairs'"):
        Chomsky("even_pair")
    with pytest.raises(InputError, match="length=5 is too short for binary_addition, expected at least 6"):
        Chomsky("binary_addition", length=5)
    with pytest.raises(InputError, match="vary=1, expected true or false"):
        Chomsky(vary=1)  # type: ignore[arg-type]
