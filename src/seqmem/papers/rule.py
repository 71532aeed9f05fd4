"""Rules: expressions over measured figures, written before the run and evaluated by code after it.

``low(ewc - plain) > 0.03 and ewc > shuffled``. A name is a figure: an array over seeds, paired by seed. Python's own
operators ``+ - * / **``, comparisons, ``and or not``, numbers, ``abs``, ``min(a, b)``, ``max(a, b)``, and over the
seeds ``mean(e)``, ``low(e)``, ``high(e)`` (the ends of the 95 % bootstrap interval of the mean), ``worst(e)``,
``best(e)`` (the smallest and the largest). A bare array in a comparison is its mean. A comparison with a NaN cannot be
made: it counts as false, and so does its ``not``.
"""

from __future__ import annotations

import ast
import functools
import itertools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RESAMPLES = 10_000
ENUMERATED = 6  # up to so many seeds, all resamples with replacement (46,656 of 6) are taken instead of random ones


def interval(values: Sequence[float] | Array) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the mean; of a single value, the value twice."""
    x = np.asarray(values, dtype=np.float64).ravel()
    if x.size == 0 or not np.isfinite(x).all():
        return float("nan"), float("nan")
    if x.size <= ENUMERATED:
        chosen = np.array(list(itertools.product(range(x.size), repeat=x.size)))
    else:
        chosen = np.random.default_rng(0).integers(x.size, size=(RESAMPLES, x.size))
    low, high = np.quantile(x[chosen].mean(axis=1), (0.025, 0.975), method="inverted_cdf")
    return float(low), float(high)


OPERATORS: dict[type[ast.operator], Callable[[Array, Array], Array]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.power,
}
COMPARISONS: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
SIGNS = {ast.Lt: "<", ast.LtE: "≤", ast.Gt: ">", ast.GtE: "≥", ast.Eq: "=", ast.NotEq: "≠"}
OVER_SEEDS: dict[str, Callable[[Array], float]] = {
    "mean": np.mean,
    "low": lambda x: interval(x)[0],
    "high": lambda x: interval(x)[1],
    "worst": np.min,
    "best": np.max,
}
PAIRWISE: dict[str, Callable[[Array, Array], Array]] = {"min": np.minimum, "max": np.maximum}


@dataclass(frozen=True)
class Clause:
    """One comparison of a rule: as it is written, with its numbers put in, and whether it is true."""

    text: str
    numbers: str
    value: bool


def names(expression: str) -> set[str]:
    """The figures that an expression speaks of. Raises ValueError when it is not one."""
    tree = _parse(expression)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called}


def check(expression: str, figures: set[str]) -> None:
    """Raises ValueError, which says what is wrong, unless the expression is a rule over these figures."""
    unknown = names(expression) - figures
    if unknown:
        raise ValueError(f"rule '{expression}' speaks of {sorted(unknown)}, the figures are {sorted(figures)}")
    evaluate(expression, {name: [1.0] for name in figures})


def evaluate(expression: str, figures: Mapping[str, Sequence[float]]) -> tuple[bool, list[Clause]]:
    """Whether it is true of these figures (name -> value of every seed), and each of its comparisons.

    Raises ValueError for anything that is not a rule.
    """
    clauses: list[Clause] = []
    with np.errstate(all="ignore"):
        value = _truth(_parse(expression), {name: np.asarray(v, np.float64) for name, v in figures.items()}, clauses)
    return bool(value), clauses


def _parse(expression: str) -> ast.expr:
    try:
        return ast.parse(expression.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"rule '{expression}' is not an expression: {error.msg}") from error


def _truth(node: ast.expr, figures: Mapping[str, Array], clauses: list[Clause]) -> bool | None:
    """True, False, or None where a NaN makes it impossible to say."""
    if isinstance(node, ast.BoolOp):
        values = [_truth(part, figures, clauses) for part in node.values]
        decisive = isinstance(node.op, ast.Or)  # one true decides an "or", one false an "and"
        return decisive if decisive in values else None if None in values else not decisive
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        value = _truth(node.operand, figures, clauses)
        return None if value is None else not value
    if isinstance(node, ast.Compare):
        return _comparison(node, figures, clauses)
    raise ValueError(f"'{ast.unparse(node)}' in a rule is neither true nor false; write a comparison")


def _comparison(node: ast.Compare, figures: Mapping[str, Array], clauses: list[Clause]) -> bool | None:
    sides = [float(np.mean(_number(side, figures))) for side in (node.left, *node.comparators)]
    unknown = [type(op).__name__ for op in node.ops if type(op) not in COMPARISONS]
    if unknown:
        raise ValueError(f"'{ast.unparse(node)}' in a rule compares with {unknown[0]}")
    pairs = zip(node.ops, itertools.pairwise(sides), strict=True)
    value = None if np.isnan(sides).any() else all(COMPARISONS[type(op)](a, b) for op, (a, b) in pairs)
    signs = [SIGNS[type(op)] for op in node.ops]
    numbers = f"{sides[0]:.4g}" + "".join(f" {sign} {side:.4g}" for sign, side in zip(signs, sides[1:], strict=True))
    clauses.append(Clause(ast.unparse(node), numbers, bool(value)))
    return value


def _number(node: ast.expr, figures: Mapping[str, Array]) -> Array:
    """The value of an arithmetic expression: an array over seeds, or a single number."""
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return np.asarray(number, np.float64)
        case ast.Name(id=name) if name in figures:
            return figures[name]
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_number(inner, figures)
        case ast.BinOp(op=op) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_number(node.left, figures), _number(node.right, figures))
        case ast.Call(func=ast.Name(id=name), args=[inner], keywords=[]) if name in OVER_SEEDS:
            return np.asarray(OVER_SEEDS[name](_number(inner, figures)), np.float64)
        case ast.Call(func=ast.Name(id="abs"), args=[inner], keywords=[]):
            return np.abs(_number(inner, figures))
        case ast.Call(func=ast.Name(id="min" | "max" as name), args=[_, _, *_], keywords=[]):
            return functools.reduce(PAIRWISE[name], (_number(argument, figures) for argument in node.args))
    raise ValueError(
        f"'{ast.unparse(node)}' cannot stand in a rule; it may hold figures, numbers, + - * / **, abs, min(a, b), "
        f"max(a, b), {', '.join(OVER_SEEDS)}"
    )
