"""Importance of heads: the gradient of a mask, against autograd and finite differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.errors import InputError
from seqmem.interp import ablate_heads, head_importance, intervene, single_ablations, without_least
from tests.interp.families import draw, make


def loss_of(model: Any, tokens: Tensor) -> Tensor:
    return F.cross_entropy(model(tokens[:, :-1]).logits.mT, tokens[:, 1:], reduction="none").mean(1)


@pytest.mark.parametrize("name", ["gpt2", "llama", "mamba2", "attention", "retention", "delta_net"])
def test_it_is_the_gradient_of_a_mask(name: str) -> None:
    model, tokens = make(name).double(), draw(3)
    rows = head_importance(model, [tokens[:2], tokens[2:]], loss_of)
    for layer in (0, 1):
        heads = [row for row in rows if row.layer == layer]
        told = torch.zeros(len(heads)).double()
        for row in range(3):  # example by example, through an explicit factor
            mask = torch.ones(len(heads), dtype=torch.float64, requires_grad=True)
            with intervene(model, {f"layers.{layer}.heads.out": lambda x, mask=mask: x * mask[:, None]}):
                loss = loss_of(model, tokens[row : row + 1]).sum()
            told += torch.autograd.grad(loss, mask)[0].abs() / 3
        assert [row.importance for row in heads] == pytest.approx(told.tolist(), rel=1e-5, abs=1e-9)
        assert [row.scaled for row in heads] == pytest.approx((told / told.norm()).tolist(), rel=1e-5)


def test_small_masks_agree_with_differences_and_the_least_are_chosen() -> None:
    model, tokens = make("gpt2").double(), draw(1)
    rows = head_importance(model, [tokens], loss_of)
    step = 1e-5
    for row in rows:
        factor = torch.ones(4).double()
        values = []
        for sign in (1, -1):
            factor[row.head] = 1 + sign * step
            with (
                torch.no_grad(),
                intervene(model, {f"layers.{row.layer}.heads.out": lambda x, by=factor: x * by[:, None]}),
            ):
                values.append(float(loss_of(model, tokens).sum()))
        assert row.importance == pytest.approx(abs(values[0] - values[1]) / (2 * step), rel=1e-4)
    least = without_least(rows, 0.25)
    lowest = sorted(rows, key=lambda row: row.scaled)[:2]
    assert {(layer, head) for layer, heads in least.items() for head in heads} == {(r.layer, r.head) for r in lowest}
    rises = single_ablations(model, [tokens], loss_of, rows[:1])
    with torch.no_grad(), ablate_heads(model, {0: [0]}):
        without = loss_of(model, tokens)
    assert rises[0] == pytest.approx(float(without - loss_of(model, tokens)))
    assert not any(parameter.grad is not None for parameter in model.parameters())


def test_bad_input() -> None:
    model, tokens = make("gpt2"), draw()
    with pytest.raises(InputError, match="one number for each of 2"):
        head_importance(model, [tokens], lambda m, x: loss_of(m, x).mean())
    with pytest.raises(InputError, match="no batch"):
        head_importance(model, [], loss_of)
    with pytest.raises(InputError, match="from 0 to 1"):
        without_least([], 2.0)
