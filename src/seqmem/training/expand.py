"""From a study to its experiments: everything that could be wrong with it is found here, before anything runs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from typing import Any

from seqmem.errors import InputError, did_you_mean
from seqmem.mixers import get_mixer
from seqmem.tasks import TASKS, get_task
from seqmem.tasks.base import Task
from seqmem.tasks.grid import grid
from seqmem.training.aggregate import task_names
from seqmem.training.budgets import Plan, get_plan
from seqmem.training.experiment import Experiment, digest, source_digest
from seqmem.training.sizing import size
from seqmem.training.study import Named, Study


def expand(study: Study) -> list[Experiment]:
    """Every experiment of the study, sized, each once; in the order tasks, widths, mixers, learning rates, seeds.

    Raises InputError naming the key: an unknown mixer, task or option, a class that cannot be imported, a width that a
    mixer refuses or cannot match the reference at, a length that a task refuses.
    """
    plan = get_plan(study.budget)
    widths = study.widths or [plan.width]
    layers = study.layers or plan.layers
    short_conv = plan.short_conv if study.short_conv is None else study.short_conv
    with blamed_on(study.origin("mixers")):
        sources = [source_digest(get_mixer(mixer.name)) for mixer in study.mixers]
    found: dict[str, Experiment] = {}
    for named in study.tasks:
        training = plan.training(named.name)
        for task in _tasks(study, named, plan):
            options = json.loads(json.dumps(dataclasses.asdict(task)))  # every option, as JSON has it
            for width in widths:
                for mixer, source in zip(study.mixers, sources, strict=True):
                    with blamed_on(study.origin("widths" if study.widths else "mixers")):
                        sized = size(mixer.name, mixer.options, task.vocab_size, width, layers, short_conv)
                    for rate in study.learning_rates or [training.learning_rate]:
                        for seed in range(study.seeds or plan.seeds):
                            experiment = Experiment(
                                mixer=mixer.name,
                                mixer_options=mixer.options,
                                source=source,
                                task=named.name,
                                task_options=options,
                                data=_data(task),
                                study_width=width,
                                width=sized.width,
                                mlp_width=sized.mlp_width,
                                layers=layers,
                                short_conv=short_conv,
                                learning_rate=rate,
                                seed=seed,
                                budget=training.budget(study.budget, study.steps),
                            )
                            found[experiment.hash] = experiment
    _check_published(study, list(found.values()))
    return list(found.values())


def _check_published(study: Study, experiments: list[Experiment]) -> None:
    names = task_names([e.model_dump() for e in experiments]) if study.published else []
    for entry in study.published:
        if entry.task not in names:
            raise InputError(
                f"{study.origin('published')}: task '{entry.task}' is not in the study."
                f"{did_you_mean(entry.task, names)} Its tasks: {', '.join(names)}"
            )


def _tasks(study: Study, named: Named, plan: Plan) -> Iterator[Task]:
    """The task once, or once per train length, or per point of its difficulty grid (``grid: true`` among its options).
    Options of the study's own take the place of the budget's."""
    options: dict[str, Any] = dict(named.options or plan.training(named.name).task_options)
    whole_grid = options.pop("grid", False)
    if not isinstance(whole_grid, bool):
        raise InputError(f"{study.origin('tasks')}: grid of '{named.name}' is {whole_grid!r}, expected true or false")
    if isinstance(options.get("path"), str):
        options["path"] = os.path.abspath(options["path"])  # the same text from whichever folder
    if study.lengths is None or (named.name not in TASKS and ":" not in named.name):
        with blamed_on(study.origin("tasks")):
            yield from _points(named.name, options, whole_grid)
    for length in study.lengths or []:
        with blamed_on(study.origin("lengths")):
            yield from _points(named.name, {**options, "length": length}, whole_grid)


def _points(name: str, options: dict[str, Any], whole_grid: bool) -> list[Task]:
    if not whole_grid:
        return [get_task(name, **options)]
    return [get_task(name, **point.options) for point in grid(name, **options)]


def _data(task: Task) -> str | None:
    """A digest of what name and options do not say: the data behind a path, the file of a task of the user's own."""
    known = [part for part in (task.data_sha256, source_digest(type(task))) if part is not None]
    return digest(known) if len(known) > 1 else known[0] if known else None


@contextlib.contextmanager
def blamed_on(origin: str) -> Iterator[None]:
    """Put the key at fault in front of an InputError's message."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{origin}: {error}") from error
