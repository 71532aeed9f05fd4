"""How long units remember while they are driven at random: timescales of their autocorrelation, and how many dimensions
their activity has.

Emergent mechanisms for long timescales depend on training curriculum and affect performance in memory tasks (2024),
arXiv 2309.12927, calls the first tau_net: what neurons and connections give together.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError

LONGEST = 100.0  # steps: a timescale is looked for up to here
SMALLEST = 0.05  # share of the decay that makes a second exponential


class Timescale(NamedTuple):
    """slow, fast: in steps; share: what the slow one has of the decay. Where one exponential describes it
    (``exponentials`` 1) fast is NaN and the share 1; where none does (0) all are NaN."""

    slow: float
    fast: float
    share: float
    exponentials: int

    @property
    def effective(self) -> float:
        """The mean of both, weighted by their shares."""
        return self.slow if self.exponentials < 2 else self.share * self.slow + (1 - self.share) * self.fast


def autocorrelation(activity: Tensor, lags: int) -> Tensor:
    """(units, lags + 1), 1 at lag 0: the covariance of each unit with itself so many steps before, over its variance.

    activity: (batch, time, units), rows independent, after the beginning has faded; each row's mean is taken off, each
    lag divided by the number of its pairs. NaN for a unit that does not vary.
    """
    if activity.ndim != 3 or not 0 <= lags < activity.shape[1]:
        raise InputError(
            f"activity has shape {tuple(activity.shape)} with lags {lags}, expected (batch, time, units), time above "
            "the largest lag"
        )
    x = activity.detach().double()
    x, time = x - x.mean(1, keepdim=True), x.shape[1]
    spectrum = torch.fft.rfft(x, n=2 * time, dim=1).abs().square()
    products = torch.fft.irfft(spectrum, n=2 * time, dim=1)[:, : lags + 1].mean(0)  # (lags + 1, units)
    covariance = products / (time - torch.arange(lags + 1, dtype=torch.float64))[:, None]
    still = covariance[0] <= 1e-12 * activity.double().square().mean((0, 1)).clamp(min=1e-30)
    return (covariance / covariance[0].masked_fill(still, math.nan)).mT


def fit_timescale(decay: Tensor) -> Timescale:
    """One exponential a e^(-t / tau) or two, a (c e^(-t / fast) + (1 - c) e^(-t / slow)), by least squares to an
    autocorrelation (lags + 1,); of the two the one with the lower AIC, two only where both have a share of 5 % and
    more and the slow one is not above the number of lags: an estimate's errors are correlated from lag to lag, so that
    a small, slow second exponential fits them better by AIC, whatever is there. Timescales up to 100 steps."""
    import numpy as np
    from scipy.optimize import curve_fit

    y = decay.detach().double().numpy()
    if y.ndim != 1 or len(y) < 6:
        raise InputError(f"decay has shape {tuple(decay.shape)}, expected (lags + 1,), at least 6")
    if not np.isfinite(y).all():
        return Timescale(math.nan, math.nan, math.nan, 0)
    t = np.arange(len(y), dtype=float)

    def one(t: Any, a: float, tau: float) -> Any:
        return a * np.exp(-t / tau)

    def two(t: Any, a: float, c: float, fast: float, slow: float) -> Any:
        return a * (c * np.exp(-t / fast) + (1 - c) * np.exp(-t / slow))

    tiny, found = 1e-3, []
    for shape, begin, high in (
        (one, (1.0, 1.0), (1.5, LONGEST)),
        (two, (1.0, 0.5, 0.7, 5.0), (1.5, 1.0, LONGEST, LONGEST)),
    ):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a covariance that cannot be estimated, which is not asked for
                fitted, _ = curve_fit(shape, t, y, begin, bounds=((tiny,) * len(begin), high), max_nfev=400)
        except RuntimeError:  # did not converge
            continue
        if len(begin) == 4 and not (SMALLEST <= fitted[1] <= 1 - SMALLEST and max(fitted[2:]) <= len(y) - 1):
            continue
        wrong = float(((shape(t, *fitted) - y) ** 2).mean()) + 1e-20
        found.append((2 * len(begin) + len(y) * math.log(wrong), fitted))
    if not found:
        return Timescale(math.nan, math.nan, math.nan, 0)
    _, best = min(found, key=lambda pair: pair[0])
    if len(best) == 2:
        return Timescale(float(best[1]), math.nan, 1.0, 1)
    _, of_first, first, second = map(float, best)
    if first < second:
        return Timescale(second, first, 1 - of_first, 2)
    return Timescale(first, second, of_first, 2)


def network_timescales(activity: Tensor, lags: int = 30) -> list[Timescale]:
    """The :class:`Timescale` of every unit of activity (batch, time, units) under random input."""
    return [fit_timescale(decay) for decay in autocorrelation(activity, lags)]


def dimensionality(activity: Tensor, share: float = 0.9) -> int:
    """How many principal components hold ``share`` of the variance of activity (..., units)."""
    if not 0 < share <= 1:
        raise InputError(f"share is {share}, expected above 0 and at most 1")
    x = activity.detach().double().flatten(0, -2)
    x = x - x.mean(0)
    values = torch.linalg.eigvalsh(x.mT @ x).flip(0).clamp(min=0)
    held = values.cumsum(0) / values.sum()
    return min(int((held < share - 1e-12).sum()) + 1, len(values))
