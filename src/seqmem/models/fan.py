"""Layers of an MLP that can be periodic. FAN: Fourier Analysis Networks (2024), arXiv 2410.02675."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError


class FANLayer(nn.Module):
    """phi(x) = [cos(W_p x) || sin(W_p x) || gelu(W_q x + b_q)]: a layer that can be periodic (FAN: Fourier Analysis
    Networks, 2024, arXiv 2410.02675).

    x: (..., inputs) -> (..., outputs), of which ``share`` (a quarter) are cosines and as many sines of the same
    frequencies, so that the layer has fewer weights than a linear one. ``gated``: [g cos || g sin || (1 - g) gelu] with
    g = sigmoid of one learned number, 1/2 at the start. Weights start as torch's linear maps do. It mixes channels, not
    positions: a piece of a network's feed-forward part, as ``SequenceConfig(mlp="fan")``.
    """

    def __init__(self, inputs: int, outputs: int, *, share: float = 0.25, gated: bool = False) -> None:
        super().__init__()
        waves = round(share * outputs) if 0 <= share <= 0.5 else 0
        if waves < 1 or inputs < 1 or outputs <= 2 * waves:
            raise InputError(
                f"FANLayer: inputs {inputs}, outputs {outputs}, share {share}; expected at least one input, one wave "
                "(share * outputs) and one output that is none"
            )
        self.waves = nn.Linear(inputs, waves, bias=False)  # W_p
        self.rest = nn.Linear(inputs, outputs - 2 * waves)  # W_q, b_q
        self.gate = nn.Parameter(torch.zeros(1)) if gated else None

    def forward(self, x: Tensor) -> Tensor:
        phase, rest = self.waves(x), F.gelu(self.rest(x))
        waves = torch.cat([phase.cos(), phase.sin()], -1)
        if self.gate is not None:
            g = torch.sigmoid(self.gate)
            waves, rest = g * waves, (1 - g) * rest
        return torch.cat([waves, rest.to(waves.dtype)], -1)


class FANNet(nn.Sequential):
    """``layers`` - 1 Fourier analysis layers of size ``hidden``, then a linear one: (..., inputs) -> (..., outputs).
    Options as in :class:`FANLayer`.
    """

    def __init__(
        self, inputs: int, outputs: int, *, hidden: int = 256, layers: int = 3, share: float = 0.25, gated: bool = False
    ) -> None:
        if layers < 1:
            raise InputError(f"FANNet: layers is {layers}, expected at least 1, the linear one")
        sizes = itertools.pairwise([inputs, *[hidden] * (layers - 1)])
        fourier = [FANLayer(before, after, share=share, gated=gated) for before, after in sizes]
        super().__init__(*fourier, nn.Linear(hidden if fourier else inputs, outputs))


class FANMLP(nn.Module):
    """``down(FANLayer(x))``, the feed-forward part of a layer. depth: layers of the stack; the output begins smaller by
    ``sqrt(2 depth)``, so that the stream does not grow with depth.
    """

    def __init__(self, width: int, hidden: int, depth: int = 1) -> None:
        super().__init__()
        self.up = FANLayer(width, hidden)
        self.down = nn.Linear(hidden, width, bias=False)
        nn.init.normal_(self.down.weight, std=(2 * depth * hidden) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.up(x))
