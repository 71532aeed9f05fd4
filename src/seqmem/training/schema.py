"""The record of one finished experiment: a line of ``results.jsonl``, and the plain data that reports are made from."""

from __future__ import annotations

from typing import Any, TypedDict


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
