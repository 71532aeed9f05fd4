"""Rules: their language, its arithmetic, and what cannot stand in one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmem.papers.rule import check, evaluate, interval, names

FIGURES = {"a": [1.0, 2.0, 3.0], "b": [0.0, 2.0, 1.0], "exact": [5.0], "nan": [1.0, math.nan, 2.0]}


def true(expression: str) -> bool:
    return evaluate(expression, FIGURES)[0]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("a > 1.9 and b < 1.1", True),
        ("a == 2", True),
        ("1 < a < 3", True),
        ("1 < a < 2", False),
        ("mean(a - b) == 1", True),
        ("worst(a) == 1 and best(a) == 3", True),
        ("worst(a - b) == 0 and best(a - b) == 2", True),
        ("abs(-a) == 2 and -a == -2", True),
        ("mean(min(a, b)) == 1 and mean(max(a, b, 2)) == 7 / 3", True),
        ("a * exact + b / 2 - 1 == 9.5", True),
        ("a ** 2 > 4.6", True),
        ("exact == 5 and low(exact) == high(exact)", True),
        ("low(a) < mean(a) < high(a)", True),
        ("not a > 2.5 or b != 1", True),
        ("nan > 0", False),
        ("not nan > 0", False),
        ("nan != nan", False),
        ("nan > 0 or a > 0", True),
        ("nan > 0 and a < 0", False),
        ("not (nan > 0 and a < 0)", True),
        ("a / 0 > 1", True),
        ("(a - a) / 0 > 1", False),
    ],
)
def test_what_it_says(expression: str, value: bool) -> None:
    check(expression, set(FIGURES))
    assert true(expression) is value


def test_pairs_by_seed() -> None:
    """The interval of a difference, where the seeds agree and the two figures do not."""
    figures = {"a": [1.0, 5.0, 9.0], "b": [0.9, 4.9, 8.9]}
    assert evaluate("low(a - b) > 0.09", figures)[0]
    assert not evaluate("low(a) - high(b) > 0.09", figures)[0]


@pytest.mark.parametrize(
    "expression",
    [
        "a", "1", "a + b", "True", "a > True", "a and b", "not a", "x > 1", "a > 'b'", "a.real > 1", "a[0] > 1",
        "open('f') > 1", "__import__('os') > 1", "(lambda: a)() > 1", "mean(a, b) > 1", "min(a) > 1",
        "min(a, key=b) > 1", "mean() > 1", "a in b", "a is b", "a > 1 if b else 2", "[a] > 1", "a % 2 > 1", "a >", "",
        "a > 1; b > 1", "mean > 1",
    ],
)  # fmt: skip
def test_what_cannot_stand_in_one(expression: str) -> None:
    with pytest.raises(ValueError, match="rule"):
        check(expression, set(FIGURES))


def test_names_and_clauses() -> None:
    assert names("low(a - b) > 0 and c < 1") == {"a", "b", "c"}
    value, clauses = evaluate("a > 1 and (b >= 3 or mean(a) != 0)", FIGURES)
    assert value
    assert [(c.text, c.numbers, c.value) for c in clauses] == [
        ("a > 1", "2 > 1", True),
        ("b >= 3", "1 ≥ 3", False),
        ("mean(a) != 0", "2 ≠ 0", True),
    ]


def test_the_interval_against_all_resamples() -> None:
    x = [0.3, -1.0, 2.5, 0.7]
    means = sorted(sum(chosen) / 4 for chosen in itertools.product(x, repeat=4))
    low, high = interval(x)
    outside = [sum(mean < low - 1e-12 for mean in means), sum(mean > high + 1e-12 for mean in means)]
    assert max(outside) <= 0.025 * len(means)
    assert (low, high) == pytest.approx((means[6], means[249]))  # the 7th and the 250th of 256
    assert interval([2.0]) == (2.0, 2.0)
    assert all(map(math.isnan, interval([1.0, math.nan])))
    assert all(map(math.isnan, interval([])))


def test_the_interval_of_many_seeds_is_near_the_normal_one_and_repeats() -> None:
    x = np.random.default_rng(1).normal(3.0, 2.0, size=200)
    half = 1.96 * x.std() / math.sqrt(200)
    low, high = interval(x)
    assert low == pytest.approx(x.mean() - half, abs=0.05)
    assert high == pytest.approx(x.mean() + half, abs=0.05)
    assert interval(x) == (low, high)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=8))
def test_the_interval_holds_the_mean(values: list[float]) -> None:
    low, high = interval(values)
    slack = 1e-9 * max(1.0, *map(abs, values))
    assert min(values) - slack <= low <= sum(values) / len(values) + slack
    assert sum(values) / len(values) - slack <= high <= max(values) + slack
