"""The same figures taken from a real model while it trains on this machine, to set beside the plan's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from seqmem.bench.measure import alone
from seqmem.errors import InputError
from seqmem.mixers.state import state_bytes
from seqmem.models import SequenceLM
from seqmem.models import build as build_model
from seqmem.planning.arithmetic import ENTRIES, OWN, kernel_flops
from seqmem.planning.parts import next_token_loss
from seqmem.planning.plan import Plan
from seqmem.planning.trace import autocast, saved_tensors
from seqmem.report.format import bytes_text
from seqmem.training.launch.learner import recompute_activations
from seqmem.training.optimiser import clip_gradients, make_optimiser

SECONDS = 3.0  # for which steps are repeated


class Beside(NamedTuple):
    """One figure of the plan and of the model."""

    name: str
    unit: str
    predicted: float
    measured: float

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return self.predicted / self.measured if self.measured else float("inf" if self.predicted else 1.0)


def measure(plan: Plan, seconds: float = SECONDS) -> list[Beside]:
    """Build the model, let one device's share of a step run for about ``seconds``, and compare.

    Raises InputError where this machine's free memory is less than the plan asks for.
    """
    setting, dtype = plan.setting, plan.setting.torch_dtype
    _require_memory(plan)
    model = build_model(plan.config, 0).train()
    if dtype is torch.float64:
        nn.Module.to(model, dtype)
    z = torch.Generator().manual_seed(0)
    ids = torch.randint(plan.config.vocab_size, (setting.rows, setting.time), generator=z)
    passes = Passes(model, ids, dtype)
    optimiser = make_optimiser(model, 0.1)

    def step() -> None:
        passes.run()
        clip_gradients([p.grad for p in model.parameters() if p.grad is not None], 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    forward, both = passes.counted()
    kept = passes.kept()
    took = alone(step, seconds)
    moments = sum(x.numel() * x.element_size() for kept in optimiser.state.values() for x in kept.values())
    with torch.no_grad(), autocast(dtype):
        state = state_bytes(model.run(ids[:1])[1])
    recompute_activations(model, {"use_reentrant": False})
    kept_fewer = passes.kept()
    took_longer = alone(step, seconds)
    growths = sum(c.part.copies * c.state.at(setting.time) for c in plan.costs)
    return [
        Beside("parameters", "", plan.parameters, sum(p.numel() for p in model.parameters() if p.requires_grad)),
        Beside("FLOPs per token, forward", "", plan.flops_per_token("forward"), forward / ids.numel()),
        Beside("FLOPs per token, training", "", plan.flops_per_token(), both / ids.numel()),
        Beside(f"state after {setting.time:,} tokens", "bytes", growths, state),
        Beside("optimiser", "bytes", plan.optimiser_bytes, moments),
        Beside("activations kept", "bytes", plan.activation_bytes, kept),
        Beside("activations kept, with checkpoints", "bytes", plan.kept_with_checkpoints, kept_fewer),
        Beside("step", "seconds", plan.compute_seconds() + plan.optimiser_seconds, took),
        Beside("step, with checkpoints", "seconds", plan.compute_seconds(True) + plan.optimiser_seconds, took_longer),
    ]


class Passes:
    """The forward and backward pass of a model on ``ids`` (batch, time)."""

    def __init__(self, model: SequenceLM, ids: torch.Tensor, dtype: torch.dtype) -> None:
        self.model, self.ids, self.dtype = model, ids, dtype

    def forward(self) -> torch.Tensor:
        """The loss."""
        with autocast(self.dtype):
            return next_token_loss(self.model.run(self.ids)[0], self.ids)

    def run(self) -> None:
        """Both passes; gradients are added up."""
        self.forward().backward()

    def counted(self) -> tuple[float, float]:
        """Operations of the forward pass and of both, as torch counts them while they run."""
        counter = FlopCounterMode(display=False, custom_mapping=torch_counts())
        with counter:
            loss = self.forward()
            forward = counter.get_total_flops()
            loss.backward()
        self.model.zero_grad(set_to_none=True)
        return float(forward), float(counter.get_total_flops())

    def kept(self) -> int:
        """Bytes that the forward pass keeps for the backward pass."""
        with saved_tensors(self.model) as kept:
            loss = self.forward()
        del loss
        return kept.bytes


def torch_counts() -> dict[Any, Callable[..., int]]:
    """What torch's table lacks, in its form."""

    def own(packet: Any) -> Callable[..., int]:
        return _raw(lambda *given, out_val=None, **_: round(OWN[packet](given, out_val)))

    def kernel(packet: Any, name: str) -> Callable[..., int]:
        names = [argument.name for argument in packet.default._schema.arguments]
        return _raw(lambda *given, **_: round(kernel_flops(name, dict(zip(names, given, strict=False)))))

    found = {packet: own(packet) for packet in OWN}
    for op in ENTRIES:
        for name in (op, f"{op}_backward"):
            packet = getattr(torch.ops.seqmem, name, None)  # there once its file has been imported
            if packet is not None:
                found[packet] = kernel(packet, name)
    return found


def _raw(count: Callable[..., int]) -> Callable[..., int]:
    """Given the tensors themselves rather than their shapes."""
    count._get_raw = True  # type: ignore[attr-defined]
    return count


def _require_memory(plan: Plan) -> None:
    wanted = plan.parameter_bytes * 2 + plan.optimiser_bytes + plan.activation_bytes
    free = _free_memory()
    if free is not None and wanted > 0.8 * free:
        raise InputError(
            f"--measure needs about {bytes_text(wanted)} and {bytes_text(free)} are free; "
            "give a smaller --batch or --time, or leave --measure out"
        )


def _free_memory() -> int | None:
    """Bytes; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), None)
