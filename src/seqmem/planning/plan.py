"""The calculator: every figure of a configuration, from its parts."""

from __future__ import annotations

import functools
import math
from dataclasses import asdict, dataclass
from typing import Any

import torch

from seqmem.errors import InputError
from seqmem.models import SequenceConfig
from seqmem.planning import clock
from seqmem.planning.clock import Speed
from seqmem.planning.figures import Figures, Rates, figures
from seqmem.planning.memory import Growth, growth
from seqmem.planning.parts import Part, build, parts
from seqmem.planning.trace import weights

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}
MOMENTS = 2  # AdamW keeps two numbers for each weight ...
COUNTER = 4  # ... and a count of steps, in bytes, for each tensor
OPTIMISER_MOVES = 10  # numbers that clipping and AdamW read and write for each weight


@dataclass(frozen=True)
class Setting:
    """batch: rows of a step, over all devices; time: positions of a row. rates: of one device; None: of this machine,
    whose speed is then measured on small pieces. reached: the share of the limit that another device reaches. link:
    bytes per second between devices; None: what they say to each other is not counted. tokens: of the whole training.
    """

    batch: int = 8
    time: int = 512
    dtype: str = "float32"
    devices: int = 1
    rates: Rates | None = None
    reached: float = 1.0
    link: float | None = None
    tokens: float | None = None

    def __post_init__(self) -> None:
        for name in ("batch", "time", "devices"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} is {value!r}, expected a whole number of at least 1")
        if self.dtype not in DTYPES:
            raise InputError(f"dtype is {self.dtype!r}, expected one of {', '.join(DTYPES)}")
        if self.batch % self.devices:
            raise InputError(
                f"batch is {self.batch} and devices is {self.devices}, expected as many rows for each device; "
                f"give a multiple of {self.devices}"
            )
        for name in ("reached", "link", "tokens"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name} is {value!r}, expected a number above 0")

    @property
    def rows(self) -> int:
        """Of one device."""
        return self.batch // self.devices

    @property
    def torch_dtype(self) -> torch.dtype:
        """As torch names it."""
        return DTYPES[self.dtype]


@dataclass(frozen=True)
class Costed:
    """A part and what it costs. speed: None on a device that is only described."""

    part: Part
    figures: Figures
    state: Growth
    speed: Speed | None


@dataclass(frozen=True)
class Plan:
    """parameters: numbers that are trained. tensors: how many hold them. costs: by part. optimiser: seconds of clipping
    and AdamW's step. checkpointed: bytes kept with every block computed again in the backward pass."""

    config: SequenceConfig
    setting: Setting
    rates: Rates
    parameters: int
    tensors: int
    costs: list[Costed]
    optimiser_seconds: float
    input_bytes: int

    @property
    def parameter_bytes(self) -> int:
        """In the dtype of the weights, which is float32 also where products are computed in bfloat16."""
        return self.parameters * (8 if self.setting.dtype == "float64" else 4)

    @property
    def optimiser_bytes(self) -> int:
        """What AdamW keeps."""
        return MOMENTS * self.parameter_bytes + COUNTER * self.tensors

    def flops_per_token(self, which: str = "both") -> float:
        """Operations for each token: of the "forward" pass, or of "both" in training."""
        each = ((c.part.copies, c.figures.forward.flops if which == "forward" else c.figures.flops) for c in self.costs)
        return sum(count * flops for count, flops in each) / (self.setting.rows * self.setting.time)

    @property
    def state_constant(self) -> int:
        """Bytes of one sequence's state that do not grow with it."""
        return sum(c.part.copies * c.state.constant for c in self.costs)

    @property
    def state_per_position(self) -> float:
        """Bytes that every further position adds."""
        return sum(c.part.copies * c.state.per_position for c in self.costs)

    @property
    def state_since(self) -> int:
        """The length from which on the state is that line; 0: at every length."""
        return max(c.state.since for c in self.costs)

    @property
    def activation_bytes(self) -> float:
        """Kept for the backward pass on one device."""
        return sum(c.part.copies * c.figures.saved for c in self.costs)

    @property
    def kept_with_checkpoints(self) -> float:
        """Kept between the passes where every block is computed again: what goes into each, and what is around."""
        blocks = sum(c.part.copies for c in self.costs if c.part.layer is not None)
        return blocks * self.input_bytes + self.costs[-1].figures.saved

    @property
    def checkpointed_bytes(self) -> float:
        """The most that is held with checkpoints: when the largest block is computed again, the rest is gone."""
        largest = max(c.figures.saved for c in self.costs if c.part.layer is not None)
        return max(self.kept_with_checkpoints, self.kept_with_checkpoints - self.costs[-1].figures.saved + largest)

    @property
    def limit(self) -> float:
        """Seconds that the device needs at least for both passes."""
        return sum(c.part.copies * c.figures.limit for c in self.costs)

    def compute_seconds(self, checkpointing: bool = False) -> float:
        """Of one step's passes on one device."""
        total = 0.0
        for c in self.costs:
            again = checkpointing and c.part.layer is not None
            speed = c.speed or Speed(0.0, self.setting.reached)
            total += c.part.copies * (speed.seconds(c.figures) + (speed.again_seconds(c.figures) if again else 0.0))
        return total

    @property
    def exchange_seconds(self) -> float | None:
        """Of adding up the gradients of all devices in a ring; None where the link is not known."""
        if self.setting.devices == 1:
            return 0.0
        if self.setting.link is None:
            return None
        return 2 * (self.setting.devices - 1) / self.setting.devices * self.parameter_bytes / self.setting.link

    def step_seconds(self, checkpointing: bool = False) -> float:
        """Of one step; the exchange of gradients after the passes, where the link is known."""
        return self.compute_seconds(checkpointing) + self.optimiser_seconds + (self.exchange_seconds or 0.0)

    def training_seconds(self, tokens: float, checkpointing: bool = False) -> float:
        """Of reading so many tokens."""
        return math.ceil(tokens / (self.setting.batch * self.setting.time)) * self.step_seconds(checkpointing)

    @property
    def notes(self) -> list[str]:
        """What is not predicted, or only so far."""
        found = []
        for c in self.costs:
            if c.figures.uncounted:
                found.append(f"{c.part.name}: {', '.join(c.figures.uncounted)} are not in the FLOPs")
            if c.figures.miss:
                found.append(
                    f"{c.part.name}: does not grow evenly with time ({c.figures.miss}); no FLOPs, bytes or time"
                )
        if self.exchange_seconds is None:
            found.append("the exchange of gradients between devices is not in the time; give --link")
        return found

    @property
    def predictable(self) -> bool:
        """Whether every part grows as a parabola."""
        return not any(c.figures.miss for c in self.costs)


def make_plan(config: SequenceConfig, setting: Setting | None = None) -> Plan:
    """Trace every part once, and measure its speed where the device is this machine."""
    setting = setting or Setting()
    dtype, here = setting.torch_dtype, setting.rates is None
    rates = setting.rates or clock.here(dtype)
    costs, parameters, tensors = [], 0, 0
    for part in parts(config):
        sizes = weights(functools.partial(build, config, part))
        parameters += part.copies * sum(sizes)
        tensors += part.copies * len(sizes)
        found = figures(config, part, setting.rows, setting.time, dtype, rates)
        speed = clock.measured(config, part, setting.rows, setting.time, dtype, rates, found) if here else None
        costs.append(Costed(part, found, growth(config, part, setting.time, dtype), speed))
    width = 8 if dtype is torch.float64 else 4
    moved = OPTIMISER_MOVES * width * parameters
    optimiser = parameters * clock.optimiser_rate() if here else moved / rates.memory
    inputs = setting.rows * config.perspectives * setting.time * config.width * width
    return Plan(config, setting, rates, parameters, tensors, costs, optimiser, inputs)


def as_data(plan: Plan) -> dict[str, Any]:
    """All figures as JSON values, in numbers, bytes and seconds."""
    return {
        "config": {key: getattr(plan.config, key) for key in ("vocab_size", "width", "layers", "mlp_width")},
        "setting": asdict(plan.setting),
        "rates": plan.rates._asdict(),
        "parameters": plan.parameters,
        "flops_per_token": {"forward": plan.flops_per_token("forward"), "training": plan.flops_per_token()},
        "state_bytes": {
            "constant": plan.state_constant,
            "per_position": plan.state_per_position,
            "since": plan.state_since,
        },
        "parameter_bytes": plan.parameter_bytes,
        "optimiser_bytes": plan.optimiser_bytes,
        "activation_bytes": plan.activation_bytes,
        "activation_bytes_with_checkpoints": plan.checkpointed_bytes,
        "step_seconds": plan.step_seconds(),
        "step_seconds_with_checkpoints": plan.step_seconds(checkpointing=True),
        "parts": [
            {"name": c.part.name, "copies": c.part.copies, **asdict(c.figures), "speed": c.speed and c.speed._asdict()}
            for c in plan.costs
        ],
        "notes": plan.notes,
    }
