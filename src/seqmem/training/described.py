"""What a user wrote into a YAML file, read with one line for what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from seqmem.errors import InputError, did_you_mean

MOST_CHARACTERS, MOST_VALUES = 100_000, 100_000  # of a file: they take a second to read

Made = TypeVar("Made", bound=BaseModel)


def read_mapping(path: Path, what: str, keys: str) -> Mapping[str, Any]:
    """The mapping in a YAML file. ``what`` it is and which ``keys`` are expected are words of the messages.

    Raises InputError, with the line where it has one, when it cannot be read as that.
    """
    where = f"{what} '{path}'"
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(f"{where} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is not UTF-8 text") from error
    if len(text) > MOST_CHARACTERS:
        raise InputError(f"{where} has {len(text):,} characters, expected at most {MOST_CHARACTERS:,}; split it")
    found = read_yaml(text, where)
    if not isinstance(found, dict):
        raise InputError(f"{where} holds {shown(found)}, expected keys such as {keys}")
    return found


def read_yaml(text: str, where: str) -> Any:
    """The value of a YAML text. Raises InputError when it is none, or when its aliases make it huge or endless."""
    try:
        found = yaml.safe_load(text)
    except RecursionError as error:
        raise InputError(f"{where} is nested too deeply to be read") from error
    except Exception as error:  # beside YAMLError what int(), float() and date() say to a text that looks like one
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}," if mark and not where.startswith("--") else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise InputError(f"{where}{line} is not YAML: {problem}") from error
    waiting, count = [found], 0
    while waiting:
        value = waiting.pop()
        count += 1
        if count > MOST_VALUES:
            raise InputError(f"{where} stands for more than {MOST_VALUES:,} values; write fewer of its aliases (*name)")
        waiting.extend([*value.keys(), *value.values()] if isinstance(value, dict) else [])
        waiting.extend(value if isinstance(value, (list, tuple, set)) else [])
    return found


def check_keys(described: Mapping[str, Any], expected: Mapping[str, str], origins: Mapping[str, str]) -> None:
    """InputError for a key that is not among those of ``expected``. origins: where each key was given, as
    ``"study.yaml: widths"`` or ``"--widths"``."""
    for key in described:
        if key not in expected:
            where = origins[key].removesuffix(f": {key}")
            raise InputError(
                f"{where}: unknown key {shown(key)}.{did_you_mean(str(key), expected)} Known: {', '.join(expected)}"
            )


def validated(
    kind: type[Made],
    described: Mapping[str, Any],
    expected: Mapping[str, str],
    origins: Mapping[str, str],
    /,
    **more: Any,
) -> Made:
    """``kind(**described, **more)``. InputError for a value that is not what ``expected`` says."""
    try:
        return kind(**described, **more)
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        raise InputError(f"{origins[key]} is {shown(described[key])}, expected {expected[key]}") from error


def as_list(value: Any) -> Any:
    """One value where a list is expected stands for a list of one."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def as_number(value: Any) -> Any:
    """YAML 1.1 reads 1e-3 as text; here it is a number."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def shown(value: Any) -> str:
    """A value as it is quoted in one line of an error."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."
