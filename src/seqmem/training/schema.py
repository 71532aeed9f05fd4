"""The record of one finished experiment: a line of ``results.jsonl``, and the plain data that reports are made from."""

from __future__ import annotations

import functools
from types import UnionType
from typing import Any, TypedDict, Union, get_args, get_origin, get_type_hints, is_typeddict


class Metrics(TypedDict):
    """``test[length][slice]`` is the task's metric on held-out data; slice "all" is always there. Lengths are strings
    (JSON), the training length first. A number that is not finite is None."""

    name: str  # "accuracy" or "bits_per_byte"
    chance: float
    validation: float
    test: dict[str, dict[str, float | None]]


class Result(TypedDict):
    """One experiment. ``status``: "done" (all steps), "solved" (stopped early), "diverged" (``status_detail`` names the
    step), "failed", "stopped" (by a search: its learning rate was behind)."""

    experiment: str  # hash of the description, the name of its folder in the store
    mixer: str
    mixer_options: dict[str, Any]
    task: str
    task_options: dict[str, Any]
    study_width: int  # the width whose attention stack sets the number of parameters
    width: int  # the model's own, smaller where the mixer needed it to match
    mlp_width: int
    layers: int
    learning_rate: float
    seed: int
    budget: str
    parameters: int
    state_bytes: int  # per sequence, after reading the longest test length
    steps: int
    tokens: int
    metrics: Metrics | None  # None when the experiment diverged or failed
    train_tokens_per_second: float
    decode_microseconds: float
    wall_seconds: float
    status: str
    status_detail: str
    versions: dict[str, str]


class CurvePoint(TypedDict):
    """A point of the learning curve, from the experiment's ``metrics.jsonl``."""

    step: int
    tokens: int
    loss: float
    validation: float | None


hints_of = functools.cache(get_type_hints)


def fits(value: Any, kind: Any) -> bool:
    """Whether a JSON value is of a type: one of str, int, float, bool, Any, TypedDict, list[...], dict[str, ...] and
    unions. A float that was not finite is null in JSON, so None counts as one."""
    if kind is Any:
        return True
    if is_typeddict(kind):
        hints = hints_of(kind)
        return isinstance(value, dict) and all(
            fits(value[key], hint) if key in value else key not in kind.__required_keys__ for key, hint in hints.items()
        )
    outer, inner = get_origin(kind), get_args(kind)
    if outer in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if outer is list:
        return isinstance(value, list) and all(fits(item, inner[0]) for item in value)
    if outer is dict:
        return isinstance(value, dict) and all(isinstance(k, str) and fits(v, inner[1]) for k, v in value.items())
    if kind is float:
        return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
