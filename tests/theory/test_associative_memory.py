"""The outer-product memory against loops, and the fit against planted exponents."""

from __future__ import annotations

import math

import pytest
import torch

from seqmem.errors import InputError
from seqmem.theory import AssocMemory, fit_exponent, train_memory, unseen_mass, zipf
from seqmem.theory.associative_memory import room, thresholded


def memory(inputs: int = 30, width: int = 8, seed: int = 0) -> AssocMemory:
    generator = torch.Generator().manual_seed(seed)
    return AssocMemory(torch.randint(3, (inputs,), generator=generator), width, generator, answers=3)


def test_zipf() -> None:
    p = zipf(3, 2.0)
    assert p.tolist() == pytest.approx([36 / 49, 9 / 49, 4 / 49])
    assert zipf(1, 2.0).tolist() == [1.0]


def test_scores_and_error_against_loops() -> None:
    held, q, p = memory(), torch.rand(30, generator=torch.Generator().manual_seed(1)), zipf(30, 1.5)
    held.store(q)
    wrong = 0.0
    for x in range(30):
        scores = [
            sum(
                float(q[other]) * float(held.u[y] @ held.u[held.targets[other]]) * float(held.e[other] @ held.e[x])
                for other in range(30)
            )
            for y in range(3)
        ]
        assert held.scores()[x].tolist() == pytest.approx(scores, abs=1e-5)
        wrong += float(p[x]) * (max(range(3), key=scores.__getitem__) != int(held.targets[x]))
    assert held.error(p) == pytest.approx(wrong)


def test_few_associations_are_held_without_error_and_many_are_not() -> None:
    p = zipf(2000, 2.0)
    held = memory(2000, 256)
    kept = held.store(thresholded(p, 5)).scores().argmax(1)[:5]
    assert torch.equal(kept, held.targets[:5])
    assert held.store(torch.ones_like(p)).error(p) > 0.05


def test_thresholds() -> None:
    assert thresholded(torch.tensor([0.2, 0.5, 0.3]), 2).tolist() == [0, 1, 1]
    assert thresholded(torch.tensor([0.2, 0.8]), 9).tolist() == [1, 1]
    assert (room(1), room(64), room(512)) == (1, 15, 82)


def test_training_stores_more_than_frequencies_do() -> None:
    held, p = memory(100, 24), zipf(100, 2.0)
    before = held.store(p).error(p)
    assert train_memory(held, p, 300, torch.Generator().manual_seed(2)).error(p) < before


def test_unseen_mass_against_its_expectation() -> None:
    p, counts = zipf(50, 1.5), [1, 10, 100]
    draws = torch.tensor([unseen_mass(p, counts, torch.Generator().manual_seed(i)) for i in range(400)])
    expected = torch.stack([(p * (1 - p) ** count).sum() for count in counts])
    assert torch.allclose(draws.mean(0).double(), expected, atol=0.02)
    assert (draws[:, :-1] >= draws[:, 1:]).all()


@pytest.mark.parametrize("exponent", [-1.0, -0.25, 0.0, 2.0])
def test_planted_exponents_are_found(exponent: float) -> None:
    x = [1.0, 3.0, 10.0, 50.0]
    assert fit_exponent(x, [7 * value**exponent for value in x]) == pytest.approx(exponent, abs=1e-12)


def test_what_cannot_be_fitted() -> None:
    assert math.isnan(fit_exponent([1, 2], [1, 0]))
    for x, y in (([1], [1]), ([2, 2], [1, 1]), ([0, 1], [1, 1]), ([1, 2], [1])):
        with pytest.raises(InputError, match="two or more different positive x"):
            fit_exponent(x, y)


def test_bad_input() -> None:
    generator = torch.Generator()
    with pytest.raises(InputError, match="count is 0"):
        zipf(0, 2.0)
    with pytest.raises(InputError, match=r"targets is torch\.float32"):
        AssocMemory(torch.zeros(3), 4, generator)
    with pytest.raises(InputError, match="width is 0"):
        AssocMemory(torch.zeros(3, dtype=torch.long), 0, generator)
    with pytest.raises(InputError, match=r"targets lie in 0\.\.3; expected .* 0\.\.2"):
        AssocMemory(torch.arange(4), 4, generator, answers=3)
    with pytest.raises(InputError, match="one per input"):
        memory().store(torch.ones(4))
