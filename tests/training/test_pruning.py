"""Pruning against torch's own, and what training does to what was taken away."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from seqmem.errors import InputError
from seqmem.training.pruning import prune_smallest


@pytest.mark.parametrize("share", [0.0, 0.35, 0.9, 1.0])
def test_the_smallest_go_as_torch_says(share: float) -> None:
    ours, theirs = nn.Linear(10, 7), nn.Linear(10, 7)
    theirs.load_state_dict(ours.state_dict())
    pruned = prune_smallest({"w": ours.weight}, share)
    prune.l1_unstructured(theirs, "weight", share)
    assert torch.equal(ours.weight, theirs.weight)
    assert pruned.left == int(theirs.get_buffer("weight_mask").sum()) == 70 - round(70 * share)


def test_what_is_gone_stays_away_also_under_momentum(generator: torch.Generator) -> None:
    lstm = nn.LSTM(3, 8, batch_first=True)
    optimiser = torch.optim.Adam(lstm.parameters(), lr=0.1)

    def step() -> None:
        optimiser.zero_grad()
        lstm(torch.randn(2, 5, 3, generator=generator))[0].sum().backward()
        optimiser.step()

    step()
    pruned = prune_smallest({n: p for n, p in lstm.named_parameters() if "weight_hh" in n}, 0.7)
    gone = ~pruned.masks["weight_hh_l0"]
    handle = optimiser.register_step_post_hook(lambda *_: pruned.enforce())
    kept = lstm.weight_hh_l0.detach()[~gone].clone()
    step()
    assert not lstm.weight_hh_l0[gone].any()
    assert (lstm.weight_hh_l0[~gone] != kept).all()
    handle.remove()
    step()
    assert lstm.weight_hh_l0[gone].any()  # Adam's momentum, from before
    pruned.enforce()
    pruned.release()
    step()
    assert lstm.weight_hh_l0[gone].any()


def test_impossible_shares_are_refused() -> None:
    with pytest.raises(InputError, match=r"share 1\.5 of 1 weights"):
        prune_smallest({"w": nn.Parameter(torch.ones(2))}, 1.5)
    with pytest.raises(InputError, match="of 0 weights"):
        prune_smallest({}, 0.5)
