"""A study: which mixers on which tasks, at which sizes, rates and seeds. From the command line, a YAML file or Python;
checked at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from seqmem.errors import InputError, did_you_mean
from seqmem.training.budgets import BUDGETS, DEFAULT_BUDGET, DEFAULT_MIXERS, DEFAULT_TASKS


def _as_list(value: Any) -> Any:
    """One value where a list is expected stands for a list of one."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _as_number(value: Any) -> Any:
    """YAML 1.1 reads 1e-3 as text; here it is a number."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _as_named(value: Any) -> Any:
    """Names, or mappings from a name to its options, or one mapping of several."""
    found: list[dict[str, Any]] = []
    for item in _as_list(value):
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


Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, BeforeValidator(_as_number), Field(gt=0, allow_inf_nan=False)]
Counts = Annotated[list[Count], BeforeValidator(_as_list), Field(min_length=1)]
Rates = Annotated[list[Rate], BeforeValidator(_as_list), Field(min_length=1)]
Names = Annotated[list[Named], BeforeValidator(_as_named), Field(min_length=1)]


class Study(BaseModel):
    """What is compared; :func:`make_study` makes one. None: as the budget says (:mod:`seqmem.training.budgets`).

    ``widths`` are those of the attention stack that every mixer matches in parameters. ``lengths`` take the place of
    each task's ``length``, ``steps`` that of the budget's. ``seeds`` is how many: 0, 1, ...
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    mixers: Names
    tasks: Names
    widths: Counts | None = None
    layers: Count | None = None
    short_conv: Annotated[int, Field(ge=0)] | None = None
    lengths: Counts | None = None
    learning_rates: Rates | None = None
    seeds: Count | None = None
    steps: Count | None = None
    budget: str = DEFAULT_BUDGET
    #: where each key was given, for error messages
    origins: dict[str, str] = Field(default={}, exclude=True)

    def origin(self, key: str) -> str:
        """``"study.yaml: widths"`` or ``"--widths"``."""
        return self.origins.get(key, key)


EXPECTED = {
    "mixers": "a list of mixers, each a name, package.module:ClassName or {name: {option: value}}",
    "tasks": "a list of tasks, each a name or package.module:ClassName, or a mapping to options: {mqar: {length: 64}}",
    "widths": "whole numbers of at least 1",
    "layers": "a whole number of at least 1",
    "short_conv": "a whole number: how many positions the convolution in front of every mixer sees; 0 for none",
    "lengths": "whole numbers of at least 1",
    "learning_rates": "numbers above 0",
    "seeds": "a whole number of at least 1",
    "steps": "a whole number of at least 1",
    "budget": f"one of {', '.join(BUDGETS)}",
}


def make_study(path: str | os.PathLike[str] | None = None, **given: Any) -> Study:
    """The study of a YAML file, of keywords (which win over the file's keys; None means not given), or of both.

    Text from a command line is taken apart at commas: ``make_study(mixers="attention,mamba", widths="32,64")``. What is
    said nowhere is the default study. Raises InputError naming the file and the key.
    """
    described: dict[str, Any] = {"mixers": list(DEFAULT_MIXERS), "tasks": list(DEFAULT_TASKS)}
    origins: dict[str, str] = {}
    if path is not None:
        for key, value in read_study(Path(path)).items():
            described[key], origins[key] = value, f"{path}: {key}"
    for key, value in given.items():
        if value is not None:
            described[key] = _from_command_line(value) if isinstance(value, str) else value
            origins[key] = "--" + key.replace("_", "-")
    for key in described:
        if key not in EXPECTED:
            where = origins[key].removesuffix(f": {key}")
            raise InputError(
                f"{where}: unknown key '{key}'.{did_you_mean(str(key), EXPECTED)} Known: {', '.join(EXPECTED)}"
            )
    try:
        study = Study(**described, origins=origins)
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        raise InputError(f"{origins[key]} is {_shown(described[key])}, expected {EXPECTED[key]}") from error
    if study.budget not in BUDGETS:
        raise InputError(
            f"{origins['budget']} is '{study.budget}', expected {EXPECTED['budget']}."
            f"{did_you_mean(study.budget, BUDGETS)}"
        )
    return study


def read_study(path: Path) -> Mapping[str, Any]:
    """The mapping in a YAML file. Raises InputError, with the line where it has one, when it cannot be read as that."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"study file '{path}' cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"study file '{path}' is not UTF-8 text") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}," if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise InputError(f"study file '{path}',{line} is not YAML: {problem}") from error
    if not isinstance(found, dict):
        raise InputError(
            f"study file '{path}' holds {_shown(found)}, expected keys such as mixers, tasks, seeds, budget"
        )
    return found


def _from_command_line(text: str) -> Any:
    """``"32,64"`` as [32, 64], ``"laptop"`` as itself."""
    parts = [yaml.safe_load(part) if part.strip() else "" for part in text.split(",")]
    return parts[0] if len(parts) == 1 else parts


def _shown(value: Any) -> str:
    """A value as it is quoted in one line of an error."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."
