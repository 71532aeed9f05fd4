"""A training stopped half-way, in one file: weights and AdamW's moments as safetensors, the counters as JSON in its
header."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqmem.errors import InputError, line_of
from seqmem.loading import parse_json
from seqmem.training.files import temporary_name
from seqmem.training.schema import fits, hints_of

NAME = "checkpoint.safetensors"


@dataclass
class Counters:
    """Where a training is, beside its tensors."""

    step: int = 0  # steps taken
    looked: int = 0  # the step after which an evaluation, where due, was last done
    status: str = "running"  # then "done" or "solved"
    loss_sum: float = 0.0  # training loss since the last point of the curve
    loss_count: int = 0
    validation: float | None = None  # the latest
    high_since: int | None = None  # the step from which the loss has been far above chance
    wall_seconds: float = 0.0  # training time so far, over all sessions
    step_seconds: list[float] = field(default_factory=list)  # duration of every step


def save(folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer, counters: Counters) -> None:
    """Write the checkpoint of ``folder``, whole or not at all."""
    from safetensors.torch import save_file

    tensors = {f"model.{name}": value.detach() for name, value in _unique(model).items()}
    names = {id(p): name for name, p in model.named_parameters()}
    for parameter, moments in optimiser.state.items():
        for key, value in moments.items():
            tensors[f"optimiser.{key}.{names[id(parameter)]}"] = value
    path = folder / NAME
    temporary = temporary_name(path)
    try:
        save_file(
            {k: v.contiguous() for k, v in tensors.items()}, temporary, {"counters": json.dumps(asdict(counters))}
        )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> Counters | None:
    """Put the checkpoint of ``folder`` into model and optimiser; None when there is none.

    Raises InputError, and leaves both as they were, when the file is cut short, belongs to a model of another shape, or
    holds numbers that are not finite (no training goes on after one).
    """
    from safetensors import safe_open

    path = folder / NAME
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            counters = _counters(parse_json((file.metadata() or {})["counters"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        reason = line_of(error) or type(error).__name__
        raise InputError(f"{path}: not a whole checkpoint ({reason}); remove it to train from the start") from error
    return _restore(path, tensors, counters, model, optimiser)


def _counters(found: dict[str, Any]) -> Counters:
    """Raises ValueError or TypeError when they are not what :func:`save` writes."""
    counters = Counters(**found)
    for name, kind in hints_of(Counters).items():
        value = getattr(counters, name)
        missing = (value is None and kind is float) or (name == "step_seconds" and None in value)
        if missing or not fits(value, kind):
            raise ValueError(f"its {name} is {value!r:.40}")
    whole = all(type(n) is int and n >= 0 for n in (counters.step, counters.looked, counters.loss_count))
    if not whole or counters.looked > counters.step or len(counters.step_seconds) != counters.step:
        raise ValueError("its counters contradict each other")
    if counters.status not in ("running", "done", "solved"):
        raise ValueError(f"its status is {counters.status!r}")
    return counters


def _restore(
    path: Path, tensors: dict[str, Tensor], counters: Counters, model: nn.Module, optimiser: torch.optim.Optimizer
) -> Counters:
    weights = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    expected = _unique(model)
    for name in expected.keys() | weights.keys():
        here = tuple(weights[name].shape) if name in weights else None
        wanted = tuple(expected[name].shape) if name in expected else None
        if here != wanted:
            raise InputError(
                f"{path}: '{name}' has shape {here}, this experiment's model expects {wanted}; "
                "remove it to train from the start"
            )
    for name, value in tensors.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise InputError(f"{path}: '{name}' is not finite throughout; remove it to train from the start")
    moments: dict[Tensor, dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if counters.step and parameter.requires_grad:
            found = {key: tensors.get(f"optimiser.{key}.{name}") for key in ("step", "exp_avg", "exp_avg_sq")}
            known = {key: value for key, value in found.items() if value is not None}
            if 0 < len(known) < len(found):
                raise InputError(
                    f"{path}: '{name}' has only {', '.join(known)} of AdamW; remove it to train from the start"
                )
            for key, value in known.items():
                wanted = () if key == "step" else tuple(parameter.shape)
                if tuple(value.shape) != wanted or not value.is_floating_point():
                    raise InputError(
                        f"{path}: AdamW's {key} of '{name}' is {value.dtype} of shape {tuple(value.shape)}, expected "
                        f"{wanted}; remove it to train from the start"
                    )
            if known:
                moments[parameter] = known
    with torch.no_grad():
        for name, value in expected.items():
            value.copy_(weights[name])
    optimiser.state.update(moments)
    return counters


def _unique(model: nn.Module) -> dict[str, Tensor]:
    """The model's saved tensors by name, a shared one (tied embeddings) once."""
    saved = model.state_dict().keys()  # leaves out buffers that a layer computes for itself
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: value for name, value in named if name in saved}
