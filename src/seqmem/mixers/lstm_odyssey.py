"""The vanilla LSTM with peepholes and its eight variants. LSTM: A Search Space Odyssey (2015), arXiv 1503.04069."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._documents import hidden_size
from seqmem.mixers._shared import at_padding, resume, scan_backend
from seqmem.mixers.base import Mixer
from seqmem.ops import lstm
from seqmem.ops.lstm import emptied, held

SPREAD = 0.1  # standard deviation of every weight at the start

VARIANTS: dict[str, dict[str, bool]] = {  # the paper's names: OdysseyLSTM(width, **VARIANTS["NFG"])
    "V": {},
    "NIG": {"input_gate": False},
    "NFG": {"forget_gate": False},
    "NOG": {"output_gate": False},
    "NIAF": {"input_activation": False},
    "NOAF": {"output_activation": False},
    "CIFG": {"coupled": True},
    "NP": {"peepholes": False},
    "FGR": {"gate_recurrence": True},
}


class OdysseyState(NamedTuple):
    """hidden, cell: (batch, hidden); gates: (batch, 3 hidden), i, f and o of the last position with gate_recurrence,
    else (batch, 0).
    """

    hidden: Tensor
    cell: Tensor
    gates: Tensor


class OdysseyLSTM(Mixer):
    """The vanilla LSTM of the paper, each part of which can be left out (LSTM: A Search Space Odyssey, 2015, arXiv
    1503.04069):

        z = tanh(W_z x_t + R_z y_{t-1} + b_z)                       block input
        i = sigmoid(W_i x_t + R_i y_{t-1} + p_i * c_{t-1} + b_i)    input gate; f, the forget gate, likewise
        c_t = z * i + c_{t-1} * f                                   cell
        o = sigmoid(W_o x_t + R_o y_{t-1} + p_o * c_t + b_o)        output gate
        y_t = tanh(c_t) * o                                         block output

    ``input_gate``, ``forget_gate``, ``output_gate``: False makes i, f, o one (NIG, NFG, NOG); ``input_activation``,
    ``output_activation``: False leaves out the tanh of z, of c (NIAF, NOAF); ``coupled``: f = 1 - i (CIFG);
    ``peepholes``: False leaves out p (NP); ``gate_recurrence``: the gates also see R [i, f, o] of the position before
    (FGR). :data:`VARIANTS` has the paper's eight by name; any combination is a layer. A part that is left out has no
    weights. ``hidden``: size of y_t above, default ``width``; another size is projected to ``width`` without bias.
    Weights and biases start as N(0, 0.1^2), to which ``forget_bias`` adds for the forget gate (the paper: 0).

    form: "parallel", for any time, is the kernel of :func:`seqmem.ops.lstm`, "recurrent" the loop in plain PyTorch;
    "auto" is "parallel". With ``gate_recurrence`` there is no kernel: both are the loop.
    """

    def __init__(
        self,
        width: int,
        *,
        hidden: int | None = None,
        input_gate: bool = True,
        forget_gate: bool = True,
        output_gate: bool = True,
        input_activation: bool = True,
        output_activation: bool = True,
        coupled: bool = False,
        peepholes: bool = True,
        gate_recurrence: bool = False,
        forget_bias: float = 0.0,
    ) -> None:
        super().__init__(width)
        owner = type(self).__name__
        if coupled and not (input_gate and forget_gate):
            raise InputError(f"{owner}: coupled=True needs input_gate and forget_gate, the one being 1 minus the other")
        self.hidden = hidden_size(hidden, width, owner)
        self.input_gate, self.forget_gate, self.output_gate = input_gate, forget_gate, output_gate
        self.input_activation, self.output_activation, self.coupled = input_activation, output_activation, coupled
        self.present = (input_gate, forget_gate and not coupled, True, output_gate)  # i, f, z, o: who has weights
        self.gates_present = (self.present[0], self.present[1], self.present[3])
        gates = sum(self.gates_present)
        self.inputs = nn.Linear(width, sum(self.present) * self.hidden)
        self.recurrent = nn.Parameter(torch.empty(sum(self.present) * self.hidden, self.hidden))
        self.peephole = nn.Parameter(torch.empty(gates, self.hidden)) if peepholes and gates else None
        among_gates = torch.empty(gates * self.hidden, 3 * self.hidden)  # R_ii, R_fi, R_oi; R_if, ...
        self.gate_recurrent = nn.Parameter(among_gates) if gate_recurrence and gates else None
        for weight in self.parameters():
            nn.init.normal_(weight, std=SPREAD)
        if self.present[1]:
            place = input_gate * self.hidden
            with torch.no_grad():
                self.inputs.bias[place : place + self.hidden] += forget_bias
        self.out = nn.Identity() if self.hidden == width else nn.Linear(self.hidden, width, bias=False)

    def initial_state(self, batch_size: int) -> OdysseyState:
        """Zeros."""
        zero = self.recurrent.new_zeros(batch_size, self.hidden)
        return OdysseyState(
            zero, zero, zero.new_zeros(batch_size, 0 if self.gate_recurrent is None else 3 * self.hidden)
        )

    def forward(
        self,
        x: Tensor,
        state: OdysseyState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, OdysseyState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        given = _spread(self.inputs(at_padding(x, mask, 0)).to(self.recurrent.dtype), self.present, -1)
        recurrent = _spread(self.recurrent, self.present, 0)  # (4 hidden, hidden)
        peephole = None if self.peephole is None else _spread(self.peephole, self.gates_present, 0)  # (3, hidden)
        if self.gate_recurrent is not None:
            among_gates = _spread(self.gate_recurrent, self.gates_present, 0)  # (3 hidden, 3 hidden)
            h, state = self._with_gate_recurrence(given, recurrent, among_gates, peephole, state, mask, reset)
            return self.out(h), state
        h, last = lstm(
            given,
            recurrent,
            (state.hidden, state.cell),
            peephole=peephole,
            input_gate=self.input_gate,
            forget_gate=self.forget_gate,
            output_gate=self.output_gate,
            coupled=self.coupled,
            input_activation=self.input_activation,
            output_activation=self.output_activation,
            mask=mask,
            reset=reset,
            backend=scan_backend(form),
        )
        return self.out(h), OdysseyState(*last, state.gates)

    def _with_gate_recurrence(
        self,
        x: Tensor,
        recurrent: Tensor,
        among_gates: Tensor,
        peephole: Tensor | None,
        state: OdysseyState,
        mask: Tensor | None,
        reset: Tensor | None,
    ) -> tuple[Tensor, OdysseyState]:
        """The equations as a loop over time. x: (batch, time, 4 hidden), what the input contributes to i, f, z, o."""
        i, f, o = among_gates.chunk(3)
        weight = torch.cat([recurrent, torch.cat([i, f, torch.zeros_like(i), o])], 1).mT  # (4 hidden, 4 hidden)
        p_i, p_f, p_o = x.new_zeros(3, self.hidden) if peephole is None else peephole
        (h, c, gates), outputs = (part.to(x.dtype) for part in state), []
        with torch.autocast(x.device.type, enabled=False):
            for t in range(x.shape[1]):
                h, c, gates = emptied(reset, t, h), emptied(reset, t, c), emptied(reset, t, gates)
                i, f, z, o = torch.addmm(x[:, t], torch.cat([h, gates], 1), weight).chunk(4, -1)
                one = torch.ones_like(i)
                i = torch.sigmoid(i + p_i * c) if self.input_gate else one
                f = 1 - i if self.coupled else torch.sigmoid(f + p_f * c) if self.forget_gate else one
                new = f * c + i * (torch.tanh(z) if self.input_activation else z)
                o = torch.sigmoid(o + p_o * new) if self.output_gate else one
                y = o * (torch.tanh(new) if self.output_activation else new)
                h, c = held(mask, t, y, h), held(mask, t, new, c)
                gates = held(mask, t, torch.cat([i, f, o], 1), gates)
                outputs.append(h)
        return torch.stack(outputs, 1), OdysseyState(h, c, gates)


def _spread(part: Tensor, present: tuple[bool, ...], dim: int) -> Tensor:
    """One block per flag along ``dim``: the blocks of ``part`` in order where the flag is True, zeros elsewhere."""
    if all(present):
        return part
    blocks = iter(part.chunk(sum(present), dim))
    zero = torch.zeros_like(part.chunk(sum(present), dim)[0])
    return torch.cat([next(blocks) if flag else zero for flag in present], dim)
