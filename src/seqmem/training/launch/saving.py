"""Checkpoints of a training: safetensors and JSON in a folder that is renamed into place when it is whole.

step-00000100/
    model/                     as save_pretrained writes it
    optimiser.safetensors      AdamW's moments: "exp_avg.NAME", "exp_avg_sq.NAME", "step.NAME"
    memory-0.safetensors       of each process, where memories are carried: "FIRST_ROW.NUMBER"
    training.json              the counters
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from seqmem.errors import InputError, line_of
from seqmem.loading import parse_json
from seqmem.mixers.state import State, map_state, tensors
from seqmem.models import SequenceLM, load
from seqmem.training.files import quarantine, write_json

if TYPE_CHECKING:
    from accelerate import Accelerator

KEPT = 2
STEP = re.compile(r"step-(\d{8,})")
MOMENTS = ("step", "exp_avg", "exp_avg_sq")

Rows = tuple[int, int]  # first row, and the one after the last
Memories = dict[int, dict[int, Tensor]]  # first row -> number of the tensor -> rows of it


@dataclass
class Counters:
    """Where a training is. The position in the data follows from ``step``."""

    step: int = 0
    loss_sum: float = 0.0  # since the last line of metrics.jsonl
    loss_count: int = 0
    seconds: float = 0.0  # of training, over all sessions


@dataclass
class Checkpoint:
    """What is read back."""

    folder: Path
    model: SequenceLM
    moments: dict[str, Tensor]
    counters: Counters
    memories: Memories  # whoever held them when they were written


def name_of(step: int) -> str:
    """The folder of the checkpoint after so many steps."""
    return f"step-{step:08}"


def save(
    accelerator: Accelerator,
    folder: Path,
    learner: Any,
    optimiser: Any,
    memories: dict[Rows, State],
    counters: Counters,
    tokenizer: Path | None,
) -> Path:
    """Every process calls it; returns the new checkpoint. The last KEPT stay."""
    from safetensors.torch import save_file

    name = name_of(counters.step)
    place, temporary = folder / name, folder / f".{name}.tmp"
    if accelerator.is_main_process:
        for left in folder.glob(".step-*.tmp"):
            shutil.rmtree(left, ignore_errors=True)
        temporary.mkdir(parents=True)
    accelerator.wait_for_everyone()
    if memories:
        held = {f"{rows[0]}.{n}": t for rows, state in memories.items() for n, t in enumerate(tensors(state))}
        save_file(
            {key: value.detach().cpu().contiguous() for key, value in held.items()},
            temporary / f"memory-{accelerator.process_index}.safetensors",
        )
    weights, moments = _gathered(learner, optimiser)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        bare = accelerator.unwrap_model(learner).model
        bare.save_pretrained(temporary / "model", state_dict=weights)
        if tokenizer is not None:
            shutil.copytree(tokenizer, temporary / "model", dirs_exist_ok=True)
        save_file(moments, temporary / "optimiser.safetensors")
        write_json(temporary / "training.json", asdict(counters))
        if place.exists():
            shutil.rmtree(place)
        os.rename(temporary, place)
        for old in _found(folder)[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()
    return place


def _gathered(learner: Any, optimiser: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The whole model's weights and moments, on the first process; of shared weights one."""
    from torch.distributed.checkpoint import state_dict as dcp

    whole = dcp.StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights: Any = dcp.get_model_state_dict(learner, options=whole)
    state: Any = dcp.get_optimizer_state_dict(learner, optimiser.optimizer, options=whole).get("state", {})
    moments = {f"{key}.{name}": values[key] for name, values in state.items() for key in MOMENTS if key in values}
    return (
        {name.removeprefix("model."): value for name, value in weights.items()},
        {key: value.contiguous() for key, value in moments.items()},
    )


def latest(accelerator: Accelerator, folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole, and a line about each newer one, which is set aside. Every process calls
    it."""
    notes: list[str] = []
    found = None
    if accelerator.is_main_process:
        for place in _found(folder):
            try:
                found = read(place)
                break
            except InputError as error:
                shutil.rmtree(place.with_name(place.name + ".damaged"), ignore_errors=True)
                notes.append(f"the damaged checkpoint is kept as {quarantine(place).name}: {error}")
    if accelerator.num_processes > 1:
        from accelerate.utils import broadcast

        step = int(broadcast(torch.tensor(-1 if found is None else found.counters.step, device=accelerator.device)))
        if not accelerator.is_main_process and step >= 0:
            found = read(folder / name_of(step))
    return found, notes


def read(folder: Path) -> Checkpoint:
    """Raises InputError for a checkpoint that is cut short, contradicts itself, or has numbers that are not finite."""
    counters = _read_counters(folder / "training.json")
    if folder.name != name_of(counters.step):
        raise InputError(f"'{folder}' says that it is of step {counters.step}")
    model = load(folder / "model")
    moments = _read_tensors(folder / "optimiser.safetensors")
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    for key, value in moments.items():
        kind, _, name = key.partition(".")
        wanted = () if kind == "step" else shapes.get(name.removeprefix("model."))
        if kind not in MOMENTS or tuple(value.shape) != wanted:
            raise InputError(f"'{folder}': '{key}' of shape {tuple(value.shape)} is no moment of its model")
    for name, value in [*model.named_parameters(), *moments.items()]:
        if not value.isfinite().all():
            raise InputError(f"'{folder}': '{name}' is not finite throughout")
    return Checkpoint(folder, model, moments, counters, _read_memories(folder))


def restore_moments(learner: nn.Module, optimiser: Any, moments: dict[str, Tensor]) -> None:
    """Put AdamW's moments into an optimiser that has taken no step, spread or not."""
    from torch.distributed.checkpoint import state_dict as dcp

    whole = dcp.StateDictOptions(full_state_dict=True)
    found = dcp.get_optimizer_state_dict(learner, optimiser.optimizer, options=whole)
    state: Any = {}
    for key, value in moments.items():
        kind, _, name = key.partition(".")
        state.setdefault(name, {})[kind] = value
    found["state"] = state
    dcp.set_optimizer_state_dict(learner, optimiser.optimizer, found, options=whole)


def restore_memories(found: Checkpoint, pieces: Sequence[Rows], skeleton: State, device: torch.device) -> list[State]:
    """The memory of each piece's rows.

    skeleton: a memory of the same model; its structure counts. Raises InputError where rows must be put together that
    do not fit: memories that grow differ in size.
    """
    count = sum(1 for _ in tensors(skeleton))
    return [_put_together(found, piece, skeleton, count, device) for piece in pieces]


def _read_memories(folder: Path) -> Memories:
    """They may hold numbers that are not finite."""
    held: Memories = {}
    for file in sorted(folder.glob("memory-*.safetensors")):
        for key, value in _read_tensors(file).items():
            if not re.fullmatch(r"\d+\.\d+", key) or not value.ndim:
                raise InputError(f"'{file}': '{key}' is no memory")
            first, _, number = key.partition(".")
            held.setdefault(int(first), {})[int(number)] = value
    return held


def _put_together(found: Checkpoint, piece: Rows, skeleton: State, count: int, device: torch.device) -> State:
    first, last = piece
    parts: list[list[Tensor]] = [[] for _ in range(count)]
    for start in sorted(found.memories):
        for number, value in found.memories[start].items():
            rows = value[max(0, first - start) : max(0, last - start)]
            if number < count and len(rows):
                parts[number].append(rows)
    try:
        whole = [torch.cat(part) for part in parts]
    except RuntimeError as error:
        raise InputError(
            f"'{found.folder}': memories that grow with the text cannot be divided anew; go on with the processes and "
            "accumulation that wrote it"
        ) from error
    if any(len(value) != last - first for value in whole):
        raise InputError(f"'{found.folder}' lacks the memory of rows {first} to {last - 1}; remove it")
    one = iter(whole)
    return map_state(lambda _: next(one).to(device), skeleton)


def _found(folder: Path) -> list[Path]:
    """The checkpoints there, newest first."""
    places = folder.iterdir() if folder.is_dir() else ()
    return sorted((place for place in places if STEP.fullmatch(place.name)), key=lambda p: p.name, reverse=True)


def _read_counters(path: Path) -> Counters:
    try:
        found = parse_json(path.read_bytes())
        counters = Counters(**found)
        if not all(type(n) is int and n >= 0 for n in (counters.step, counters.loss_count)):
            raise ValueError("its counters are no counts")
        counters.loss_sum, counters.seconds = float(counters.loss_sum), float(counters.seconds)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"'{path}' cannot be read ({line_of(error)})") from error
    return counters


def _read_tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"'{path}' is cut short or damaged ({line_of(error)})") from error
