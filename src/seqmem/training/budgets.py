"""How much each budget trains: the one place with these numbers.

``smoke``: seconds; it shows that everything runs and says nothing about the mechanisms. ``laptop``: the default study
within five minutes on two cores. ``full``: hours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from seqmem.errors import InputError, did_you_mean
from seqmem.training.experiment import Budget


@dataclass(frozen=True)
class Training:
    """The training of one task at one budget. ``task_options`` are the task's defaults at this budget; a study's own
    options win."""

    steps: int
    batch_size: int
    eval_every: int
    validation_tokens: int
    test_tokens: int
    warmup: int
    learning_rate: float
    task_options: dict[str, Any] = field(default_factory=dict)

    def budget(self, name: str, steps: int | None = None) -> Budget:
        """The explicit numbers, with ``steps`` in place of the table's when given (evaluations and warm-up then shrink
        or grow along)."""
        scale = 1.0 if steps is None else steps / self.steps
        return Budget(
            name=name,
            steps=self.steps if steps is None else steps,
            batch_size=self.batch_size,
            warmup=round(self.warmup * scale),
            weight_decay=WEIGHT_DECAY,
            clip=CLIP,
            eval_every=max(1, round(self.eval_every * scale)),
            validation_tokens=self.validation_tokens,
            test_tokens=self.test_tokens,
        )


@dataclass(frozen=True)
class Plan:
    """What a study does where it says nothing else."""

    width: int
    layers: int
    short_conv: int  # positions that the convolution in front of every mixer sees
    seeds: int
    other: Training  # every task that is not in ``tasks``
    tasks: dict[str, Training]

    def training(self, task: str) -> Training:
        """The numbers for this task."""
        return self.tasks.get(task, self.other)


DEFAULT_MIXERS = ("attention", "lstm", "min_gru", "retention", "mamba", "gated_delta_net")
DEFAULT_TASKS = ("mqar", "bytes")
DEFAULT_BUDGET = "laptop"
WEIGHT_DECAY = 0.1
CLIP = 1.0

# columns: steps, sequences per step, steps between evaluations, validation tokens, test tokens per length,
# warm-up steps, learning rate
BUDGETS: dict[str, Plan] = {
    "smoke": Plan(
        width=16, layers=2, short_conv=4, seeds=1,
        other=Training(20, 8, 10, 1_024, 1_024, 4, 3e-3),
        tasks={
            "mqar": Training(20, 8, 10, 1_024, 1_024, 4, 3e-3, {"length": 32, "pairs": [2, 4], "vocabulary": 32}),
            "bytes": Training(20, 8, 10, 1_024, 1_024, 4, 3e-3, {"length": 32}),
        },
    ),
    "laptop": Plan(
        width=64, layers=1, short_conv=4, seeds=3,
        other=Training(1_000, 32, 100, 16_384, 32_768, 100, 5e-3),
        tasks={
            "mqar": Training(400, 32, 50, 4_096, 16_384, 40, 7e-3,
                             {"length": 32, "pairs": [2, 4, 8], "vocabulary": 32, "filler": "blank"}),
            "bytes": Training(160, 16, 40, 8_192, 16_384, 20, 1e-2, {"length": 128}),
        },
    ),
    "full": Plan(
        width=128, layers=2, short_conv=4, seeds=5,
        other=Training(20_000, 64, 1_000, 65_536, 262_144, 1_000, 1e-3),
        tasks={
            "mqar": Training(20_000, 64, 1_000, 65_536, 262_144, 1_000, 1e-3,
                             {"length": 256, "pairs": [4, 8, 16, 32], "vocabulary": 256}),
            "bytes": Training(10_000, 32, 500, 65_536, 262_144, 500, 1e-3, {"length": 256}),
        },
    ),
}  # fmt: skip


def get_plan(name: str) -> Plan:
    """The budget of this name, or InputError."""
    if name not in BUDGETS:
        raise InputError(f"unknown budget '{name}'.{did_you_mean(name, BUDGETS)} Known: {', '.join(BUDGETS)}")
    return BUDGETS[name]
