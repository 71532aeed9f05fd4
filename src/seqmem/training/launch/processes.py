"""The processes of a training, as accelerate finds them, and the model spread over them.

accelerate reads what its launcher, ``torchrun`` or nobody has said; what a training here cannot do is refused.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from seqmem.errors import InputError

if TYPE_CHECKING:
    from accelerate import Accelerator

NO_ACCELERATE = "'seqmem train' needs accelerate, which is not installed; pip install 'seqmem[train]'"
NO_TENSORBOARD = (
    "tensorboard is true, and neither tensorboard nor tensorboardX is installed; pip install 'seqmem[train]', "
    "or leave it out: metrics.jsonl has the same figures"
)
RANKS = ("RANK", "LOCAL_RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")


def check(environment: Mapping[str, str], tensorboard: bool) -> None:
    """Raises InputError where something is not installed or asked for in vain."""
    if importlib.util.find_spec("accelerate") is None:
        raise InputError(NO_ACCELERATE)
    if tensorboard and not any(map(importlib.util.find_spec, ("tensorboard", "tensorboardX"))):
        raise InputError(NO_TENSORBOARD)
    precision = environment.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision not in ("no", "bf16"):
        raise InputError(f"mixed_precision is {precision}, expected no or bf16; change accelerate's configuration")
    for name, key in (("DeepSpeed", "ACCELERATE_USE_DEEPSPEED"), ("Megatron", "ACCELERATE_USE_MEGATRON_LM")):
        if _true(environment, key):
            raise InputError(f"accelerate asks for {name}, expected data parallelism or FSDP; change its configuration")
    if _true(environment, "ACCELERATE_USE_FSDP") and environment.get("FSDP_VERSION", "1") != "2":
        raise InputError("fsdp_version is 1, expected 2; add --fsdp_version 2 to accelerate launch")
    launched = _true(environment, "ACCELERATE_USE_CPU") and "ACCELERATE_MIXED_PRECISION" in environment
    if launched and "MASTER_PORT" in environment and not any(rank in environment for rank in RANKS):
        raise InputError(
            "accelerate launch --cpu was asked for several processes and starts one (without MPI); type "
            "'torchrun --nproc_per_node N -m seqmem train ...' or 'accelerate launch --multi_gpu --num_processes N ...'"
        )


def is_first(environment: Mapping[str, str]) -> bool:
    """Whether this process is the one that speaks for all."""
    return next((environment[rank] for rank in RANKS if rank in environment), "0") == "0"


def start(out: Path, tensorboard: bool) -> Accelerator:
    """Join the other processes."""
    check(os.environ, tensorboard)
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    cpu = not torch.accelerator.is_available() or _true(os.environ, "ACCELERATE_USE_CPU")
    many = any(rank in os.environ for rank in RANKS)
    return Accelerator(
        cpu=cpu,
        log_with="tensorboard" if tensorboard else None,
        project_dir=str(out),
        kwargs_handlers=[InitProcessGroupKwargs(backend="gloo")] if cpu and many else None,
    )


@contextlib.contextmanager
def joined(out: Path, tensorboard: bool) -> Iterator[Accelerator]:
    """:func:`start`, and afterwards the process is as before, but for its connection to the others."""
    backend = os.environ.get("SEQMEM_BACKEND")
    accelerator = start(out, tensorboard)
    from accelerate.state import AcceleratorState, GradientState

    try:
        yield accelerator
        for tracker in accelerator.trackers:
            tracker.finish()
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        os.environ.pop("SEQMEM_BACKEND", None)
        if backend is not None:
            os.environ["SEQMEM_BACKEND"] = backend


def leave() -> None:
    """End the connection to the other processes, if there is one."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def end(code: int) -> int:
    """Leave, and where this process is one of several, exit with ``code`` at once; returns it otherwise.

    gloo's threads live as long as something refers to the group (DTensor's caches do so for ever), and one that frees
    a tensor while Python is shutting down aborts the process (pytorch/pytorch#179291).
    """
    if torch.distributed.is_initialized():
        leave()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def spread(accelerator: Accelerator, learner: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[Any, Any]:
    """Copies of the learner (data parallelism) or parts of it (FSDP), and the optimiser of them."""
    if _true(os.environ, "ACCELERATE_USE_FSDP") and accelerator.device.type == "cpu":
        _shard_on_cpu(learner, optimiser)
        if accelerator.is_main_process:
            print("FSDP on CPUs: the layers take their reference path", file=sys.stderr)
        return learner, accelerator.prepare(optimiser)
    return accelerator.prepare(learner, optimiser)


def _shard_on_cpu(learner: Any, optimiser: torch.optim.Optimizer) -> None:
    """torch's ``fully_shard``, which accelerate calls on GPUs alone: a unit per layer, and one for the rest.

    A kernel sees a weight as a NumPy array, and torch then never frees its memory, as sharding must: so the ops take
    the reference.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if not torch.distributed.is_initialized():
        raise InputError("FSDP is asked for with one process, expected at least 2; add --num_processes 2")
    os.environ["SEQMEM_BACKEND"] = "reference"
    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    names = {parameter: name for name, parameter in learner.named_parameters()}
    for layer in learner.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(learner, mesh=mesh)
    parts = dict(learner.named_parameters())
    for group in optimiser.param_groups:
        group["params"] = [parts[names[parameter]] for parameter in group["params"]]


@contextlib.contextmanager
def piece(accelerator: Accelerator, learner: Any, last: bool) -> Iterator[None]:
    """Around the forward and backward pass of a piece: gradients are exchanged after the ``last`` one only."""
    with contextlib.ExitStack() as stack:
        if hasattr(learner, "set_requires_gradient_sync"):  # FSDP
            learner.set_requires_gradient_sync(last)
        elif not last:
            stack.enter_context(accelerator.no_sync(learner))
        stack.enter_context(accelerator.autocast())
        yield


def total(accelerator: Accelerator, value: float) -> float:
    """The sum of every process's ``value``."""
    if accelerator.num_processes == 1:
        return value
    return float(accelerator.reduce(torch.tensor(value, dtype=torch.float64, device=accelerator.device), "sum"))


def clip(accelerator: Accelerator, learner: nn.Module, bound: float) -> float:
    """Bound the norm of the whole gradient; returns the norm before."""
    norm: Any = accelerator.clip_grad_norm_(learner.parameters(), bound)
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)


def _true(environment: Mapping[str, str], key: str) -> bool:
    return environment.get(key, "false").lower() in ("true", "1", "yes")
