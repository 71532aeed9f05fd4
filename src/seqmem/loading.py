"""What comes from outside: classes of the user's own, named as ``package.module:ClassName``, and JSON from a file."""

from __future__ import annotations

import contextlib
import contextvars
import importlib
import json
import sys
from collections.abc import Iterator
from typing import Any, TypeVar

from seqmem.errors import InputError, did_you_mean, line_of

T = TypeVar("T")


def load_class(path: str, base: type[T], what: str, expected: str) -> type[T]:
    """The class at ``path``, which must derive from ``base``. ``what`` it is for and what is ``expected`` are words of
    the messages.

    Raises InputError for a module that cannot be imported, a name that it lacks, and anything that is no such class.
    """
    module_name, _, class_name = path.partition(":")
    if not _IMPORTS.get() and module_name not in sys.modules:
        raise InputError(
            f"a file names the {what} '{path}', code that is not part of seqmem; if you trust it, import {module_name} "
            f"first (on the command line: seqmem --import {module_name} ...)"
        )
    module = import_module(module_name, f"{what} '{path}'")
    if not hasattr(module, class_name):
        names = [n for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, base)]
        raise InputError(f"module '{module_name}' has no '{class_name}'.{did_you_mean(class_name, names)}")
    found = getattr(module, class_name)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise InputError(f"'{path}' is {found!r}, expected {expected}")
    return found


def import_module(name: str, what: str) -> Any:
    """The module of that name, which runs it. Raises InputError where that fails; ``what`` it is for."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        text = line_of(error)
        raise InputError(
            f"cannot import '{name}' for {what}: {type(error).__name__}: {text}; "
            "is it installed or in the current folder?"
        ) from error


_IMPORTS = contextvars.ContextVar("imports", default=True)


@contextlib.contextmanager
def nothing_imported() -> Iterator[None]:
    """Within it :func:`load_class` finds only what somebody has imported already: importing a module runs it, and a
    file is not to decide on that."""
    token = _IMPORTS.set(False)
    try:
        yield
    finally:
        _IMPORTS.reset(token)


def parse_json(text: str | bytes) -> Any:
    """The value. Raises ValueError for everything that is wrong with it, also where it is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
