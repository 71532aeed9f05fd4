"""Classes of the user's own, named as ``package.module:ClassName``."""

from __future__ import annotations

import importlib
from typing import TypeVar

from seqmem.errors import InputError, did_you_mean

T = TypeVar("T")


def load_class(path: str, base: type[T], what: str, expected: str) -> type[T]:
    """The class at ``path``, which must derive from ``base``. ``what`` it is for and what is ``expected`` are words of
    the messages.

    Raises InputError for a module that cannot be imported, a name that it lacks, and anything that is no such class.
    """
    module_name, _, class_name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise InputError(
            f"cannot import '{module_name}' for {what} '{path}': {type(error).__name__}: {error}; "
            "is it installed or in the current folder?"
        ) from error
    if not hasattr(module, class_name):
        names = [n for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, base)]
        raise InputError(f"module '{module_name}' has no '{class_name}'.{did_you_mean(class_name, names)}")
    found = getattr(module, class_name)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise InputError(f"'{path}' is {found!r}, expected {expected}")
    return found
