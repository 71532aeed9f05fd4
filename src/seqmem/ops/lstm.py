"""The long short-term memory and its variants, given what the input contributes to the gates.

i = s(x_i + U_i h + p_i c)     f = s(x_f + U_f h + p_f c)     g = tanh(x_g + U_g h)
c' = f c + i g                 o = s(x_o + U_o h + p_o c')    h' = o tanh(c')
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.ops._dispatch import Backend, choose
from seqmem.ops._inputs import common_dtype, computed_in, expect_flags, expect_shape


class LSTMState(NamedTuple):
    """hidden and cell, (batch, hidden) each."""

    hidden: Tensor
    cell: Tensor


class Switches(NamedTuple):
    """What a variant has: 1, or lacks: 0. forget and coupled are not both 1; without either f = 1."""

    input: float
    forget: float
    coupled: float
    output: float
    input_activation: float
    output_activation: float


def held(mask: Tensor | None, t: int, new: Tensor, old: Tensor) -> Tensor:
    """``new``, or ``old`` where position t is padding."""
    return new if mask is None else torch.where(mask[:, t, None], new, old)


def emptied(reset: Tensor | None, t: int, x: Tensor) -> Tensor:
    """``x`` (batch, hidden), 0 where a document begins at t."""
    return x if reset is None else x.masked_fill(reset[:, t, None], 0)


def lstm_reference(
    x: Tensor,
    weight: Tensor,
    state: LSTMState,
    peephole: Tensor | None,
    switches: Switches,
    mask: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, LSTMState]:
    """The equations as a loop over time, on any device and dtype. Shapes as in :func:`lstm`."""
    (h, c), outputs = state, []
    for t in range(x.shape[1]):
        h, c = emptied(reset, t, h), emptied(reset, t, c)
        i, f, g, o = (x[:, t] + h @ weight.mT).chunk(4, -1)  # (batch, hidden) each
        if peephole is not None:
            i, f = i + peephole[0] * c, f + peephole[1] * c
        i = torch.sigmoid(i) if switches.input else torch.ones_like(i)
        f = torch.sigmoid(f) if switches.forget else 1 - i if switches.coupled else torch.ones_like(f)
        new = f * c + i * (torch.tanh(g) if switches.input_activation else g)
        if peephole is not None:
            o = o + peephole[2] * new
        o = torch.sigmoid(o) if switches.output else torch.ones_like(o)
        h, c = held(mask, t, o * (torch.tanh(new) if switches.output_activation else new), h), held(mask, t, new, c)
        outputs.append(h)
    return (torch.stack(outputs, 1) if outputs else x[..., : x.shape[-1] // 4]), LSTMState(h, c)


def lstm(
    x: Tensor,
    weight: Tensor,
    state: LSTMState | tuple[Tensor, Tensor] | None = None,
    *,
    peephole: Tensor | None = None,
    input_gate: bool = True,
    forget_gate: bool = True,
    output_gate: bool = True,
    coupled: bool = False,
    input_activation: bool = True,
    output_activation: bool = True,
    mask: Tensor | None = None,
    reset: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, LSTMState]:
    """An LSTM whose parts can be left out (LSTM: A Search Space Odyssey, 2015, arXiv 1503.04069; without a forget gate
    that of 1997; peepholes: Learning Precise Timing with LSTM Recurrent Networks, 2002).

    x: (batch, time, 4 * hidden), what input and bias contribute to i, f, g and o, in torch's order; weight: (4 *
    hidden, hidden), U; state: :class:`LSTMState`, default zeros; peephole: (3, hidden), p_i, p_f, p_o. A gate that is
    left out is 1; ``coupled``: f = 1 - i. input_activation, output_activation: False leaves out the tanh of g, of c'.
    mask: (batch, time) bool, False at padding, which leaves the state as it is (and returns its h); reset: (batch,
    time) bool, True empties the state before that step. bfloat16 and float16 are computed in float32.
    Returns (h (batch, time, hidden) in x's dtype, final state).

    For the plain LSTM without mask and reset ``torch.nn.LSTM`` is faster on a CPU; this op is for all others.
    """
    if x.dim() != 3 or weight.dim() != 2 or x.shape[2] != 4 * weight.shape[1]:
        raise InputError(
            f"lstm: x has shape {tuple(x.shape)} and weight {tuple(weight.shape)}, "
            "expected (batch, time, 4 * hidden) and (4 * hidden, hidden)"
        )
    if coupled and not forget_gate:
        raise InputError("lstm: coupled=True with forget_gate=False, expected one way to forget; drop one of them")
    batch, time, hidden = x.shape[0], x.shape[1], weight.shape[1]
    expect_shape("lstm", "weight", weight, "4 * hidden, hidden", 4 * hidden, hidden)
    expect_shape("lstm", "peephole", peephole, "3, hidden", 3, hidden)
    for name, part in zip(LSTMState._fields, state or (None, None), strict=True):
        expect_shape("lstm", name, part, "batch, hidden", batch, hidden)
    expect_flags("lstm", "mask", mask, batch, time)
    expect_flags("lstm", "reset", reset, batch, time)
    given = () if state is None else tuple(state)
    out, dtype = x.dtype, computed_in(common_dtype("lstm", x, weight, peephole, *given))
    path = choose("lstm", backend, time, x, weight, peephole, *given)
    x, weight = x.to(dtype), weight.to(dtype)
    peephole = None if peephole is None else peephole.to(dtype)
    zero = x.new_zeros(batch, hidden)
    start = LSTMState(zero, zero) if state is None else LSTMState(*(part.to(dtype) for part in state))
    switches = Switches(
        *map(
            float, (input_gate, forget_gate and not coupled, coupled, output_gate, input_activation, output_activation)
        )
    )
    if path == "numba" and x.numel() > 0:
        from seqmem.ops._lstm_numba import scan

        h, final, cell, *_ = scan(x, weight, *start, peephole, list(switches), mask, reset)
        return h.to(out), LSTMState(final, cell)
    h, last = lstm_reference(x, weight, start, peephole, switches, mask, reset)
    return h.to(out), last
