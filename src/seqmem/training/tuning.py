"""A learning rate is chosen with a study's first seeds; the other seeds run at the chosen one only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seqmem.training.aggregate import best_learning_rate
from seqmem.training.experiment import Experiment
from seqmem.training.schema import Result


def choosing(experiments: Sequence[Experiment], tune_seeds: int | None) -> list[Experiment]:
    """Those that run first: every learning rate at the seeds below ``tune_seeds``; all for None."""
    return [e for e in experiments if tune_seeds is None or e.seed < tune_seeds]


def at_the_chosen_rate(
    experiments: Sequence[Experiment], tune_seeds: int, results: Mapping[str, Result]
) -> list[Experiment]:
    """The others, of each group of one mixer, width and task those at the rate that ``results`` (experiment -> result,
    with all of :func:`choosing`) speak for."""
    groups: dict[str, list[Result]] = {}
    for e in choosing(experiments, tune_seeds):
        groups.setdefault(group_of(e), []).append(results[e.hash])
    best = {group: best_learning_rate(of) for group, of in groups.items()}
    return [e for e in experiments if e.seed >= tune_seeds and e.learning_rate == best[group_of(e)]]


def expected(experiments: Sequence[Experiment], tune_seeds: int | None) -> int:
    """How many run in all."""
    first = choosing(experiments, tune_seeds)
    groups = len({group_of(e) for e in first})
    return len(first) + groups * len({e.seed for e in experiments} - {e.seed for e in first})


def group_of(experiment: Experiment) -> str:
    """All of the description but learning rate and seed."""
    described: dict[str, Any] = experiment.model_dump(mode="json", exclude={"learning_rate", "seed"})
    return repr(described)
