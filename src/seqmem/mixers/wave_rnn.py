"""A recurrent network in which every input travels as a wave over a ring of units. arXiv 2309.08045."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._shared import at_padding, resume
from seqmem.mixers._stepwise import Memory, step_by_step
from seqmem.mixers.base import Mixer

SOURCES = ("ones", "identity")


class WaveRNNState(NamedTuple):
    """hidden: (batch, units, channels)."""

    hidden: Tensor


class WaveRNN(Mixer):
    """Hidden units on rings, connected to their neighbours, through which activity travels: what was read t steps ago
    stands t units away from where it came in (Traveling Waves Encode the Recent Past and Enhance Sequence Learning,
    2024, arXiv 2309.08045):

        h_{t+1} = max(0, u * h_t + V x_t + b)        y_t = W h_{t+1}

    u * h is a convolution of ``kernel`` taps around a ring of ``units``, from all ``channels`` to all; h is read out
    whole. At the start u moves each channel by ``shift`` units a step and does nothing else (0: it keeps, the paper's
    control without a wave); V is zero but for unit 0, which the input enters: ``source="ones"``, its sum into every
    channel, as in the authors' code; ``"identity"``, input j into channel j modulo ``channels``. Biases are 0.
    ``units``: default ``width``; a wave is back where it came in after as many steps (the paper's copy task: 100 units,
    6 channels).

    form: "recurrent", the only one, a loop over time in PyTorch (one gather, one product and a rectifier a step).
    """

    forms: ClassVar[tuple[str, ...]] = ("recurrent",)

    def __init__(
        self,
        width: int,
        *,
        units: int | None = None,
        channels: int = 6,
        kernel: int = 3,
        shift: int = 1,
        source: Literal["ones", "identity"] = "ones",
    ) -> None:
        super().__init__(width)
        units = width if units is None else units
        if min(units, channels) < 1 or kernel < 1 or kernel % 2 == 0 or abs(shift) > kernel // 2:
            raise InputError(
                f"WaveRNN: units {units}, channels {channels}, kernel {kernel}, shift {shift}; expected at least one "
                "unit and channel, an odd kernel, and a shift of at most half of it"
            )
        if source not in SOURCES:
            raise InputError(f"WaveRNN: source is {source!r}, expected 'ones' or 'identity'")
        self.units, self.channels, self.kernel = units, channels, kernel
        self.inputs = nn.Linear(width, units * channels)  # V, and a bias per unit
        self.ring = nn.Parameter(torch.zeros(kernel * channels, channels))  # u: (tap and channel from, channel to)
        self.bias = nn.Parameter(torch.zeros(channels))
        self.out = nn.Linear(units * channels, width)
        taps = torch.arange(kernel) - kernel // 2  # the neighbours that a unit sees: -1, 0, 1
        self.register_buffer(
            "neighbours", (torch.arange(units)[:, None] + taps).remainder(units).flatten(), persistent=False
        )  # (units * kernel,)
        self.neighbours: Tensor
        with torch.no_grad():
            tap = kernel // 2 - shift  # a unit takes what stood `shift` units before it
            self.ring[tap * channels : (tap + 1) * channels] = torch.eye(channels)
            nn.init.zeros_(self.inputs.weight)
            nn.init.zeros_(self.inputs.bias)
            enters = self.inputs.weight.view(units, channels, width)[0]
            if source == "ones":
                enters.fill_(1)
            else:
                enters[torch.arange(width) % channels, torch.arange(width)] = 1

    def initial_state(self, batch_size: int) -> WaveRNNState:
        """Zeros: a still ring."""
        return WaveRNNState(self.ring.new_zeros(batch_size, self.units, self.channels))

    def forward(
        self,
        x: Tensor,
        state: WaveRNNState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, WaveRNNState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        h, last = self.waves(x, state, mask=mask, reset=reset, form=form)
        return self.out(h.flatten(2)), last

    def waves(
        self,
        x: Tensor,
        state: WaveRNNState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, WaveRNNState]:
        """(h after every position, (batch, time, units, channels), state): the plot of space against time."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        given = self.inputs(at_padding(x, mask, 0)).unflatten(-1, (self.units, self.channels)) + self.bias
        empty = self.initial_state(x.shape[0])
        h, last = step_by_step(self._step, (given.to(self.bias.dtype),), state, empty, mask, reset)
        return h, WaveRNNState(*last)

    def _step(self, given: Memory, memory: Memory) -> tuple[Tensor, Memory]:
        (now,), (h,) = given, memory  # (batch, units, channels)
        windows = h.index_select(1, self.neighbours).view(-1, self.kernel * self.channels)
        h = torch.relu(torch.addmm(now.reshape(-1, self.channels), windows, self.ring)).view_as(h)
        return h, (h,)
