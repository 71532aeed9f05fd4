"""Layers that break points 1 to 5: they cut, look ahead, mix rows, ignore flags, hide, grow or overwrite the state."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seqmem.mixers.state import map_state
from tests.testing.cases import wrong
from tests.testing.right import KeyValue, Leaky, LinearRead


@wrong(2, "the layer looks ahead")
class PeeksOne(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, state = super().forward(x, state, **flags)
        return y + 0.01 * torch.cat([x[:, 1:], x[:, -1:]], 1), state


@wrong(1, "when more follows in the same call")
@wrong(2, "position 0 changed when position")
class CentresOverTime(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        return super().forward(x - x.mean(1, keepdim=True), state, **flags)


@wrong(2, "in form 'parallel'")
class PeeksInOneForm(LinearRead):
    def forward(self, x: Tensor, state: Any = None, *, form: str = "auto", **flags: Any) -> tuple[Tensor, Any]:
        y, state = super().forward(x, state, form=form, **flags)
        return (y + 0.1 * x.flip(1) if form == "parallel" else y), state


@wrong(3, "training mode", alone=True)
class BatchNormalised(Leaky):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        return super().forward(self.norm(x.mT).mT, state, **flags)


@wrong(3, "mixes the rows")
class RowsAttend(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        return super().forward(x + 0.1 * x.mean(0, keepdim=True), state, **flags)


@wrong(3, "the batch size matters")
class DividesByBatch(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        return super().forward(x / len(x), state, **flags)


@wrong(3, "expected the batch first")
class TimeFirstState(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, (h,) = super().forward(x, None if state is None else (state[0][0],), **flags)
        return y, (h[None],)

    def initial_state(self, batch_size: int) -> Any:
        return super().initial_state(batch_size)


@wrong(1, "it is lost")
class ReturnsZeros(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, state = super().forward(x, state, **flags)
        return y, map_state(torch.zeros_like, state)


@wrong(1, "differs")
class ReturnsWhatItWasGiven(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        state = self.initial_state(len(x)) if state is None else state
        return super().forward(x, state, **flags)[0], state


@wrong(1, "it is ignored")
class IgnoresItsState(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        return super().forward(x, None, **flags)


@wrong(1, "it is not empty")
class StartsElsewhere(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        return super().forward(
            x, map_state(lambda h: h + 1, self.initial_state(len(x))) if state is None else state, **flags
        )


@wrong(1, "how the sequence is cut")
class CountsFromTheCut(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        return super().forward(x + torch.arange(x.shape[1])[:, None] * 0.01, state, **flags)


@wrong(1, "how the sequence is cut")
class ForgetsAtChunks(Leaky):
    """Empties its memory every 64 positions of a call."""

    def forward(
        self, x: Tensor, state: Any = None, *, reset: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        ends = (torch.arange(x.shape[1]) % 64 == 63).expand(x.shape[:2])
        return super().forward(x, state, mask=mask, reset=ends if reset is None else ends | reset)


@wrong(1, "the forms are not equal")
class FormsDisagree(LinearRead):
    def forward(self, x: Tensor, state: Any = None, *, form: str = "auto", **flags: Any) -> tuple[Tensor, Any]:
        y, state = super().forward(x, state, form=form, **flags)
        return (1.001 * y if form == "recurrent" else y), state


@wrong(3, "outside the state")
class HidesItsState(Leaky):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.hidden: Any = None

    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, self.hidden = super().forward(
            x, map_state(Tensor.detach, self.hidden) if self.hidden and len(self.hidden[0]) == len(x) else None, **flags
        )
        return y, ()


@wrong(3, "outside the state")
class HidesBehindAToken(Leaky):
    """Starts anew without a state, but with any state goes on from where the layer itself was last."""

    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, self.last = super().forward(x, None if state is None else self.last, **flags)
        return y, map_state(torch.zeros_like, self.last)


@wrong(3, "buffer 'seen' changed", alone=True)
class KeepsABuffer(Leaky):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        self.seen = self.seen + x.detach().sum()
        return super().forward(x, state, **flags)


@wrong(3, "random numbers in eval mode")
class RollsDice(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, state = super().forward(x, state, **flags)
        return y + 0.1 * torch.randn_like(y), state


@wrong(5, "changed the state it was given in place")
class WritesIntoItsState(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, (h,) = super().forward(x, state, **flags)
        if state is not None and not torch.is_grad_enabled():
            state[0].copy_(h)
        return y, (h,)


@wrong(5, "changed its input x in place")
class WritesIntoItsInput(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        if not torch.is_grad_enabled():
            x.mul_(0.5)
        return super().forward(x, state, **flags)


@wrong(4, "the mask is ignored", alone=True)
class IgnoresTheMask(Leaky):
    def forward(self, x: Tensor, state: Any = None, *, mask: Any = None, reset: Any = None) -> tuple[Tensor, Any]:
        return super().forward(x, state, reset=reset)


@wrong(4, "written to the memory or read")
class MasksOnlyItsAnswer(Leaky):
    def forward(self, x: Tensor, state: Any = None, *, mask: Any = None, reset: Any = None) -> tuple[Tensor, Any]:
        y, state = super().forward(x, state, reset=reset)
        return (y if mask is None else y * mask[..., None]), state


@wrong(4, "it takes up time", alone=True)
class DecaysInPadding(Leaky):
    """Padding is read as zeros: nothing leaks, and yet the memory fades."""

    def forward(self, x: Tensor, state: Any = None, *, mask: Any = None, reset: Any = None) -> tuple[Tensor, Any]:
        return super().forward(x if mask is None else x * mask[..., None], state, reset=reset)


@wrong(4, "y is not finite with padding", alone=True)
class DividesByReal(KeyValue):
    def weights(self, query: Tensor, key: Tensor, allowed: Tensor) -> Tensor:
        return (query @ key.mT).masked_fill(~allowed, -torch.inf).softmax(-1)


@wrong(4, "resets are ignored", alone=True)
class IgnoresResets(Leaky):
    def forward(self, x: Tensor, state: Any = None, *, mask: Any = None, reset: Any = None) -> tuple[Tensor, Any]:
        return super().forward(x, state, mask=mask)


@wrong(4, "a reset does not leave the memory empty")
class ResetsByHalf(Leaky):
    def forward(self, x: Tensor, state: Any = None, *, mask: Any = None, reset: Any = None) -> tuple[Tensor, Any]:
        (h,) = self.initial_state(len(x)) if state is None else state
        ys = []
        for t in range(x.shape[1]):
            if reset is not None:
                h = torch.where(reset[:, t, None], 0.5 * h, h)
            one = None if mask is None else mask[:, t : t + 1]
            y, (h,) = super().forward(x[:, t : t + 1], (h,), mask=one)
            ys.append(y)
        return torch.cat(ys, 1), (h,)


@wrong(4, "forward() does not accept mask; forward() does not accept reset", alone=True)
class TakesNoFlags(Leaky):
    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:  # type: ignore[override]
        return super().forward(x, state)


@wrong(5, "declared constant, but", alone=True)
class SaysConstant(KeyValue):
    memory = "constant"


@wrong(5, 'say memory = "constant"', alone=True)
class SaysLinear(Leaky):
    memory = "linear"


@wrong(5, 'expected memory = "constant" or "linear"', alone=True)
class SaysNothing(Leaky):
    memory = None  # type: ignore[assignment]


@wrong(5, "grows with every call")
class GrowsPerCall(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, (h,) = super().forward(x, None if state is None else state[:1], **flags)
        return y, (h, torch.ones(len(x), 1 if state is None else state[1].shape[1] + 1))
