"""A study: which mixers on which tasks, at which sizes, rates and seeds. From the command line, a YAML file or Python;
checked at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from seqmem.errors import InputError, did_you_mean
from seqmem.training.budgets import BUDGETS, DEFAULT_BUDGET, DEFAULT_MIXERS, DEFAULT_TASKS
from seqmem.training.described import as_list, as_number, check_keys, read_mapping, read_yaml, validated


def _as_named(value: Any) -> Any:
    """Names, or mappings from a name to its options, or one mapping of several."""
    found: list[dict[str, Any]] = []
    for item in as_list(value):
        if isinstance(item, Named):
            found.append(item.model_dump())
        else:
            entries = item.items() if isinstance(item, dict) else [(item, None)]
            found.extend({"name": name, "options": {} if options is None else options} for name, options in entries)
    return found


class Named(BaseModel):
    """A mixer or task and its options."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    options: dict[str, Any] = {}


Count = Annotated[int, Field(ge=1, le=10**9)]
Width = Annotated[int, Field(ge=1, le=2**16)]
Rate = Annotated[float, BeforeValidator(as_number), Field(gt=0, allow_inf_nan=False)]
Counts = Annotated[list[Count], BeforeValidator(as_list), Field(min_length=1)]
Widths = Annotated[list[Width], BeforeValidator(as_list), Field(min_length=1)]
Rates = Annotated[list[Rate], BeforeValidator(as_list), Field(min_length=1)]
Score = Annotated[float, BeforeValidator(as_number), Field(allow_inf_nan=False)]
Sized = Annotated[tuple[Rate, Score], BeforeValidator(lambda pair: tuple(pair) if isinstance(pair, list) else pair)]
Words = Annotated[list[str], BeforeValidator(as_list)]
Names = Annotated[list[Named], BeforeValidator(_as_named), Field(min_length=1)]


class Published(BaseModel):
    """Figures that others published, to be drawn beside those of the study; nothing is computed from them but the
    difference.

    ``task``: the study's task, by the name that its results go by. ``figures``: mixer -> its score, or its points
    [state bytes, score]. ``at``: "training" (the training length) or "beyond" (the mean over all longer test lengths).
    ``scaled``: the scores are (accuracy - chance) / (1 - chance). ``source``: title, year, arXiv id. ``setting``: what
    was different there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    task: str
    figures: dict[str, Score | list[Sized]]
    source: str
    setting: str = ""
    at: Literal["training", "beyond"] = "training"
    scaled: bool = False


class Search(BaseModel):
    """Successive halving over a study's learning rates. ``reduction``: of so many rates one goes on past a rung, and
    the next rung is so many times further. ``first``: the share of all steps at which the first rung lies."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    reduction: Annotated[int, Field(ge=2, le=100)] = 2
    first: Annotated[float, BeforeValidator(as_number), Field(gt=0, lt=1)] = 0.25


def _as_search(value: Any) -> Any:
    """``search: halving`` is a search with its defaults; ``search: off`` is none."""
    return {} if value == "halving" else None if value is False or value == "off" else value


class Study(BaseModel):
    """What is compared; :func:`make_study` makes one. None: as the budget says (:mod:`seqmem.training.budgets`).

    ``widths`` are those of the attention stack that every mixer matches in parameters. ``lengths`` take the place of
    each task's ``length``, ``steps`` that of the budget's. ``seeds`` is how many: 0, 1, ... ``tune_seeds``: so many of
    them choose the learning rate, the others run at the chosen one only; None: all. ``search``: stop rates that are
    behind; None: every rate runs to the end. ``title``, ``about`` and ``notes``
    are text for the page.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    mixers: Names
    tasks: Names
    widths: Widths | None = None
    layers: Annotated[int, Field(ge=1, le=1_000)] | None = None
    short_conv: Annotated[int, Field(ge=0, le=10_000)] | None = None
    lengths: Counts | None = None
    learning_rates: Rates | None = None
    seeds: Annotated[int, Field(ge=1, le=10_000)] | None = None
    tune_seeds: Count | None = None
    search: Annotated[Search | None, BeforeValidator(_as_search)] = None
    steps: Count | None = None
    budget: str = DEFAULT_BUDGET
    title: str | None = None
    about: str | None = None
    notes: Words = []
    published: list[Published] = []
    #: where each key was given, for error messages
    origins: dict[str, str] = Field(default={}, exclude=True)

    def origin(self, key: str) -> str:
        """``"study.yaml: widths"`` or ``"--widths"``."""
        return self.origins.get(key, key)


EXPECTED = {
    "mixers": "a list of mixers, each a name, package.module:ClassName or {name: {option: value}}",
    "tasks": "a list of tasks, each a name or package.module:ClassName, or a mapping to options: {mqar: {length: 64}}",
    "widths": "whole numbers from 1 to 65,536",
    "layers": "a whole number from 1 to 1,000",
    "short_conv": "a whole number: how many positions the convolution in front of every mixer sees; 0 for none",
    "lengths": "whole numbers of at least 1",
    "learning_rates": "numbers above 0",
    "seeds": "a whole number from 1 to 10,000",
    "tune_seeds": "a whole number of at least 1: how many seeds choose the learning rate",
    "search": "halving, or {reduction: a whole number from 2, first: a share of the steps between 0 and 1}, or off",
    "steps": "a whole number of at least 1",
    "budget": f"one of {', '.join(BUDGETS)}",
    "title": "text",
    "about": "text",
    "notes": "a list of sentences",
    "published": "a list of {task, figures: {mixer: score or [[state bytes, score], ...]}, source} and, if need be, "
    "setting, at (training or beyond), scaled (true or false)",
}


def make_study(path: str | os.PathLike[str] | None = None, **given: Any) -> Study:
    """The study of a YAML file, of keywords (which win over the file's keys; None means not given), or of both.

    Text from a command line is taken apart at commas: ``make_study(mixers="attention,mamba", widths="32,64")``. What is
    said nowhere is the default study. Raises InputError naming the file and the key.
    """
    described: dict[str, Any] = {"mixers": list(DEFAULT_MIXERS), "tasks": list(DEFAULT_TASKS)}
    origins: dict[str, str] = {}
    if path is not None:
        for key, value in read_mapping(Path(path), "study file", "mixers, tasks, seeds, budget").items():
            described[key], origins[key] = value, f"{path}: {key}"
    for key, value in given.items():
        if value is not None:
            described[key] = _from_command_line(value, key) if isinstance(value, str) else value
            origins[key] = "--" + key.replace("_", "-")
    check_keys(described, EXPECTED, origins)
    study = validated(Study, described, EXPECTED, origins, origins=origins)
    if study.budget not in BUDGETS:
        raise InputError(
            f"{origins['budget']} is '{study.budget}', expected {EXPECTED['budget']}."
            f"{did_you_mean(study.budget, BUDGETS)}"
        )
    return study


def _from_command_line(text: str, key: str) -> Any:
    """``"32,64"`` as [32, 64], ``"laptop"`` as itself."""
    where = f"--{key.replace('_', '-')}"
    parts = [read_yaml(part, where) if part.strip() else "" for part in text.split(",")]
    return parts[0] if len(parts) == 1 else parts
