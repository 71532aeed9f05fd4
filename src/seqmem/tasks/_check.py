"""What options and requests must be. Every failure is one line: task, option, what was given, what is expected."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, get_args

import torch

from seqmem.errors import InputError, did_you_mean
from seqmem.tasks.base import Split


def integer(task: str, option: str, value: Any, *, at_least: int) -> int:
    """``value`` if it is an int (a bool is not) of at least ``at_least``."""
    if isinstance(value, bool) or not isinstance(value, int):
        kind = type(value).__name__
        raise InputError(
            f"task '{task}': {option}={value!r} is of type {kind}, expected a whole number, {at_least} or more"
        )
    if value < at_least:
        raise InputError(f"task '{task}': {option}={value}, expected at least {at_least}")
    return value


def even(task: str, option: str, value: Any, why: str) -> int:
    """``value`` if it is an even int of at least 2; ``why`` it must be."""
    if integer(task, option, value, at_least=1) % 2:
        raise InputError(f"task '{task}': {option}={value} is odd, expected an even number ({why})")
    return int(value)


def integers(task: str, option: str, value: Any, *, at_least: int) -> tuple[int, ...]:
    """A tuple of distinct ints from one int, a list or a tuple."""
    values = value if isinstance(value, list | tuple) else (value,)
    if not values:
        raise InputError(f"task '{task}': {option} is empty, expected one or more whole numbers")
    checked = tuple(integer(task, option, one, at_least=at_least) for one in values)
    if len(set(checked)) < len(checked):
        raise InputError(f"task '{task}': {option}={list(checked)} names a number twice, expected each once")
    return checked


def positive(task: str, option: str, value: Any, *, at_most: float) -> float:
    """``value`` if it is a number (a bool is not) above 0 and not above ``at_most``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= at_most:
        raise InputError(f"task '{task}': {option}={value!r}, expected a number above 0 and at most {at_most}")
    return float(value)


def share(task: str, option: str, value: Any) -> float:
    """``value`` if it is a number (a bool is not) from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InputError(f"task '{task}': {option}={value!r}, expected a number from 0 to 1")
    return float(value)


def boolean(task: str, option: str, value: Any) -> bool:
    """``value`` if it is True or False."""
    if not isinstance(value, bool):
        raise InputError(f"task '{task}': {option}={value!r}, expected true or false")
    return value


def choice(task: str, option: str, value: Any, known: Sequence[str]) -> str:
    """``value`` if it is one of ``known``."""
    if value not in known:
        near = did_you_mean(str(value), known)
        raise InputError(f"task '{task}': unknown {option} {value!r}.{near} Known: {', '.join(known)}")
    return value


def choices(task: str, option: str, value: Any, known: Sequence[str]) -> tuple[str, ...]:
    """A tuple of distinct ones of ``known`` from one, a list or a tuple."""
    values = (value,) if isinstance(value, str) else tuple(value)
    for one in values:
        choice(task, option, one, known)
    if not values or len(set(values)) < len(values):
        raise InputError(f"task '{task}': {option}={list(values)}, expected one or more, each once: {', '.join(known)}")
    return values


def path(task: str, option: str, value: Any, what: str) -> str | None:
    """The name of ``what``, as a str; None stays None."""
    if value is None:
        return None
    if not (isinstance(value, str | os.PathLike) and str(value)):
        raise InputError(f"task '{task}': {option}={value!r}, expected the name of {what}")
    return str(value)


def lengths_to_test(task: str, value: Any, train_length: int) -> tuple[int, ...]:
    """The training length first, then those given as ``test_lengths``; none given: 1, 2 and 4 times the training
    length."""
    if value is None or value in ((), []):
        return (train_length, 2 * train_length, 4 * train_length)
    return tuple(dict.fromkeys((train_length, *integers(task, "test_lengths", value, at_least=1))))


def request(task: str, batch_size: int, length: int, generator: torch.Generator, split: str) -> None:
    """The arguments of ``sample``."""
    integer(task, "batch_size", batch_size, at_least=1)
    integer(task, "length", length, at_least=1)
    choice(task, "split", split, get_args(Split))
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        raise InputError(
            f"task '{task}': generator={generator!r}, expected a torch.Generator on the CPU; move the batch"
        )
