"""Scores against their formulas, written out; distributions against what defines them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.models import AlignedSeq2Seq, Alignment
from seqmem.models.alignment import DISTRIBUTIONS, SCORES, logistic, sparsemax

WIDTH = 6


def phi(x: Tensor) -> Tensor:
    return torch.where(x > 0, x + 1, x.exp())


FORMULAS: dict[str, Any] = {
    "cosine": lambda m, q, k: (q * k).sum() / math.sqrt(float((q * q).sum() * (k * k).sum())),
    "dot": lambda m, q, k: (q * k).sum(),
    "scaled_dot": lambda m, q, k: (q * k).sum() / math.sqrt(WIDTH),
    "general": lambda m, q, k: q @ m.turn.weight @ k,
    "biased_general": lambda m, q, k: k @ (m.turn.weight @ q + m.turn.bias),
    "activated_general": lambda m, q, k: torch.tanh(q @ m.general.turn.weight @ k + m.bias),
    "kernel": lambda m, q, k: (phi(q) * phi(k)).sum(),
    "additive": lambda m, q, k: (
        m.out.weight[0]
        @ torch.tanh(torch.cat([m.of_query.weight, m.of_key.weight], 1) @ torch.cat([q, k]) + m.of_query.bias)
    ),
    "deep": lambda m, q, k: (
        m.out.weight[0]
        @ torch.tanh(
            m.between.weight @ torch.tanh(m.of_query.weight @ q + m.of_key.weight @ k + m.of_query.bias)
            + m.between.bias
        )
    ),
    "feature": lambda m, q, k: m.out.weight[0] @ torch.tanh(m.of_key.weight @ k + m.of_key.bias),
}


def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    q = torch.randn(2, 3, WIDTH, generator=generator, dtype=torch.float64)
    return q, torch.randn(2, 5, WIDTH, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", SCORES)
@torch.no_grad()
def test_a_score_is_its_formula(name: str, generator: torch.Generator) -> None:
    score, (q, keys) = SCORES[name](WIDTH).double(), draw(generator)
    for parameter in score.parameters():
        parameter.normal_(generator=generator)
    found = score(q, keys)
    assert found.shape == (2, 3, 5)
    for b in range(2):
        for i in range(3):
            for j in range(5):
                if name == "location":
                    wanted = (score.place.weight @ q[b, i] + score.place.bias)[j]
                else:
                    wanted = FORMULAS[name](score, q[b, i], keys[b, j])
                torch.testing.assert_close(found[b, i, j], torch.as_tensor(wanted).double())


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("score", SCORES)
def test_any_score_with_any_distribution(score: str, distribution: str, generator: torch.Generator) -> None:
    q, keys = (x.float() for x in draw(generator))
    mask = torch.tensor([[True] * 5, [False, True, True, True, False]])
    weights, log_prob = Alignment(WIDTH, score, distribution)(q, keys, mask, generator)
    assert weights.shape == (2, 3, 5)
    assert (weights >= 0).all()
    assert (weights[1, :, [0, 4]] == 0).all()
    if distribution != "logistic":
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3))
    assert (log_prob is not None) == (distribution == "hard")


def test_sparsemax_is_the_nearest_point(generator: torch.Generator) -> None:
    """tau by bisection: the root of sum max(s - tau, 0) = 1."""
    scores = 2 * torch.randn(50, 7, generator=generator, dtype=torch.float64)
    low, high = scores.amax(-1) - 1, scores.amax(-1)
    for _ in range(60):
        tau = (low + high) / 2
        over = (scores - tau[:, None]).clamp_min(0).sum(-1) > 1
        low, high = torch.where(over, tau, low), torch.where(over, high, tau)
    found = sparsemax(scores)
    torch.testing.assert_close(found, (scores - tau[:, None]).clamp_min(0))
    assert (found == 0).any()
    loud = sparsemax(1000 * torch.randn(200, 40, generator=generator))
    assert (loud.sum(-1) - 1).abs().max() < 1e-6
    close = sparsemax(1000 + 0.1 * torch.randn(200, 40, generator=generator))
    assert (close.sum(-1) - 1).abs().max() < 1e-6
    torch.testing.assert_close(logistic(torch.tensor([0.0, math.log(3)])), torch.tensor([0.5, 0.75]))


def test_hard_attention_and_its_gradient(generator: torch.Generator) -> None:
    """REINFORCE in the mean: the gradient of the expected reward, which a softmax gives exactly."""
    keys = torch.randn(1, 4, WIDTH, generator=generator)
    q = torch.randn(1, 1, WIDTH, generator=generator, requires_grad=True)
    reward = torch.tensor([3.0, -1.0, 0.5, 2.0])
    (exact,) = torch.autograd.grad(Alignment(WIDTH, "dot")(q, keys).weights[0, 0] @ reward, q)
    many, hard = 20_000, Alignment(WIDTH, "dot", "hard")
    weights, log_prob = hard(q.expand(1, many, WIDTH), keys, None, generator)
    assert set(weights.unique().tolist()) == {0.0, 1.0}
    assert (weights.sum(-1) == 1).all()
    assert log_prob is not None
    (estimate,) = torch.autograd.grad(((weights @ reward) * log_prob).mean(), q)
    torch.testing.assert_close(estimate, exact, atol=0.1, rtol=0.05)
    likeliest = hard.eval()(q, keys).weights[0, 0].argmax()
    assert likeliest == Alignment(WIDTH, "dot")(q, keys).weights[0, 0].argmax()


@torch.no_grad()
def test_a_window_around_a_predicted_centre(generator: torch.Generator) -> None:
    q, keys = draw(generator)
    local = Alignment(WIDTH, "dot", window=3.0).double()
    found, plain = local(q, keys).weights, Alignment(WIDTH, "dot")(q, keys).weights
    assert local.centre is not None
    for i in range(3):
        p = 5 / (1 + math.exp(-float(local.centre(q[0, i]))))
        wanted = [float(plain[0, i, s]) * math.exp(-((s - p) ** 2) / (2 * 1.5**2)) for s in range(5)]
        assert found[0, i].tolist() == pytest.approx(wanted)


def test_bad_input(generator: torch.Generator) -> None:
    q, keys = draw(generator)
    for wrong, message in (
        ({"score": "adittive"}, "Did you mean 'additive'"),
        ({"distribution": "soft"}, "unknown distribution"),
        ({"window": 0.0}, "window is 0.0"),
        ({"window": 2.0, "distribution": "hard"}, "not with 'hard'"),
    ):
        with pytest.raises(InputError, match=message):
            Alignment(WIDTH, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected \\(batch, queries"):
        Alignment(WIDTH)(q[0], keys[0])
    with pytest.raises(InputError, match="places for 4"):
        Alignment(WIDTH, "location", positions=4).double()(q, keys)
    with pytest.raises(InputError, match="vocab_size is 0"):
        AlignedSeq2Seq(0)


@pytest.mark.parametrize("mixer", ["gru", "mamba"])
def test_decoding_says_what_reading_finds_likeliest(mixer: str, generator: torch.Generator) -> None:
    torch.manual_seed(0)
    model = AlignedSeq2Seq(7, 8, alignment=Alignment(8, "additive"), mixer=mixer).eval()
    source = torch.randint(7, (3, 5), generator=generator)
    said, weights = model.decode(source, 6)
    assert torch.equal(model(source, said).argmax(-1), said)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 6))
    plain, even = AlignedSeq2Seq(7, 8).eval().decode(source, 2)
    assert plain.shape == (3, 2)
    torch.testing.assert_close(even, torch.full((3, 2, 5), 0.2))


@pytest.mark.parametrize("score", ["additive", None])
def test_padding_of_the_source_is_as_if_it_were_not_there(score: str | None, generator: torch.Generator) -> None:
    torch.manual_seed(0)
    model = AlignedSeq2Seq(7, 8, alignment=None if score is None else Alignment(8, score)).eval()
    source, target = (torch.randint(7, (2, time), generator=generator) for time in (6, 4))
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    logits = model(source, target, mask)
    torch.testing.assert_close(logits[1:], model(source[1:, :4], target[1:]))
    torch.testing.assert_close(logits[:1], model(source[:1], target[:1]))
    said, weights = model.decode(source, 3, mask)
    assert torch.equal(said[1:], model.decode(source[1:, :4], 3)[0])
    assert not weights[1, :, 4:].any()
