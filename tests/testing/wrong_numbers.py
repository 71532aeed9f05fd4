"""Layers that break points 6 to 8 (gradients, length, weights, precision, attention), or the call itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seqmem.mixers.state import map_state
from tests.testing.cases import wrong
from tests.testing.right import WIDTH, KeyValue, Leaky, LinearRead


@wrong(1, "equal to float32 precision only")
@wrong(6, "below float32 precision")
class SumsInSingle(Leaky):
    """A running sum in float32, whatever the dtype of x."""

    def forward(self, x: Tensor, state: Any = None, *, mask: Any = None, reset: Any = None) -> tuple[Tensor, Any]:
        start = self.initial_state(len(x))[0] if state is None else state[0]
        h = (x.float() / 7).cumsum(1) + start[:, None].float()
        return self.out(h.to(x.dtype)), (h[:, -1],)


@wrong(6, "final state; it is detached before it is returned", alone=True)
class DetachesFinal(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, state = super().forward(x, state, **flags)
        return y, map_state(Tensor.detach, state)


@wrong(6, "initial state; it is detached when it is read", alone=True)
class DetachesInitial(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        return super().forward(x, map_state(Tensor.detach, state), **flags)


class _HalfGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1.0

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return 0.99 * gradients[0]


@wrong(6, "weight 'value.weight'", alone=True)
class WrongBackwardOfAWeight(Leaky):
    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        keep = self.gate(x).sigmoid()
        return keep, (1 - keep) * nn.functional.linear(x, _HalfGradient.apply(self.value.weight), self.value.bias)


@wrong(6, "the backward pass is wrong", alone=True)
class WrongBackwardOfX(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        return super().forward(_HalfGradient.apply(x), state, **flags)


@wrong(6, "x through the state", alone=True)
class WrongBackwardOfTheState(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, state = super().forward(x, state, **flags)
        return y, map_state(_HalfGradient.apply, state)


@wrong(6, "y is not finite from position")
class Overflows(Leaky):
    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full_like(x, 1.05), self.value(x)


@wrong(6, "the recurrence is unstable")
class Explodes(Leaky):
    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full_like(x, 1.01), self.value(x)


@wrong(6, "is not finite over 4096 positions", alone=True)
class GradientOverflows(Leaky):
    """A root at zero, reached at length only: y stays finite, and its gradient does not."""

    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, state = super().forward(x, state, **flags)
        if x.shape[1] == 4096:
            y = y + (x[:, :1] * 0).abs().sqrt()
        return y, state


@wrong(7, "'rotation' is not in state_dict()", alone=True)
class HidesAWeight(Leaky):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.rotation = torch.randn(width, width) / width

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().parts(x @ self.rotation.to(x.dtype))


@wrong(7, "'scale' asks for gradients")
class TrainsAPlainTensor(Leaky):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.scale = torch.ones(width, requires_grad=True)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().parts(x * self.scale)


@wrong(7, "'cells[0].weight' asks for gradients")
class KeepsModulesInAList(Leaky):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.cells = [nn.Linear(width, width)]

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().parts(self.cells[0](x))


@wrong(7, "not in state_dict()", alone=True)
class DrawsInPython(Leaky):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.shift = float(torch.rand(()))

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().parts(x + self.shift)


@wrong(7, "under bfloat16 autocast")
class CannotMixPrecision(Leaky):
    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full_like(x, 0.5), torch.lerp(x, self.value(x), 0.5)


@wrong(8, "not the matrix behind y", alone=True)
class WrongMatrix(LinearRead):
    def attention(self, x: Tensor) -> Tensor:
        return super().attention(x).square()


@wrong(8, "lets position 0 read position 1", alone=True)
class MatrixLooksAhead(KeyValue):
    def attention(self, x: Tensor) -> Tensor:
        return self.weights(self.query(x), self.key(x), torch.ones(x.shape[1], x.shape[1], dtype=torch.bool))[:, None]


@wrong(8, "expected (2, heads, 21, 21)", alone=True)
class MatrixOfOneRow(KeyValue):
    def attention(self, x: Tensor) -> Tensor:
        return super().attention(x)[:, 0]


@wrong(8, "whatever matrix", alone=True)
class ReadsWithoutTheMatrix(LinearRead):
    def read(self, x: Tensor, attention: Tensor) -> Tensor:
        return self(x)[0]


@wrong(1, "expected the pair (y, state)")
class ReturnsOnlyY(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> Any:
        return super().forward(x, state, **flags)[0]


@wrong(1, "expected a tensor of the shape of x")
class ReturnsLess(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, state = super().forward(x, state, **flags)
        return y[:, -1], state


@wrong(1, "a state is made of tensors and tuples, found int")
class StateWithANumber(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        y, (h,) = super().forward(x, None if state is None else state[:1], **flags)
        return y, (h, 1)


@wrong(1, "raised RuntimeError: cannot read a single position")
class NeedsTwo(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        if x.shape[1] < 2:
            raise RuntimeError("cannot read\na single position")
        return super().forward(x, state, **flags)


@wrong(1, "new tensors should take the dtype of x")
class FixedDtype(Leaky):
    def forward(self, x: Tensor, state: Any = None, **flags: Any) -> tuple[Tensor, Any]:
        return super().forward(x + self.value(torch.zeros(WIDTH)), state, **flags)
