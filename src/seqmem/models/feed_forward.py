"""The MLP of a transformer, gated or not, with the activation and the biases that its config names."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": torch.relu,
    "relu_squared": lambda x: torch.relu(x).square(),
}


class FeedForward(nn.Module):
    """``down(f(gate(x)) * up(x))`` with ``gated``, else ``down(f(up(x)))``; ``bias`` gives every map one.

    activation: a name of :data:`ACTIVATIONS`. depth: layers of the stack; the output begins smaller by
    ``sqrt(2 depth)``, as :class:`seqmem.models.block.SwiGLU`'s, which is the gated one with "silu" and no biases.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        depth: int = 1,
        activation: str = "gelu",
        *,
        gated: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise InputError(f"activation is {activation!r}, expected one of {', '.join(ACTIVATIONS)}")
        self.activation = activation
        self.gate = nn.Linear(width, hidden, bias=bias) if gated else None
        self.up = nn.Linear(width, hidden, bias=bias)
        self.down = nn.Linear(hidden, width, bias=bias)
        for linear in (self.gate, self.up, self.down):
            if linear is not None:
                scale = (2 * depth * hidden) ** -0.5 if linear is self.down else width**-0.5
                nn.init.normal_(linear.weight, std=scale)
                if linear.bias is not None:
                    nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, width) to the same."""
        f = ACTIVATIONS[self.activation]
        return self.down(f(self.up(x)) if self.gate is None else f(self.gate(x)) * self.up(x))
