"""Random search: settings drawn from ranges, and whether the best trials of one method differ from another's.

LSTM: A Search Space Odyssey (2015), arXiv 1503.04069; Random Search for Hyper-Parameter Optimization (2012), JMLR 13.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch

from seqmem.errors import InputError


class Range(NamedTuple):
    """Values from low to high. log: evenly distributed on a logarithmic scale, low > 0; whole: rounded."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def value(self, share: float) -> float:
        """What lies at ``share``, from 0 to 1, of the range."""
        if self.log:
            found = math.exp(math.log(self.low) + share * math.log(self.high / self.low))
        else:
            found = self.low + share * (self.high - self.low)
        return round(found) if self.whole else min(max(found, self.low), self.high)

    def share(self, value: float) -> float:
        """Where ``value`` lies in the range, from 0 to 1."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


Space = Mapping[str, Range]


class Trial(NamedTuple):
    """settings: name to value; score: what the run returned, lower is better."""

    settings: dict[str, float]
    score: float


class Comparison(NamedTuple):
    """difference: mean of the other's best trials less that of the reference's, > 0 where the other is worse; p: of
    Welch's two-sided t-test, NaN where neither varies."""

    difference: float
    p: float

    @property
    def worse(self) -> float:
        """p where the other is worse, else 1."""
        return self.p if self.difference > 0 else 1.0


def check_space(space: Space, owner: str) -> None:
    """Raises InputError for no ranges, or one that holds nothing or has no logarithm."""
    if not space:
        raise InputError(f"{owner}: the space is empty, expected a range for at least one setting")
    for name, one in space.items():
        if not one.low < one.high or not all(map(math.isfinite, one[:2])) or (one.log and one.low <= 0):
            wanted = "0 < low < high" if one.log else "low < high"
            raise InputError(f"{owner}: the range of '{name}' is {one.low} to {one.high}, expected {wanted}, finite")


def draw_settings(space: Space, count: int, generator: torch.Generator) -> list[dict[str, float]]:
    """``count`` times every setting, independently."""
    check_space(space, "draw_settings")
    draws = torch.rand(count, len(space), generator=generator, dtype=torch.float64).tolist()
    return [{name: one.value(u) for (name, one), u in zip(space.items(), row, strict=True)} for row in draws]


def random_search(
    run: Callable[[dict[str, float]], float], space: Space, count: int, generator: torch.Generator, worst: float
) -> list[Trial]:
    """``count`` trials of ``run(settings)``, whose score is better the lower it is. What is not finite, or above
    ``worst``, counts as ``worst``: a training that diverged is no worse than one that learned nothing."""
    trials = []
    for settings in draw_settings(space, count, generator):
        score = float(run(settings))
        trials.append(Trial(settings, score if score < worst else worst))  # NaN is not below
    return trials


def best_scores(trials: Sequence[Trial], fraction: float) -> list[float]:
    """The lowest ``fraction`` of the scores, at least two, in order."""
    return sorted(trial.score for trial in trials)[: max(2, round(fraction * len(trials)))]


def compare_best(reference: Sequence[Trial], other: Sequence[Trial], fraction: float = 0.1) -> Comparison:
    """Welch's t-test between the best ``fraction`` of two methods' trials, at least two of each."""
    from scipy.stats import ttest_ind

    if not 0 < fraction <= 1 or min(len(reference), len(other)) < 2:
        raise InputError(
            f"compare_best: the best {fraction!r} of {len(reference)} and {len(other)} trials, expected a fraction in "
            "(0, 1] of at least two each"
        )
    best = [best_scores(trials, fraction) for trials in (other, reference)]
    means = [math.fsum(scores) / len(scores) for scores in best]
    if all(min(scores) == max(scores) for scores in best):
        return Comparison(means[0] - means[1], math.nan)
    return Comparison(means[0] - means[1], float(ttest_ind(*best, equal_var=False).pvalue))
