"""Routing attention against loops over single queries, against plain attention, and what leaks where."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.errors import InputError
from seqmem.mixers.routing_transformer import RoutingTransformer
from seqmem.testing import check_mixer

TIME, WIDTH, HEADS, HEAD = 20, 8, 2, 4


def made(**options: Any) -> RoutingTransformer:
    torch.manual_seed(2)
    return RoutingTransformer(
        WIDTH, **{"heads": HEADS, "local_heads": 0, "clusters": 3, "window": 4, **options}
    ).double()


def noise(generator: torch.Generator, rows: int = 2, time: int = TIME) -> Tensor:
    return torch.randn(rows, time, WIDTH, dtype=torch.float64, generator=generator)


def nearest(layer: RoutingTransformer, x: Tensor, h: int) -> int:
    return max(range(layer.clusters), key=lambda c: (x @ layer.centroids[h, c] / x.norm()).item())


@pytest.mark.parametrize("options", [{}, {"shared": False}, {"norm": False, "window": 1}, {"clusters": 1}])
def test_a_query_reads_the_latest_of_its_cluster(options: dict[str, Any], generator: torch.Generator) -> None:
    layer, x = made(**options), noise(generator)
    query, key, value = layer._projected(x)
    y = layer(x)[0]
    for b in range(2):
        for t in range(TIME):
            heads = []
            for h in range(HEADS):
                own = nearest(layer, query[b, h, t], h)
                members = [j for j in range(t + 1) if nearest(layer, key[b, h, j], h) == own][-layer.window :]
                if layer.shared and len(members) > 1:
                    members.remove(t)
                if members:
                    share = (key[b, h, members] @ query[b, h, t] / HEAD**0.5).softmax(0)
                    heads.append(share @ value[b, h, members])
                else:
                    heads.append(torch.zeros(HEAD, dtype=torch.float64))
            torch.testing.assert_close(y[b, t], layer.out(torch.cat(heads)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("selection", ["latest", "top"])
def test_one_cluster_of_everything_is_plain_attention(selection: str, generator: torch.Generator) -> None:
    layer = made(clusters=1, window=TIME, shared=False, norm=False, selection=selection)
    x = noise(generator)
    query, key, value = layer.maps(x).unflatten(-1, (3, HEADS, HEAD)).permute(2, 0, 3, 1, 4)
    read = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    torch.testing.assert_close(layer(x)[0], layer.out(read.transpose(1, 2).flatten(2)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
def test_top_takes_the_most_similar_and_the_mean_over_clusters(shared: bool, generator: torch.Generator) -> None:
    layer, x = made(selection="top", shared=shared, window=9), noise(generator)
    reset = torch.zeros(2, TIME, dtype=torch.bool)
    reset[1, 8] = True
    document = reset.cumsum(1)
    query, key, value = layer._projected(x)
    y = layer(x, reset=reset)[0]
    for b in range(2):
        reads = torch.zeros(HEADS, TIME, HEAD, dtype=torch.float64)
        for h in range(HEADS):
            times = torch.zeros(TIME)
            for mu in layer.centroids[h]:
                asking, asked = (
                    set((F.normalize(part[b, h], dim=-1) @ mu).topk(9).indices.tolist()) for part in (query, key)
                )
                for t in asking:
                    members = [j for j in sorted(asked) if j <= t and document[b, j] == document[b, t]]
                    if shared and len(members) > 1:
                        members.remove(t)
                    if members:
                        share = (key[b, h, members] @ query[b, h, t] / HEAD**0.5).softmax(0)
                        reads[h, t] += share @ value[b, h, members]
                        times[t] += 1
            reads[h] /= times.clamp_min(1)[:, None]
        torch.testing.assert_close(y[b], layer.out(reads.transpose(0, 1).flatten(1)), rtol=0, atol=1e-12)


def test_top_leaks_by_membership_alone(generator: torch.Generator) -> None:
    """With members as they are nothing of the future is read: no slope. But a later token can take a place."""
    layer, x = made(selection="top"), noise(generator, 1)
    assert not layer.causal
    slope = torch.autograd.functional.jacobian(lambda x: layer(x)[0][0, :10].sum(), x)
    assert slope[0, :10].any()
    assert not slope[0, 10:].any()
    changed = x.clone()
    changed[0, 10:] = noise(generator, 1)[0, 10:]
    assert (layer(changed)[0][0, :10] - layer(x)[0][0, :10]).abs().max() > 1e-3
    latest = made()
    assert latest.causal
    assert torch.equal(latest(changed)[0][0, :10], latest(x)[0][0, :10])


@pytest.mark.parametrize(
    "options", [{"shared": False, "local_heads": 0}, {"clusters": 3, "window": 5, "heads": 1, "local_heads": 1}]
)
def test_the_contract_with_other_options(options: dict[str, Any]) -> None:
    check_mixer(functools.partial(RoutingTransformer, **options), width=8, points=(1, 4))


def test_the_state_is_what_each_cluster_read_last(generator: torch.Generator) -> None:
    layer, x = made(), noise(generator, 1)
    _, state = layer(x)
    cluster = layer.route(x)[1][0]
    key = layer._projected(x)[1][0]
    for h in range(HEADS):
        for c in range(3):
            members = (cluster[h] == c).nonzero()[-4:, 0]
            assert int(state.there[0, h, c].sum()) == len(members)
            torch.testing.assert_close(state.key[0, h, c, 4 - len(members) :], key[h, members])


def test_centroids_move_to_the_means_of_their_members(generator: torch.Generator) -> None:
    layer, x = made(decay=0.5), noise(generator)
    before = layer.centroids.clone()
    with torch.no_grad():
        layer.train()(x)
    layer.eval()(x)
    assert torch.equal(layer.centroids, before)
    far = layer.commitment(x)
    mask = torch.ones(2, TIME, dtype=torch.bool)
    mask[0, 3:] = False
    layer.train()(x, mask=mask)
    query = F.normalize(layer._projected(x)[0], dim=-1).transpose(0, 1)[:, mask]  # (heads, real, head)
    for h in range(HEADS):
        for c in range(3):
            members = torch.stack([q for q in query[h] if max(range(3), key=lambda i: q @ before[h, i]) == c])
            wanted = F.normalize(0.5 * before[h, c] + 0.5 * members.mean(0), dim=0)
            torch.testing.assert_close(layer.centroids[h, c], wanted)
    for _ in range(20):
        layer(x)
    assert layer.commitment(x) < far


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: RoutingTransformer(8, clusters=0), "0 clusters"),
        (lambda: RoutingTransformer(8, selection="best"), "'latest' or 'top'"),
        (lambda: RoutingTransformer(8, decay=2.0), "from 0 to 1"),
        (lambda: RoutingTransformer(9), "multiple of 4"),
        (lambda: made(selection="top")(torch.zeros(1, 2, 8).double(), form="recurrent"), "whole in one call"),
    ],
)
def test_bad_input_says_what_is_expected(call: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()
