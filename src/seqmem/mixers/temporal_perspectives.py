"""Temporal perspectives:  P streams x^1 ... x^P through RWKV-4, each with a mu;  y_t = sum_i pi_t[i] LN(x^i_t)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._shared import at_padding, resume
from seqmem.mixers.base import Mixer
from seqmem.mixers.rwkv4 import RWKV4, RWKV4State
from seqmem.mixers.rwkv_channel_mix import RWKVChannelMix, RWKVChannelMixState
from seqmem.mixers.state import map_state


class RWKVBlockState(NamedTuple):
    """time, channel: of the two halves, with an axis for the perspectives: (batch, perspectives, ...)."""

    time: RWKV4State
    channel: RWKVChannelMixState


class RWKVBlock(nn.Module):
    """x + time mixing of LN(x), then x + channel mixing of LN(x), with ``views`` mixing vectors each."""

    def __init__(self, width: int, expand: float, layer: int, depth: int, views: int) -> None:
        super().__init__()
        self.time_norm = nn.LayerNorm(width)
        self.time = RWKV4(width, layer=layer, depth=depth, views=views)
        self.channel_norm = nn.LayerNorm(width)
        self.channel = RWKVChannelMix(width, expand=expand, layer=layer, depth=depth, views=views)

    def initial_state(self, rows: int) -> RWKVBlockState:
        """Nothing read, in so many rows."""
        return RWKVBlockState(self.time.initial_state(rows), self.channel.initial_state(rows))

    def forward(
        self, x: Tensor, state: RWKVBlockState, mask: Tensor | None, reset: Tensor | None, form: str
    ) -> tuple[Tensor, RWKVBlockState]:
        y, time = self.time(self.time_norm(x), state.time, mask=mask, reset=reset, form=form)
        x = x + y
        y, channel = self.channel(self.channel_norm(x), state.channel, mask=mask, reset=reset)
        return x + y, RWKVBlockState(time, channel)


class TemporalPerspectives(Mixer):
    """A stack of RWKV-4 blocks that reads the text in several perspectives at once, with all large matrices shared
    (Enhancing Transformer RNNs with Multiple Temporal Perspectives, 2024, arXiv 2402.02625).

    ``depth`` blocks of time and channel mixing (``expand``), a norm before and one after them, as in RWKV-4's network.
    Every perspective i has its own mixing vectors mu in every block, hence its own streams and its own state; weights,
    decay and bonus are shared. pi_t = softmax(W_c mean_i LN(x^i_t)). A linear head behind the layer gives what the
    paper's mixture of logits does. With ``perspectives`` 1 it is RWKV-4; :meth:`with_perspectives` makes more of a
    trained one, which at first give the same y, and :meth:`perspective_parameters` are those to train on then.

    form: "parallel" is the op ``wkv``, "recurrent" its loop in plain PyTorch; "auto" is "parallel".
    """

    forms: ClassVar[tuple[str, ...]] = ("parallel", "recurrent")

    def __init__(self, width: int, *, perspectives: int = 4, depth: int = 1, expand: float = 4.0) -> None:
        super().__init__(width)
        for option, count in (("perspectives", perspectives), ("depth", depth)):
            if count < 1:
                raise InputError(f"TemporalPerspectives: {option} is {count}, expected at least 1")
        self.perspectives, self.depth, self.expand = perspectives, depth, expand
        self.first_norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(RWKVBlock(width, expand, i, depth, perspectives) for i in range(depth))
        self.last_norm = nn.LayerNorm(width)
        self.router = nn.Linear(width, perspectives, bias=False) if perspectives > 1 else None

    def initial_state(self, batch_size: int) -> tuple[RWKVBlockState, ...]:
        """Nothing read, in any perspective."""
        blocks = cast("Iterable[RWKVBlock]", self.blocks)
        return tuple(self._grouped(block.initial_state(batch_size * self.perspectives)) for block in blocks)

    def forward(
        self,
        x: Tensor,
        state: tuple[RWKVBlockState, ...] | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, tuple[RWKVBlockState, ...]]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        streams = self.first_norm(at_padding(x, mask, 0))
        # every perspective is a row of the batch: (batch * perspectives, time, width)
        streams, rows_mask, rows_reset = (
            None if part is None else part.repeat_interleave(self.perspectives, 0) for part in (streams, mask, reset)
        )
        last = []
        for block, before in zip(self.blocks, state, strict=True):
            rows = map_state(lambda part: part.flatten(0, 1), before)
            streams, after = block(streams, rows, rows_mask, rows_reset, form)
            last.append(self._grouped(after))
        views = self.last_norm(streams).unflatten(0, (-1, self.perspectives))  # (batch, perspectives, time, width)
        if self.router is None:
            return views[:, 0], tuple(last)
        share = torch.softmax(self.router(views.mean(1)), -1)  # (batch, time, perspectives)
        return torch.einsum("btp,bptw->btw", share.to(views.dtype), views), tuple(last)

    def with_perspectives(self, perspectives: int) -> TemporalPerspectives:
        """A copy in which every perspective of this layer stands ``perspectives`` / ``self.perspectives`` times, and a
        new W_c: it gives the same y when this layer has one.
        """
        if perspectives < 1 or perspectives % self.perspectives:
            raise InputError(
                f"with_perspectives: {perspectives} asked for, expected a multiple of the {self.perspectives} there are"
            )
        more = TemporalPerspectives(self.width, perspectives=perspectives, depth=self.depth, expand=self.expand)
        copied = {
            name: weight.repeat(perspectives // self.perspectives, 1, 1) if name.endswith(".mu") else weight
            for name, weight in self.state_dict().items()
            if not name.startswith("router")
        }
        more.load_state_dict(copied, strict=False)
        return more.to(self.first_norm.weight)

    def perspective_parameters(self) -> Iterator[nn.Parameter]:
        """What a perspective has of its own: the mixing vectors of every block, and W_c."""
        for name, parameter in self.named_parameters():
            if name.endswith(".mu") or name.startswith("router"):
                yield parameter

    def _grouped(self, rows: RWKVBlockState) -> RWKVBlockState:
        return map_state(lambda part: part.unflatten(0, (-1, self.perspectives)), rows)
