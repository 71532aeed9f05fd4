"""A whole study: every experiment run or found in the store, the records written beside each other as they come."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqmem.errors import InputError
from seqmem.training.engine import cores
from seqmem.training.engines import LOCAL, Engine, run_with
from seqmem.training.events import Event, OnEvent
from seqmem.training.expand import expand
from seqmem.training.experiment import Experiment
from seqmem.training.files import to_json, write_json, write_text
from seqmem.training.job import Job, R
from seqmem.training.result import versions
from seqmem.training.rung import RungRecord
from seqmem.training.schema import CurvePoint, Result
from seqmem.training.search import Halving, Searched, require_search
from seqmem.training.store import Store, open_store, require_writable
from seqmem.training.study import Study
from seqmem.training.tuning import at_the_chosen_rate, choosing, expected

CURVES_SECONDS = 5.0  # least time between two writings of curves.json while the study runs


@dataclass(frozen=True)
class StudyOutcome:
    """What came of a study. ``results`` are in the order of its experiments, ``reused`` of them from the store;
    ``curves`` by experiment. ``searched``: what a search did, by mixer, width and task. ``interrupted``: stopped by
    Ctrl-C; run it again to go on."""

    results: list[Result]
    curves: dict[str, list[CurvePoint]]
    searched: list[Searched]
    total: int
    reused: int
    interrupted: bool
    wall_seconds: float
    out: Path


def run_study(
    study: Study,
    out: str | os.PathLike[str],
    store: Store | str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: OnEvent | None = None,
    engine: Engine = LOCAL,
) -> StudyOutcome:
    """Run what the store does not have, and write into ``out``: ``results.jsonl`` (a line per experiment, as they come,
    in the study's order), ``curves.json`` (experiment -> learning curve), ``study.json`` (the exact settings).

    workers: see :func:`seqmem.training.engine.run_all`. engine: what runs the experiments. progress: called with every
    event. A KeyboardInterrupt ends the study, not the call: what is finished is written and returned. Raises
    InputError, before anything runs, for a study that cannot be run or a folder that cannot be written.
    """
    start = time.monotonic()
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 0):
        raise InputError(f"workers is {workers!r}, expected 0 (in this process) or more")
    experiments = expand(study)
    folder = Path(out).expanduser().absolute()
    require_writable(folder, "out", "give another with --out")
    store = store if isinstance(store, Store) else open_store(store)
    if study.search is not None:
        require_search(store, study.origin("search"))
    write_json(folder / "study.json", _settings(study, experiments, workers))

    total = expected(experiments, study.tune_seeds)
    results: dict[str, Result] = {}
    reused = 0

    def on_event(event: Event) -> None:
        nonlocal reused
        reused += event.kind == "reused"
        if progress is not None:
            progress(event)

    interrupted = False
    curves_written = 0.0
    _write_results(folder, experiments, results)

    def run(jobs: Sequence[Job[R]], take: Callable[[R], None]) -> None:
        nonlocal interrupted
        running = run_with(engine, jobs, store, workers, on_event)
        try:
            for record in running:
                take(record)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            running.close()  # type: ignore[attr-defined]

    def keep(result: Result) -> None:
        nonlocal curves_written
        results[result["experiment"]] = result
        _write_results(folder, experiments, results)
        if time.monotonic() - curves_written > CURVES_SECONDS:
            _write_curves(folder, store, experiments)
            curves_written = time.monotonic()

    def by_seed(some: Sequence[Experiment]) -> list[Experiment]:
        """Seeds in the outer loop: a study stopped half-way has compared all mixers, on fewer seeds."""
        return sorted(some, key=lambda e: e.seed)

    first = choosing(experiments, study.tune_seeds)
    halving = None if study.search is None else Halving(study.search, first)
    while halving is not None and not interrupted and (stretches := halving.next_rungs()):
        records: list[RungRecord] = []
        run(stretches, records.append)
        if not interrupted:
            halving.decide(records)
    if not interrupted:
        if halving is not None:
            results |= halving.results()
        run(by_seed(first if halving is None else halving.going_on()), keep)
    if not interrupted and study.tune_seeds is not None:
        others = at_the_chosen_rate(experiments, study.tune_seeds, results)
        wanted = {e.hash for e in (*first, *others)}
        experiments = [e for e in experiments if e.hash in wanted]
        write_json(folder / "study.json", _settings(study, experiments, workers))
        run(by_seed(others), keep)
    for experiment in experiments:  # one may have finished while the workers were being stopped
        if experiment.hash not in results and (found := store.result(experiment)):
            results[experiment.hash] = found
    _write_results(folder, experiments, results)
    return StudyOutcome(
        results=[results[e.hash] for e in experiments if e.hash in results],
        curves=_write_curves(folder, store, experiments),
        searched=[] if halving is None else _write_searched(folder, halving.told(results)),
        total=total,
        reused=reused,
        interrupted=interrupted,
        wall_seconds=time.monotonic() - start,
        out=folder,
    )


def _write_results(folder: Path, experiments: Sequence[Experiment], results: dict[str, Result]) -> None:
    lines = [to_json(results[e.hash]) + "\n" for e in experiments if e.hash in results]
    write_text(folder / "results.jsonl", "".join(lines))


def _write_curves(folder: Path, store: Store, experiments: Sequence[Experiment]) -> dict[str, list[CurvePoint]]:
    curves = {e.hash: points for e in experiments if (points := store.curve(e))}
    write_text(folder / "curves.json", to_json(curves) + "\n")
    return curves


def _write_searched(folder: Path, searched: list[Searched]) -> list[Searched]:
    write_json(folder / "search.json", {"groups": searched})
    return searched


def _settings(study: Study, experiments: Sequence[Experiment], workers: int | None) -> dict[str, Any]:
    return {
        "study": study.model_dump(mode="json"),
        "workers": cores() if workers is None else workers,
        "cores": cores(),
        "versions": versions(),
        "experiments": {e.hash: e.model_dump(mode="json") for e in experiments},
    }
