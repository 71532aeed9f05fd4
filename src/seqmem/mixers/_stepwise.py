"""The loop over time for layers whose memory is nonlinear, so that nothing but a loop can compute them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from seqmem.errors import InputError

Memory = tuple[Tensor, ...]  # each batch first
Step = Callable[[Memory, Memory], tuple[Tensor, Memory]]  # (what the input gives at t, memory) -> (answer, memory)


def activation(nonlinearity: str, owner: str) -> Callable[[Tensor], Tensor]:
    """The function of that name; InputError where it is none of the two."""
    if nonlinearity not in ("tanh", "relu"):
        raise InputError(f"{owner}: nonlinearity is {nonlinearity!r}, expected 'tanh' or 'relu'")
    return torch.tanh if nonlinearity == "tanh" else torch.relu


def step_by_step(
    step: Step, given: Sequence[Tensor], memory: Memory, empty: Memory, mask: Tensor | None, reset: Tensor | None
) -> tuple[Tensor, Memory]:
    """``step`` at one position after the other.

    given: what the inputs contribute, computed beforehand for all positions, (batch, time, ...) each; memory, empty:
    the memory before the first position, and that of a new document; mask, reset: (batch, time) bool. Returns the
    answers (batch, time, ...) and the memory after the last position. Autocast is off inside: the rounding errors of a
    memory add up over time.
    """
    dtype, device = given[0].dtype, given[0].device
    memory, empty = (tuple(part.to(dtype) for part in parts) for parts in (memory, empty))
    time = given[0].shape[1]
    some_begin = [False] * time if reset is None else reset.any(0).tolist()
    some_pad = [False] * time if mask is None else (~mask).any(0).tolist()
    answers = []
    with torch.autocast(device.type, enabled=False):
        for t, now in enumerate(zip(*(part.unbind(1) for part in given), strict=True)):
            if reset is not None and some_begin[t]:
                memory = _choose(reset[:, t], empty, memory)
            answer, after = step(now, memory)
            memory = _choose(mask[:, t], after, memory) if mask is not None and some_pad[t] else after
            answers.append(answer)
        return torch.stack(answers, 1), memory


def _choose(flag: Tensor, yes: Memory, no: Memory) -> Memory:
    """Row by row: the parts of ``yes`` where ``flag`` (batch,) is True, else of ``no``."""
    return tuple(torch.where(flag.view(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(yes, no, strict=True))
