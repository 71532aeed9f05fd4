"""The channel of bits: its samples, its gradient, the loss written out, and that two agents come to agree."""

from __future__ import annotations

import math

import pytest
import torch

from seqmem.errors import InputError
from seqmem.models.speaker_listener import SpeakerListener, binary_sample


def test_samples_are_bits_of_the_right_probability(generator: torch.Generator) -> None:
    logits = torch.tensor([-2.0, 0.0, 1.5]).expand(20_000, 3)
    drawn = binary_sample(logits, generator)
    assert ((drawn == 0) | (drawn == 1)).all()
    torch.testing.assert_close(drawn.mean(0), logits[0].sigmoid(), rtol=0, atol=0.015)


def test_the_gradient_is_that_of_the_relaxed_sample() -> None:
    logits = torch.tensor([0.3, -1.2], dtype=torch.float64, requires_grad=True)
    binary_sample(logits, torch.Generator().manual_seed(4), 0.7).sum().backward()
    uniform = torch.rand(2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    relaxed = torch.sigmoid((logits.detach() + (uniform / (1 - uniform)).log()) / 0.7)
    torch.testing.assert_close(logits.grad, relaxed * (1 - relaxed) / 0.7)


def test_the_loss_is_cross_entropy_and_divergence() -> None:
    torch.manual_seed(0)
    network = SpeakerListener(7, 3, bits=4, hidden=5)
    x, y = torch.randint(7, (6, 8)), torch.randint(7, (6, 3))
    loss = network(x, y, torch.Generator().manual_seed(1), prior=0.25)
    z = binary_sample(network.speak(x), torch.Generator().manual_seed(1)).round()
    said = network.listen(z).log_softmax(-1)
    expected = 0.0
    for row in range(6):
        expected -= sum(float(said[row, i, y[row, i]].detach()) for i in range(3)) / 6
        for p in network.speak(x)[row].sigmoid().tolist():
            expected += 0.25 * (p * math.log(2 * p) + (1 - p) * math.log(2 - 2 * p)) / 6
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)


def test_two_agents_agree(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    network = SpeakerListener(4, 1, bits=6, hidden=16)
    x = torch.arange(4)[:, None]
    optimiser = torch.optim.Adam(network.parameters(), 0.03)
    for _ in range(400):
        rows = x.repeat(8, 1)
        loss = network(rows, rows, generator, prior=0.0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    codes = network.code(x)
    assert len(codes.unique(dim=0)) == 4
    assert network.understood(codes).equal(x)


def test_bad_input_says_so() -> None:
    with pytest.raises(InputError, match="bits 0"):
        SpeakerListener(5, 2, bits=0)
    with pytest.raises(InputError, match="bits = 8"):
        SpeakerListener(5, 2).listen(torch.zeros(1, 7))
