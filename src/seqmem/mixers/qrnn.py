"""The quasi-recurrent network: a convolution makes the gates, a scan does the rest. arXiv 1611.01576."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._documents import hidden_size
from seqmem.mixers._shared import at_padding, diagonal_attention, read_diagonal, resume, scan_backend
from seqmem.mixers.base import Mixer
from seqmem.ops import causal_conv, linear_scan

POOLINGS = ("f", "fo", "ifo")


class QRNNState(NamedTuple):
    """cell: (batch, hidden); recent: (batch, kernel - 1, width), the inputs before the present one, oldest first."""

    cell: Tensor
    recent: Tensor


class QRNN(Mixer):
    """A convolution over the last ``kernel`` inputs makes candidate and gates, and no gate sees the memory, so that the
    whole sequence is one scan (Quasi-Recurrent Neural Networks, 2016, arXiv 1611.01576):

        Z = tanh(W_z * X)    F = sigmoid(W_f * X)    O = sigmoid(W_o * X)    I = sigmoid(W_i * X)
        c_t = f_t c_{t-1} + (1 - f_t) z_t        y_t = o_t c_t

    that is ``pooling="fo"``; "f" has no O (y_t = c_t), "ifo" has i_t in place of 1 - f_t. ``kernel``: the paper uses 2
    for words and 6 for characters. ``hidden``: size of c, default ``width``; another size is projected to ``width``
    without bias. The weights start as those of a linear map of ``kernel * width`` inputs.

    form: "parallel" is the scan, "recurrent" a loop of single steps in plain PyTorch; "auto" is "parallel", which for
    one position is the single step.
    """

    convolves: ClassVar[bool] = True

    def __init__(
        self, width: int, *, hidden: int | None = None, kernel: int = 2, pooling: Literal["f", "fo", "ifo"] = "fo"
    ) -> None:
        super().__init__(width)
        if pooling not in POOLINGS:
            raise InputError(f"QRNN: pooling is {pooling!r}, expected one of {', '.join(POOLINGS)}")
        if kernel < 1:
            raise InputError(f"QRNN: kernel is {kernel}, expected at least 1 (1 sees the present position alone)")
        self.hidden = hidden_size(hidden, width, "QRNN")
        self.kernel, self.pooling = kernel, pooling
        self.windows = nn.Linear(kernel * width, (1 + len(pooling)) * self.hidden)  # W: z, f, o, i
        self.out = nn.Identity() if self.hidden == width else nn.Linear(self.hidden, width, bias=False)

    def initial_state(self, batch_size: int) -> QRNNState:
        """Zeros: nothing was read."""
        weight = self.windows.weight
        return QRNNState(
            weight.new_zeros(batch_size, self.hidden), weight.new_zeros(batch_size, self.kernel - 1, self.width)
        )

    def forward(
        self,
        x: Tensor,
        state: QRNNState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, QRNNState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        log_keep, write, candidate, output, recent = self._gates(x, state.recent, mask, reset)
        cell, last = linear_scan(
            log_keep, write * candidate, state.cell, reset=reset, log=True, backend=scan_backend(form)
        )  # (batch, time, hidden)
        return self.out(output * cell), QRNNState(last, recent)

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, hidden, time, time): the weight of candidate j in c_t, from an empty memory; one head per unit."""
        self.check_input(x, mask, reset, "auto")
        log_keep, write, *_ = self._gates(x, self.initial_state(x.shape[0]).recent, mask, reset)
        return diagonal_attention(log_keep, write, reset)

    def read(self, x: Tensor, attention: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """y (batch, time, width) out of the weights that :meth:`attention` gives for the same arguments."""
        _, _, candidate, output, _ = self._gates(x, self.initial_state(x.shape[0]).recent, mask, reset)
        return self.out(output * read_diagonal(attention, candidate))

    def _gates(
        self, x: Tensor, recent: Tensor, mask: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """log f, 1 - f or i, z and o (1 where there is none), each (batch, time, hidden), and the newest inputs; at
        padding nothing is kept less or written.
        """
        x = at_padding(x, mask, 0).to(self.windows.weight.dtype)
        windows, recent = last_positions(x, self.kernel, recent, mask, reset)
        candidate, forget, *others = self.windows(windows).to(x.dtype).chunk(1 + len(self.pooling), -1)
        forget = at_padding(forget, mask, torch.inf)
        write = at_padding(torch.sigmoid(others[1]), mask, 0) if self.pooling == "ifo" else torch.sigmoid(-forget)
        output = torch.ones_like(candidate) if self.pooling == "f" else torch.sigmoid(others[0])
        return F.logsigmoid(forget), write, torch.tanh(candidate), output, recent


def last_positions(
    x: Tensor, kernel: int, recent: Tensor, mask: Tensor | None, reset: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The last ``kernel`` inputs of its document side by side at each position, oldest first, zeros before its start.

    x: (batch, time, width) -> (batch, time, kernel * width); recent: (batch, kernel - 1, width), before and after.
    """
    if kernel == 1:
        return x, recent
    taps = torch.eye(kernel, dtype=x.dtype, device=x.device).repeat_interleave(
        x.shape[-1], 0
    )  # (kernel * width, kernel)
    windows, last = causal_conv(x.repeat(1, 1, kernel), taps, None, recent.repeat(1, 1, kernel), mask=mask, reset=reset)
    return windows, last[..., : x.shape[-1]].clone()
