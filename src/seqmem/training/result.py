"""Records of finished experiments."""

from __future__ import annotations

import functools
import importlib.metadata
import platform

import seqmem
from seqmem.training.experiment import Experiment
from seqmem.training.schema import Metrics, Result


def result_of(
    experiment: Experiment,
    *,
    status: str,
    status_detail: str = "",
    parameters: int = 0,
    state_bytes: int = 0,
    steps: int = 0,
    tokens: int = 0,
    metrics: Metrics | None = None,
    train_tokens_per_second: float = 0.0,
    decode_microseconds: float = 0.0,
    wall_seconds: float = 0.0,
) -> Result:
    """The record of an experiment: its description, and what came of it."""
    return {
        "experiment": experiment.hash,
        "mixer": experiment.mixer,
        "mixer_options": experiment.mixer_options,
        "task": experiment.task,
        "task_options": experiment.task_options,
        "study_width": experiment.study_width,
        "width": experiment.width,
        "mlp_width": experiment.mlp_width,
        "layers": experiment.layers,
        "learning_rate": experiment.learning_rate,
        "seed": experiment.seed,
        "budget": experiment.budget.name,
        "parameters": parameters,
        "state_bytes": state_bytes,
        "steps": steps,
        "tokens": tokens,
        "metrics": metrics,
        "train_tokens_per_second": train_tokens_per_second,
        "decode_microseconds": decode_microseconds,
        "wall_seconds": wall_seconds,
        "status": status,
        "status_detail": status_detail,
        "versions": dict(versions()),
    }


@functools.cache
def _installed() -> dict[str, str]:
    found = {"seqmem": seqmem.__version__, "python": platform.python_version()}
    return found | {name: importlib.metadata.version(name) for name in ("torch", "numba", "transformers")}


def versions() -> dict[str, str]:
    """What the figures depend on beside the description: versions, the system, and the threads that torch may use."""
    import torch

    return _installed() | {"platform": platform.platform(), "threads": str(torch.get_num_threads())}
