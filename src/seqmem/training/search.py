"""Learning rates that are behind are stopped early: successive halving, with Optuna's pruner as the judge.

A Study on Hyperparameter Optimization: Non-stochastic Best Arm Identification (2015), arXiv 1502.07943; A System for
Massively Parallel Hyperparameter Tuning (2018), arXiv 1810.05934. All rates of a group (one mixer, width and task) are
trained to a first rung; the best part of them (1 / reduction, at least one) goes on to the next, ``reduction`` times
further, and what is left at the last rung is trained to the end. Every rate is judged with all others of its rung in
sight, so that what is stopped does not depend on who was ready first.
"""

from __future__ import annotations

import importlib.util
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict

from seqmem.errors import InputError
from seqmem.tasks import get_task
from seqmem.training.aggregate import better_of
from seqmem.training.experiment import Experiment
from seqmem.training.remote_store import RemoteStore
from seqmem.training.result import result_of
from seqmem.training.rung import Rung, RungRecord
from seqmem.training.schema import Result
from seqmem.training.store import Store
from seqmem.training.study import Search
from seqmem.training.tuning import group_of

NO_OPTUNA = "search needs Optuna, which is not installed; pip install 'seqmem[search]', or leave search out"


class Searched(TypedDict):
    """What a search did in one group. ``stopped``: rate -> the step at which it was stopped. ``steps``: taken by all
    trainings that choose the rate; ``grid_steps``: that the grid would have taken, had none been solved early."""

    mixer: str
    mixer_options: dict[str, Any]
    task: str
    task_options: dict[str, Any]
    width: int
    stopped: dict[str, int]
    steps: int
    grid_steps: int


def require_search(store: Store, origin: str) -> None:
    """Raises InputError where Optuna is not installed or the store is no folder."""
    if importlib.util.find_spec("optuna") is None:
        raise InputError(f"{origin}: {NO_OPTUNA}")
    if isinstance(store, RemoteStore):
        raise InputError(
            f"{origin}: a search goes on from checkpoints in a folder, and the store is at {store.address}; "
            "give a folder with --store, or leave search out"
        )


def rungs(search: Search, steps: int, eval_every: int) -> list[int]:
    """The steps at which is decided: ``first`` of all steps, and on by the factor ``reduction``, each at the next look
    at the validation data and before the last step."""
    found, at = [], search.first * steps
    while at < steps:
        step = eval_every * math.ceil(at / eval_every - 1e-9)
        if step < steps and step not in found:
            found.append(step)
        at *= search.reduction
    return found


def survivors(values: Mapping[float, float], higher: bool, reduction: int) -> list[float]:
    """The rates of ``values`` (rate -> score at a rung, NaN where it diverged) that go on, in their order."""
    return [rate for rate in values if not _is_pruned(rate, values, higher, reduction)]


def _is_pruned(rate: float, values: Mapping[float, float], higher: bool, reduction: int) -> bool:
    """What Optuna says of the rate once all the others have reported."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=reduction)
    study = optuna.create_study(
        storage=optuna.storages.InMemoryStorage(), pruner=pruner, direction="maximize" if higher else "minimize"
    )
    answer = False
    for other in [*(r for r in values if r != rate), rate]:
        trial = study.ask({"learning_rate": optuna.distributions.FloatDistribution(other, other)})
        trial.report(values[other], 1)
        answer = trial.should_prune()
    return answer


def _mean(values: Sequence[float | None]) -> float:
    """NaN where a seed diverged."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else math.nan


class Halving:
    """The search of one study: which rungs to run next, and what came of it in the end."""

    def __init__(self, search: Search, experiments: Sequence[Experiment]) -> None:
        self.search = search
        self.groups: dict[str, list[Experiment]] = {}
        for e in experiments:
            self.groups.setdefault(group_of(e), []).append(e)
        self.records: dict[str, dict[int, RungRecord]] = {}  # experiment -> rung -> record
        self.stopped: dict[str, int] = {}  # experiment -> step
        self.places = dict.fromkeys(self.groups, 0)  # rungs that are decided

    def next_rungs(self) -> list[Rung]:
        """Of every group the next; [] when all is decided."""
        return [Rung(experiment=e, until=at) for _, at, alive in self._undecided() for e in alive]

    def decide(self, records: Iterable[RungRecord]) -> None:
        """After all of ``next_rungs`` have run."""
        for record in records:
            self.records.setdefault(record["experiment"], {})[record["until"]] = record
        for group, at, alive in self._undecided():
            if any(at not in self.records.get(e.hash, {}) for e in alive):
                continue
            values: dict[float, list[float | None]] = {}
            for e in alive:
                values.setdefault(e.learning_rate, []).append(self.records[e.hash][at]["value"])
            task = get_task(alive[0].task, **alive[0].task_options)
            means = {rate: _mean(some) for rate, some in values.items()}
            kept = survivors(means, better_of(task.metric) == "higher", self.search.reduction)
            self.stopped |= {e.hash: at for e in alive if e.learning_rate not in kept}
            self.places[group] += 1

    def going_on(self) -> list[Experiment]:
        """Those that are trained to the end."""
        return [e for members in self.groups.values() for e in self._alive(members)]

    def results(self) -> dict[str, Result]:
        """Of those that were stopped: experiment -> a record without test figures, that says where and why."""
        found = {}
        for members in self.groups.values():
            for e in members:
                if e.hash not in self.stopped:
                    continue
                record = self.records[e.hash][self.stopped[e.hash]]
                lost = record["ended"] in ("diverged", "failed")
                score = "" if record["value"] is None else f" with a validation score of {record['value']:.3f}"
                why = f"by the search after step {record['until']}{score}"
                found[e.hash] = result_of(
                    e, status=record["ended"] if lost else "stopped", steps=record["steps"],
                    status_detail=record["status_detail"] if lost else why, wall_seconds=record["wall_seconds"],
                )  # fmt: skip
        return found

    def told(self, results: Mapping[str, Result]) -> list[Searched]:
        """For every group what was stopped and what was saved; ``results`` are those of all that chose the rate."""
        return [
            {
                "mixer": members[0].mixer,
                "mixer_options": members[0].mixer_options,
                "task": members[0].task,
                "task_options": members[0].task_options,
                "width": members[0].study_width,
                "stopped": {f"{e.learning_rate:g}": self.stopped[e.hash] for e in members if e.hash in self.stopped},
                "steps": sum(results[e.hash]["steps"] for e in members if e.hash in results),
                "grid_steps": sum(e.budget.steps for e in members),
            }
            for members in self.groups.values()
        ]

    def _undecided(self) -> Iterator[tuple[str, int, list[Experiment]]]:
        """Every group with rates to choose from: its name, the step of its next rung, and who is left."""
        for group, members in self.groups.items():
            budget, alive = members[0].budget, self._alive(members)
            steps = rungs(self.search, budget.steps, budget.eval_every)
            if self.places[group] < len(steps) and len({e.learning_rate for e in alive}) > 1:
                yield group, steps[self.places[group]], alive

    def _alive(self, members: Sequence[Experiment]) -> list[Experiment]:
        return [e for e in members if e.hash not in self.stopped]


def sentences(searched: Sequence[Searched]) -> list[str]:
    """What a search did, for a person."""
    found = []
    for group in searched:
        rates = ", ".join(f"{rate} after {step} steps" for rate, step in group["stopped"].items())
        place = f"{group['mixer'].rpartition(':')[2]} at width {group['width']} on {group['task'].rpartition(':')[2]}"
        took = f"{group['steps']:,} of the grid's {group['grid_steps']:,} steps"
        found.append(f"Search, {place}: {f'stopped {rates}' if rates else 'nothing was stopped'}; {took}.")
    return found
