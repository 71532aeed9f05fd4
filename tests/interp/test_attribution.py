"""Relevance of tokens: against a planted copier, a hand-written roll-out, and what gradients say of one layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seqmem.errors import InputError
from seqmem.interp import attention_of, attribute
from tests.interp.families import draw, make
from tests.interp.test_attention import WITH, WITHOUT
from tests.interp.test_scores import planned


def _logit(token: int) -> Any:
    return lambda logits: logits[:, -1, token]


def test_a_planted_copier_points_at_its_source() -> None:
    tokens = torch.tensor([[5, 6, 7, 8, 9, 6]])  # 7 followed 6
    relevance = attribute(planned("induction"), tokens, _logit(7))
    assert relevance[0, :-1].argmax() == 2
    assert relevance[0, 2] > 10 * relevance[0, [0, 1, 3, 4]].sum()


def test_by_hand_for_two_layers_of_attention() -> None:
    model, tokens = make("gpt2").double(), draw()
    model.set_attn_implementation("eager")
    found = attribute(model, tokens, _logit(3))
    output = model(tokens, output_attentions=True)
    slopes = torch.autograd.grad(output.logits[:, -1, 3].sum(), output.attentions)
    lower, upper = ((a * g).clamp_min(0).mean(1) for a, g in zip(output.attentions, slopes, strict=True))
    eye = torch.eye(tokens.shape[1]).double()
    torch.testing.assert_close(found, ((eye + upper) @ (eye + lower))[:, -1].detach())
    plain = attribute(model, tokens, _logit(3), gradient=False)
    one, two = (a.mean(1) for a in attention_of(model, tokens).values())
    torch.testing.assert_close(plain, ((eye + two) @ (eye + one))[:, -1])


@pytest.mark.parametrize("name", WITH)
def test_every_family_gives_finite_relevance_of_the_past_alone(name: str) -> None:
    model, tokens = make(name), draw()
    found = attribute(model, tokens, lambda logits: logits[:, 4, 3], position=4)
    assert torch.isfinite(found).all()
    assert (found >= 0).all()
    assert found[:, 5:].abs().max() == 0
    assert found[:, :4].sum() > 0
    assert not any(parameter.grad is not None for parameter in model.parameters())


def test_bad_input() -> None:
    with pytest.raises(InputError, match="no exact attention matrix"):
        attribute(make(WITHOUT[0]), draw(), _logit(3))
    with pytest.raises(InputError, match="score gives shape"):
        attribute(make("gpt2"), draw(), lambda logits: logits)
