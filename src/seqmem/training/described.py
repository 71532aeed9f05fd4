"""What a user wrote into a YAML file, read with one line for what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from seqmem.errors import InputError


def read_mapping(path: Path, what: str, keys: str) -> Mapping[str, Any]:
    """The mapping in a YAML file. ``what`` it is and which ``keys`` are expected are words of the messages.

    Raises InputError, with the line where it has one, when it cannot be read as that.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{what} '{path}' cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{what} '{path}' is not UTF-8 text") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}," if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise InputError(f"{what} '{path}',{line} is not YAML: {problem}") from error
    if not isinstance(found, dict):
        raise InputError(f"{what} '{path}' holds {shown(found)}, expected keys such as {keys}")
    return found


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
