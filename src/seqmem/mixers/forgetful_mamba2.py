"""Mamba-2 that is made to forget, without training: decays to a power, smaller writes, a bounded state, or a window."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.mixers._matrix_memory import write_and_read
from seqmem.mixers._shared import at_padding, resume
from seqmem.mixers.mamba2 import Mamba2, Mamba2State


class Window(NamedTuple):
    """delayed: the memory ``window`` positions ago, (batch, heads, state_size, head). The latest ``window`` positions'
    key: (batch, window, heads, state_size); write: (batch, window, heads, head); log_decay: (batch, window, heads).
    """

    delayed: Tensor
    key: Tensor
    write: Tensor
    log_decay: Tensor


class ForgetfulState(NamedTuple):
    """memory, conv: as Mamba-2's. read: (batch,) int64, positions read. past: a :class:`Window`, or None."""

    memory: Tensor
    conv: Tensor
    read: Tensor
    past: Window | None


class ForgetfulMamba2(Mamba2):
    """The remedies against state collapse that need no training (Stuffed Mamba: State Collapse and State Capacity of
    RNN-Based Long-Context Modeling, 2024, arXiv 2410.07145); S_t = a_t S_{t-1} + B_t w_t^T of
    :class:`seqmem.mixers.mamba2.Mamba2`, whose other options and whose weights these are:

        forget k, insert m     S_t = a_t^k S_{t-1} + m B_t w_t^T
        limit p                after every ``every`` positions S <- S p / |S|, where a head's |S| is above p
        window r               y_t is read from S_t - (a_{t-r+1} ... a_t) S_{t-r}: the last r positions alone

    forget above 1 and insert below 1 forget more. limit: of the Frobenius norm of a head's state. A window and a limit
    exclude each other, and go without mask and reset. With a window the state holds S_t, S_{t-r} and what was written
    in between; its size is constant.

    forms: as Mamba-2's. Raises InputError for numbers that cannot be meant.
    """

    def __init__(
        self,
        width: int,
        *,
        forget: float = 1.0,
        insert: float = 1.0,
        limit: float | None = None,
        every: int = 128,
        window: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(width, **options)
        for name, value in (("forget", forget), ("insert", insert), ("limit", limit)):
            if value is not None and not value > 0:
                raise InputError(f"ForgetfulMamba2: {name} is {value}, expected above 0")
        for name, count in (("every", every), ("window", window)):
            if count is not None and (not isinstance(count, int) or count < 1):
                raise InputError(f"ForgetfulMamba2: {name} is {count!r}, expected a whole number of at least 1")
        if limit is not None and window is not None:
            raise InputError("ForgetfulMamba2: limit and window exclude each other; give one of them")
        self.forget, self.insert, self.limit, self.every, self.window = forget, insert, limit, every, window

    def initial_state(self, batch_size: int) -> ForgetfulState:  # type: ignore[override]
        """Zeros: nothing was read."""
        memory, conv = super().initial_state(batch_size)
        read, past = memory.new_zeros(batch_size, dtype=torch.int64), None
        if self.window is not None:
            shape = (batch_size, self.window, self.heads)
            key, write = memory.new_zeros(*shape, self.state_size), memory.new_zeros(*shape, self.head)
            past = Window(memory, key, write, memory.new_zeros(shape))
        return ForgetfulState(memory, conv, read, past)

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        state: ForgetfulState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, ForgetfulState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        if (mask is not None or reset is not None) and (self.limit is not None or self.window is not None):
            raise InputError("ForgetfulMamba2: mask and reset do not go with limit or window; give whole rows of text")
        state = resume(self, state, x)
        C, B, u, dt, z, conv = self._inputs(at_padding(x, mask, 0), state.conv, mask, reset)
        write, g = self.insert * dt[..., None] * u, self._log_decay(dt)
        past = state.past
        if past is not None:
            y, memory, past = self._windowed(C, B, write, g, state.memory, past, form)
        elif self.limit is not None:
            y, memory = self._limited(C, B, write, g, state, form)
        else:
            y, memory = write_and_read(C, B, write, g, None, state.memory, reset=reset, form=form)
        return self._close(y, u, z), ForgetfulState(memory, conv, state.read + x.shape[1], past)

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """(batch, heads, time, time), from an empty memory; a limit has none: it is not linear in what is written."""
        if self.limit is not None:
            raise InputError("ForgetfulMamba2 with a limit has no attention matrix: the limit is not linear")
        weights = self.insert * super().attention(x, mask=mask, reset=reset)
        return weights if self.window is None else weights.triu(1 - self.window)

    def _log_decay(self, dt: Tensor) -> Tensor:
        return self.forget * super()._log_decay(dt)

    def _windowed(
        self, C: Tensor, B: Tensor, write: Tensor, g: Tensor, memory: Tensor, past: Window, form: str
    ) -> tuple[Tensor, Tensor, Window]:
        """What is read from S_t less what S_{t-r} has left there: the recurrence once more, r positions late."""
        time, r = g.shape[1], past.log_decay.shape[1]
        key, wrote, decay = (
            torch.cat([old, new.to(old.dtype)], 1)
            for old, new in zip(past[1:], (B, write, g), strict=True)  # (batch, r + time, ...)
        )
        y, memory = write_and_read(C, B, write, g, None, memory, reset=None, form=form)
        total = decay.double().cumsum(1)
        left = (total[:, r:] - total[:, :time]).exp().to(C.dtype)  # a_{t-r+1} ... a_t: (batch, time, heads)
        k, w, a = key[:, :time], wrote[:, :time], decay[:, :time]  # of r positions ago
        old, delayed = write_and_read(C * left[..., None], k, w, a, None, past.delayed, reset=None, form=form)
        return y - old, memory, Window(delayed, key[:, time:], wrote[:, time:], decay[:, time:])

    def _limited(
        self, C: Tensor, B: Tensor, write: Tensor, g: Tensor, state: ForgetfulState, form: str
    ) -> tuple[Tensor, Tensor]:
        """Pieces that end where the count of positions is a multiple of ``every``; there the state is cut back."""
        limit, memory = self.limit or torch.inf, state.memory
        read, start, pieces = int(state.read[0]), 0, []
        while start < g.shape[1]:
            end = min(g.shape[1], start + self.every - (read + start) % self.every)
            t = slice(start, end)
            y, memory = write_and_read(C[:, t], B[:, t], write[:, t], g[:, t], None, memory, reset=None, form=form)
            pieces.append(y)
            if (read + end) % self.every == 0:
                size = memory.square().sum((-2, -1), keepdim=True).sqrt()
                memory = memory * (limit / size.clamp_min(torch.finfo(size.dtype).tiny)).clamp_max(1)
            start = end
        return torch.cat(pieces, 1), memory


def forgetful(mixer: Mamba2, options: dict[str, Any], remedies: dict[str, Any]) -> ForgetfulMamba2:
    """A layer with the weights of ``mixer`` (the same tensors), built with its ``options`` and the remedies."""
    if type(mixer) not in (Mamba2, ForgetfulMamba2):
        raise InputError(f"the remedies are for Mamba-2, this layer is a {type(mixer).__name__}")
    new = ForgetfulMamba2(mixer.width, **{**options, **remedies})
    new.load_state_dict(mixer.state_dict(keep_vars=True), assign=True)
    return new


__all__ = ["ForgetfulMamba2", "ForgetfulState", "Mamba2State", "Window", "forgetful"]
