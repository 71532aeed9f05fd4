"""Recurrent networks with few connections: pruned, or the neurons of a random graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._elman import run_elman
from seqmem.mixers._packing import one_at_a_time
from seqmem.mixers._shared import at_padding, resume
from seqmem.mixers.base import Mixer
from seqmem.ops import gru, lstm

GATES = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3}  # what a cell computes for each neuron
GRAPHS = ("barabasi_albert", "watts_strogatz", "dense")


class SparseRNNState(NamedTuple):
    """hidden: (batch, nodes); cell: (batch, nodes) for cell="lstm", else (batch, 0)."""

    hidden: Tensor
    cell: Tensor


class SparseRNN(Mixer):
    """A recurrent network of which most connections are missing (Investigating Sparsity in Recurrent Neural Networks,
    2024, arXiv 2407.20601).

    A random graph of ``nodes`` neurons (default twice ``width``) is made acyclic by directing each edge along a random
    order of the nodes, and these are layered by the longest path that leads to them. Each layer is a recurrent layer of
    ``cell`` "tanh", "relu", "lstm" or "gru":

        h_t = f((W * mask_W) [h_t of all layers before] + (U * mask_U) h_{t-1} + b)

    mask_W are the edges of the graph, so that it skips layers where they do; x_t enters the first layer whole, and y_t
    is a linear map of the nodes that no edge leaves. ``graph``: "barabasi_albert" (each node joins ``degree`` others),
    "watts_strogatz" (a ring of ``degree`` neighbours, rewired with probability ``rewire``), "dense" (one layer, nothing
    missing). Within a layer U is full: what the paper says of recurrent connections allows other readings. ``seed``
    draws the graph.

    :meth:`prune` takes away the smallest weights for good: the masks are buffers, so that they are saved, and neither
    weights nor gradients pass where they are 0. Weights start uniform within 1 / sqrt(connections of the neuron).

    Form "auto" is "parallel", for any time: layer after layer, each by the kernel of its cell; "recurrent": all layers,
    position by position.
    """

    def __init__(
        self,
        width: int,
        *,
        nodes: int | None = None,
        cell: Literal["tanh", "relu", "lstm", "gru"] = "tanh",
        graph: Literal["barabasi_albert", "watts_strogatz", "dense"] = "barabasi_albert",
        degree: int = 2,
        rewire: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__(width)
        self.nodes = 2 * width if nodes is None else nodes
        if cell not in GATES:
            raise InputError(f"SparseRNN: cell is {cell!r}, expected one of {', '.join(GATES)}")
        self.cell = cell
        into, self.layers = random_layers(graph, self.nodes, degree, rewire, seed)
        self.sizes = [len(layer) for layer in self.layers]
        gates = GATES[cell]
        self.input_weights, self.recurrent_weights = nn.ParameterList(), nn.ParameterList()
        self.biases, self.gru_biases = nn.ParameterList(), nn.ParameterList()
        for number, layer in enumerate(self.layers):
            earlier = [node for other in self.layers[:number] for node in other]
            mask = into[layer][:, earlier].float() if number else torch.ones(len(layer), width)
            mask = mask.repeat(gates, 1)  # every gate of a neuron sees the same
            reach = (mask.sum(1) + len(layer)).rsqrt()[:, None]  # 1 / sqrt(connections)
            self.input_weights.append(nn.Parameter(_uniform(mask) * reach * mask))
            self.recurrent_weights.append(nn.Parameter(_uniform(torch.ones(len(mask), len(layer))) * reach))
            self.biases.append(nn.Parameter(_uniform(reach[:, 0]) * reach[:, 0]))
            if cell == "gru":
                self.gru_biases.append(nn.Parameter(_uniform(reach[: len(layer), 0]) * reach[: len(layer), 0]))
            self.register_buffer(f"input_mask_{number}", mask)
            self.register_buffer(f"recurrent_mask_{number}", torch.ones(len(mask), len(layer)))
        order = torch.tensor([node for layer in self.layers for node in layer])
        leaves = ~into.any(0)[order]  # no edge leaves them
        self.register_buffer("sinks", leaves.nonzero()[:, 0], persistent=False)
        self.sinks: Tensor
        self.out = nn.Linear(len(self.sinks), width)

    def initial_state(self, batch_size: int) -> SparseRNNState:
        """Zeros."""
        zero = self.out.weight.new_zeros
        return SparseRNNState(zero(batch_size, self.nodes), zero(batch_size, self.nodes if self.cell == "lstm" else 0))

    def forward(
        self,
        x: Tensor,
        state: SparseRNNState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, SparseRNNState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        if form == "recurrent":
            return one_at_a_time(self, x, state, mask, reset)
        x = at_padding(x, mask, 0).to(self.out.weight.dtype)
        hidden = state.hidden.split(self.sizes, 1)
        cells: Sequence[Tensor] = state.cell.split(self.sizes, 1) if self.cell == "lstm" else hidden
        with torch.autocast(x.device.type, enabled=False):
            outputs: list[Tensor] = []
            ends: list[tuple[Tensor, Tensor]] = []
            for number in range(len(self.layers)):
                seen = torch.cat(outputs, -1) if outputs else x
                h, *end = self._layer(number, seen, hidden[number], cells[number], mask, reset)
                outputs.append(h)
                ends.append((end[0], end[-1]))
            last = torch.cat([end[0] for end in ends], 1)
            cell = torch.cat([end[1] for end in ends], 1) if self.cell == "lstm" else state.cell
            return self.out(torch.cat(outputs, -1).index_select(-1, self.sinks)), SparseRNNState(last, cell)

    def _layer(
        self, number: int, x: Tensor, hidden: Tensor, cell: Tensor, mask: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Every h (batch, time, nodes of the layer), the last h and, for an LSTM, the last c."""
        w = self.input_weights[number] * self.get_buffer(f"input_mask_{number}")
        u = self.recurrent_weights[number] * self.get_buffer(f"recurrent_mask_{number}")
        b = self.biases[number]
        if self.cell in ("tanh", "relu"):
            weights, relu = (w, u, b, torch.zeros_like(b)), self.cell == "relu"
            return run_elman(x, hidden, weights, relu=relu, training=self.training, mask=mask, reset=reset)
        given = nn.functional.linear(x, w, b)
        if self.cell == "gru":
            return gru(given, u, hidden, bias=self.gru_biases[number], mask=mask, reset=reset)
        h, last = lstm(given, u, (hidden, cell), mask=mask, reset=reset)
        return h, last.hidden, last.cell

    @torch.no_grad()
    def prune(self, share: float, where: Literal["input", "recurrent", "both"] = "both") -> int:
        """Take away the ``share`` of smallest weights of each layer's W ("input"), U ("recurrent") or both, among those
        that are there. Returns how many weights are left in all. The output layer and biases stay.
        """
        if not 0 <= share <= 1 or where not in ("input", "recurrent", "both"):
            raise InputError(
                f"prune: share {share!r} and where {where!r}, expected 0 to 1 and 'input', 'recurrent' or 'both'"
            )
        left = 0
        for kind, weights in (("input", self.input_weights), ("recurrent", self.recurrent_weights)):
            for number, weight in enumerate(weights):
                mask = self.get_buffer(f"{kind}_mask_{number}")
                present = mask.flatten().nonzero()[:, 0]
                if where in (kind, "both"):
                    size = weight.flatten()[present].abs()
                    gone = size.argsort()[: round(share * len(present))]
                    mask.view(-1)[present[gone]] = 0
                    weight *= mask
                left += int(mask.sum())
        return left


def random_layers(graph: str, nodes: int, degree: int, rewire: float, seed: int) -> tuple[Tensor, list[list[int]]]:
    """The edges of an acyclic random graph, (nodes, nodes) bool, True at (to, from), and its nodes by the length of the
    longest path that leads to them.
    """
    import networkx

    if graph not in GRAPHS:
        raise InputError(f"SparseRNN: graph is {graph!r}, expected one of {', '.join(GRAPHS)}")
    if nodes < 1 or (graph != "dense" and not 1 <= degree < nodes) or not 0 <= rewire <= 1:
        raise InputError(
            f"SparseRNN: nodes {nodes}, degree {degree}, rewire {rewire}; expected 1 <= degree < nodes and 0 to 1"
        )
    into = torch.zeros(nodes, nodes, dtype=torch.bool)
    if graph == "dense":
        return into, [list(range(nodes))]
    if graph == "watts_strogatz":
        edges = networkx.watts_strogatz_graph(nodes, degree, rewire, seed=seed).edges
    else:
        edges = networkx.barabasi_albert_graph(nodes, degree, seed=seed).edges
    number = torch.randperm(nodes, generator=torch.Generator().manual_seed(seed)).tolist()
    for a, b in edges:
        low, high = sorted((number[a], number[b]))
        into[high, low] = True
    depth: list[int] = []
    for node in range(nodes):  # an edge comes from a lower number: its depth is known
        depth.append(max((depth[m] + 1 for m in into[node].nonzero()[:, 0].tolist()), default=0))
    return into, [[n for n in range(nodes) if depth[n] == d] for d in range(max(depth) + 1)]


def _uniform(like: Tensor) -> Tensor:
    return torch.empty_like(like).uniform_(-1, 1)
