"""The sparse network neuron by neuron, against torch's dense modules, and what pruning leaves."""

from __future__ import annotations

from typing import Any

import networkx
import pytest
import torch
from torch import nn

from seqmem.errors import InputError
from seqmem.mixers.sparse_rnn import SparseRNN, random_layers
from seqmem.testing import check_mixer


@pytest.mark.parametrize("graph", ["barabasi_albert", "watts_strogatz"])
def test_layers_are_longest_paths(graph: str) -> None:
    into, layers = random_layers(graph, 40, 4, 0.5, seed=3)
    dag = networkx.DiGraph([(int(a), int(b)) for b, a in into.nonzero()])
    assert networkx.is_directed_acyclic_graph(dag)
    assert sorted(node for layer in layers for node in layer) == list(range(40))
    longest: dict[int, int] = {}
    for node in networkx.topological_sort(dag):
        longest[node] = max((longest[before] + 1 for before in dag.predecessors(node)), default=0)
    assert all(longest[node] == depth for depth, layer in enumerate(layers) for node in layer)


def test_equal_neuron_by_neuron(generator: torch.Generator) -> None:
    mixer = SparseRNN(5, nodes=9, seed=1).double()
    into, layers = random_layers("barabasi_albert", 9, 2, 0.5, seed=1)
    x = torch.randn(2, 6, 5, generator=generator, dtype=torch.float64)
    y, _ = mixer(x)
    before = {node: x.new_zeros(2) for node in range(9)}
    for t in range(6):
        now: dict[int, torch.Tensor] = {}
        earlier: list[int] = []
        for number, layer in enumerate(layers):
            w, u, b = (p[number] for p in (mixer.input_weights, mixer.recurrent_weights, mixer.biases))
            for place, node in enumerate(layer):
                total = b[place] + sum(u[place, k] * before[other] for k, other in enumerate(layer))
                if number == 0:
                    total = total + x[:, t] @ w[place]
                for column, source in enumerate(earlier):
                    if into[node, source]:
                        total = total + w[place, column] * now[source]
                now[node] = total.tanh()
            earlier += layer
        before = now
        sinks = [node for layer in layers for node in layer if not into[:, node].any()]
        torch.testing.assert_close(y[:, t], mixer.out(torch.stack([now[n] for n in sinks], 1)), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("cell", "module"), [("tanh", nn.RNN), ("relu", nn.RNN), ("lstm", nn.LSTM), ("gru", nn.GRU)])
def test_dense_and_pruned_it_is_torch_s_module(cell: Any, module: Any, generator: torch.Generator) -> None:
    mixer = SparseRNN(5, nodes=7, graph="dense", cell=cell)
    mixer.prune(0.6, "recurrent")
    theirs = module(5, 7, batch_first=True, **({"nonlinearity": "relu"} if cell == "relu" else {}))
    with torch.no_grad():
        w, u, b, c = theirs.all_weights[0]
        for mine, their in ((mixer.input_weights[0], w), (mixer.recurrent_weights[0], u), (mixer.biases[0], b)):
            their.copy_(mine)
        c.zero_()
        if cell == "gru":
            c[14:] = mixer.gru_biases[0]
    x = torch.randn(3, 8, 5, generator=generator)
    torch.testing.assert_close(mixer(x)[0], mixer.out(theirs(x)[0]), rtol=0, atol=1e-6)


def test_pruning_takes_the_smallest_and_they_stay_away() -> None:
    mixer = SparseRNN(6, nodes=10, graph="dense", cell="gru")
    weight = mixer.recurrent_weights[0]
    limit = weight.detach().abs().flatten().quantile(0.7).item()
    assert mixer.prune(0.7, "recurrent") == 180 + 90  # W as it was, 30 % of U
    assert ((weight != 0) == (weight.detach().abs() > limit)).all()
    gone = weight == 0
    optimiser = torch.optim.Adam(mixer.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        mixer(torch.randn(2, 5, 6))[0].square().sum().backward()
        assert weight.grad is not None
        assert not weight.grad[gone].any()
        optimiser.step()
    assert not weight[gone].any()
    other = SparseRNN(6, nodes=10, graph="dense", cell="gru")
    other.load_state_dict(mixer.state_dict())
    assert int(other.get_buffer("recurrent_mask_0").sum()) == 90
    assert mixer.prune(1.0) == 0
    x = torch.randn(1, 4, 6)
    assert torch.equal(mixer(x)[0], mixer(torch.zeros_like(x))[0])  # nothing of the input comes through


@pytest.mark.parametrize("cell", ["relu", "lstm", "gru"])
def test_other_cells_hold_the_contract(cell: Any) -> None:
    options: dict[str, Any] = {"graph": "watts_strogatz", "nodes": 6} if cell == "lstm" else {"nodes": 5}
    check_mixer(lambda width: SparseRNN(width, cell=cell, **options), width=8, points=[3, 4, 7])


@pytest.mark.parametrize("bad", [{"cell": "rnn"}, {"graph": "ring"}, {"nodes": 2}, {"degree": 0}, {"rewire": 2.0}])
def test_impossible_graphs_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="SparseRNN"):
        SparseRNN(8, **bad)
    with pytest.raises(InputError, match="share 2"):
        SparseRNN(8).prune(2)
