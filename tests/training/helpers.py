"""Small experiments and what must be equal between two runs of one."""

from __future__ import annotations

from typing import Any

from seqmem.testing._fault_bench import TIMES
from seqmem.training.experiment import Budget, Experiment
from seqmem.training.schema import Result


def experiment(mixer: str = "tests.training.toy:Toy", steps: int = 30, **changes: Any) -> Experiment:
    """A few milliseconds of training on parity, or what ``changes`` make of it."""
    described = {
        "mixer": mixer,
        "task": "parity",
        "task_options": {"length": 8},
        "study_width": 8,
        "width": 8,
        "mlp_width": 8,
        "layers": 1,
        "learning_rate": 0.01,
        "seed": 0,
        "budget": Budget(
            name="test", steps=steps, batch_size=4, warmup=3, weight_decay=0.1, clip=1.0, eval_every=7,
            validation_tokens=64, test_tokens=64,
        ),
    }  # fmt: skip
    return Experiment.model_validate(described | changes)


def outcome(result: Result) -> dict[str, Any]:
    """All of a record but what a clock says."""
    return {key: value for key, value in result.items() if key not in TIMES}
