"""The gated recurrent unit, given what the input contributes to the gates.

r = s(x_r + U_r h)     z = s(x_z + U_z h)     n = tanh(x_n + r (U_n h + bias))     h' = (1 - z) n + z h
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.ops._dispatch import Backend, choose
from seqmem.ops._inputs import common_dtype, computed_in, expect_flags, expect_shape
from seqmem.ops.lstm import emptied, held


def gru_reference(
    x: Tensor,
    weight: Tensor,
    h: Tensor,
    bias: Tensor | None,
    reset_gate: bool,
    mask: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The equations as a loop over time, on any device and dtype. Shapes as in :func:`gru`."""
    outputs = []
    for t in range(x.shape[1]):
        h = emptied(reset, t, h)
        (xr, xz, xn), (ur, uz, un) = x[:, t].chunk(3, -1), (h @ weight.mT).chunk(3, -1)  # (batch, hidden) each
        un = un if bias is None else un + bias
        r = torch.sigmoid(xr + ur) if reset_gate else torch.ones_like(h)
        z, n = torch.sigmoid(xz + uz), torch.tanh(xn + r * un)
        h = held(mask, t, (1 - z) * n + z * h, h)
        outputs.append(h)
    return (torch.stack(outputs, 1) if outputs else x[..., : x.shape[-1] // 3]), h


def gru(
    x: Tensor,
    weight: Tensor,
    state: Tensor | None = None,
    *,
    bias: Tensor | None = None,
    reset_gate: bool = True,
    mask: Tensor | None = None,
    reset: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """A GRU (Learning Phrase Representations using RNN Encoder-Decoder, 2014, arXiv 1406.1078), in the form of torch
    and cuDNN, where the reset gate acts after the recurrent product.

    x: (batch, time, 3 * hidden), what input and bias contribute to r, z and n; weight: (3 * hidden, hidden), U; state:
    (batch, hidden), default zero; bias: (hidden,), of U_n h, inside the reset gate. reset_gate=False leaves r out
    (r = 1). mask: (batch, time) bool, False at padding, which leaves the state as it is (and returns it); reset:
    (batch, time) bool, True empties the state before that step. bfloat16 and float16 are computed in float32.
    Returns (h (batch, time, hidden) in x's dtype, final state (batch, hidden)).

    For the plain GRU without mask and reset see also ``torch.nn.GRU``.
    """
    if x.dim() != 3 or weight.dim() != 2 or x.shape[2] != 3 * weight.shape[1]:
        raise InputError(
            f"gru: x has shape {tuple(x.shape)} and weight {tuple(weight.shape)}, "
            "expected (batch, time, 3 * hidden) and (3 * hidden, hidden)"
        )
    batch, time, hidden = x.shape[0], x.shape[1], weight.shape[1]
    expect_shape("gru", "weight", weight, "3 * hidden, hidden", 3 * hidden, hidden)
    expect_shape("gru", "state", state, "batch, hidden", batch, hidden)
    expect_shape("gru", "bias", bias, "hidden", hidden)
    expect_flags("gru", "mask", mask, batch, time)
    expect_flags("gru", "reset", reset, batch, time)
    out, dtype = x.dtype, computed_in(common_dtype("gru", x, weight, state, bias))
    path = choose("gru", backend, time, x, weight, state, bias)
    x, weight = x.to(dtype), weight.to(dtype)
    bias = None if bias is None else bias.to(dtype)
    h0 = x.new_zeros(batch, hidden) if state is None else state.to(dtype)
    if path == "numba" and x.numel() > 0:
        from seqmem.ops._gru_numba import scan

        h, final, *_ = scan(x, weight, h0, bias, reset_gate, mask, reset)
        return h.to(out), final
    h, final = gru_reference(x, weight, h0, bias, reset_gate, mask, reset)
    return h.to(out), final
