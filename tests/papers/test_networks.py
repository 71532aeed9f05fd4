"""Networks that papers set up for their comparisons."""

from __future__ import annotations

import torch

from seqmem.models import parameter_count
from seqmem.papers import lightnet, relational_memory_core, retrieval_problem_depth, rwkv, titans
from seqmem.tasks.base import IGNORE
from seqmem.tasks.hops import Hops


def test_byte_models_beside_rwkv_have_its_number_of_weights() -> None:
    counts = [parameter_count(rwkv.config(arm, 64, 32)) for arm in rwkv.ARMS]
    assert max(counts) / min(counts) < 1.02
    kinds = [(layer["name"], layer["layer"], layer["depth"]) for layer in rwkv.rwkv_layers(2)]
    assert kinds == [("rwkv4", 0, 2), ("rwkv_channel_mix", 0, 2), ("rwkv4", 1, 2), ("rwkv_channel_mix", 1, 2)]


def test_the_lstm_beside_the_relational_memory_has_its_number_of_weights() -> None:
    sizes = [
        relational_memory_core._size(make())
        for make in (relational_memory_core._relational, relational_memory_core._lstm)
    ]
    assert max(sizes) / min(sizes) < 1.05


@torch.no_grad()
def test_four_directions_have_none(generator: torch.Generator) -> None:
    """A grid that is turned over or reflected gives the output turned over or reflected."""
    layer = lightnet.FourDirections(8).double()
    x = torch.randn(2, 5, 5, 8, generator=generator, dtype=torch.float64)
    y = layer(x)
    torch.testing.assert_close(layer(x.transpose(1, 2)), y.transpose(1, 2))
    torch.testing.assert_close(layer(x.flip(1, 2)), y.flip(1, 2))
    later = x.clone()
    later[:, -1, -1] += 1  # the last is seen by the first
    assert float((layer(later) - y)[:, 0, 0].abs().max()) > 1e-6


def test_the_stream_beside_titans_asks_what_its_present_map_says(generator: torch.Generator) -> None:
    batch = titans.stream(3, 4, generator)
    asked = 0
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        for t in range(0, len(inputs), 2):
            if t % titans.STRETCH == 0:
                known: dict[int, int] = {}
            assert targets[t] == known.get(inputs[t], IGNORE)
            assert targets[t + 1] == IGNORE
            known[inputs[t]] = inputs[t + 1]
            asked += targets[t] != IGNORE
    assert asked > 3 * 4 * 10


def test_heads_that_follow_links_are_looked_for_where_the_symbols_are(generator: torch.Generator) -> None:
    task = Hops((1, 2), chains=2, links=3)
    asked = task.ask_all(5, generator)
    found = retrieval_problem_depth.looks(task, asked)
    for row, text in enumerate(asked.inputs.tolist()):
        ends = range(1, task.context, 2)
        after = {text[j - 1]: (text[j], j) for j in ends}
        wanted: list[set[tuple[int, int]]] = [{(j, j - 1) for j in ends}, set(), set()]
        for t in range(task.context, len(text)):
            if text[t] not in after:
                continue
            between, link = after[text[t]]
            wanted[1].add((t, link))
            if between in after:
                earlier = {(t, j) for j in range(task.context, t) if text[j] == between}
                wanted[2] |= {(t, after[between][1])} | earlier
        for kind, places in zip(found, wanted, strict=True):
            assert {(t, j) for t, j in kind[row].nonzero().tolist()} == places
