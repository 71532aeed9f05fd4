"""What makes answers right: logistic regression on the probabilities of answer, input and task, and shares by bin."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqmem.errors import InputError
from seqmem.tasks.string_tasks.ask import Answered
from seqmem.tasks.string_tasks.items import Item

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Effect:
    """coefficient: of the log-odds, for one unit of the column; error: its standard error; p: of Wald's test against
    0, two-sided."""

    name: str
    coefficient: float
    error: float
    p: float


def logistic_regression(columns: ArrayLike, right: ArrayLike, names: Sequence[str]) -> list[Effect]:
    """Maximum likelihood with an intercept, which comes first.

    columns: (items, columns). right: (items,) of 0 and 1. Errors are the roots of the diagonal of the inverse Hessian
    of minus the log-likelihood. Where all answers are alike nothing can be said: coefficients are 0, errors infinite,
    p 1. Where the columns tell right from wrong without exception there is no maximum: errors and p are NaN.
    """
    from scipy.optimize import minimize
    from scipy.special import expit
    from scipy.stats import norm

    x, y = np.asarray(columns, np.float64), np.asarray(right, np.float64)
    if x.ndim != 2 or x.shape != (len(y), len(names)) or not np.isin(y, (0, 1)).all() or not np.isfinite(x).all():
        raise InputError(f"columns {x.shape}, right {y.shape} and {len(names)} names, expected finite numbers, "
                         "(items, columns), (items,) of 0 and 1, and a name for each column")  # fmt: skip
    spread = x.std(0)
    if (flat := [name for name, s in zip(names, spread, strict=True) if s == 0]) or len(y) == 0:
        raise InputError(f"the columns {flat} are the same for all items, expected some that differ; leave them out")
    names = ["intercept", *names]
    if y.min() == y.max():
        return [Effect(name, 0.0, math.inf, 1.0) for name in names]
    mean = x.mean(0)
    z = np.column_stack([np.ones(len(y)), (x - mean) / spread])  # columns of one size are easier to fit

    def loss(b: Array) -> float:
        return float((np.logaddexp(0, z @ b) - y * (z @ b)).sum())

    def gradient(b: Array) -> Array:
        return z.T @ (expit(z @ b) - y)

    def hessian(b: Array) -> Array:
        p = expit(z @ b)
        return z.T @ (z * (p * (1 - p))[:, None])

    found = minimize(loss, np.zeros(z.shape[1]), jac=gradient, hess=hessian, method="trust-exact",
                     options={"gtol": 1e-8 * len(y), "maxiter": 500}).x  # fmt: skip
    back = np.diag(1 / np.append(1.0, spread))  # to the columns' own units
    back[0, 1:] = -mean / spread
    separated = bool(np.all((z @ found > 0) == (y == 1)) and np.abs(z @ found).min() > 5)
    covariance = back @ np.linalg.pinv(hessian(found)) @ back.T
    coefficients = back @ found
    errors = np.full(len(found), np.nan) if separated else np.sqrt(np.diag(covariance))
    p = 2 * norm.sf(np.abs(coefficients) / errors)
    return [Effect(*row) for row in zip(names, coefficients.tolist(), errors.tolist(), p.tolist(), strict=True)]


def effects(
    answered: Sequence[Answered], frequency: Callable[[Item], float] = lambda item: float(item.frequent)
) -> list[Effect]:
    """Correctness on the log-probabilities of output and input, in standard deviations, and the frequency of the task:
    whether it is the common variant, or what ``frequency`` says. A column that is the same for all items is left out.
    """
    made = {
        "log p(output)": [one.item.log_p_output for one in answered],
        "log p(input)": [one.item.log_p_input for one in answered],
        "task frequency": [frequency(one.item) for one in answered],
    }
    columns = {name: np.asarray(values, np.float64) for name, values in made.items() if len(set(values)) > 1}
    if not columns:
        raise InputError(f"{len(answered)} answers do not differ in any probability, expected some that do")
    for name in columns:
        if name != "task frequency":
            columns[name] = (columns[name] - columns[name].mean()) / columns[name].std()
    return logistic_regression(np.column_stack(list(columns.values())), [one.right for one in answered], list(columns))


@dataclass(frozen=True)
class Bin:
    """Items with a value from ``low`` to ``high``: how many, the share that was right, and the mean edit distance."""

    low: float
    high: float
    count: int
    right: float
    distance: float


def by_bin(
    answered: Sequence[Answered], of: Callable[[Item], float] = lambda item: item.log_p_output, bins: int = 5
) -> list[Bin]:
    """``bins`` bins of as many items each, from the lowest value to the highest; by default by log p(output)."""
    if not 1 <= bins <= len(answered):
        raise InputError(f"bins={bins} of {len(answered)} answers, expected 1 to {len(answered)}")
    ranked = sorted(answered, key=lambda one: of(one.item))
    made = []
    for n in range(bins):
        some = ranked[n * len(ranked) // bins : (n + 1) * len(ranked) // bins]
        right = sum(one.right for one in some) / len(some)
        distance = sum(one.distance for one in some) / len(some)
        made.append(Bin(of(some[0].item), of(some[-1].item), len(some), right, distance))
    return made


def told(bins: Sequence[Bin], width: int = 20) -> str:
    """Bins as lines of text, a bar for the share that was right."""
    lines = ["        from         to  items  right"]
    for one in bins:
        bar = "#" * round(width * one.right)
        lines.append(f"{one.low:12.2f} {one.high:10.2f} {one.count:6d}  {one.right:5.2f}  {bar}")
    return "\n".join(lines)
