"""The functions have the periods that they say, and the places are where they say."""

from __future__ import annotations

import math

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.periodic import APERIODIC, PERIODIC, SPAN, function, places


@pytest.mark.parametrize("name", PERIODIC)
def test_they_come_again_after_their_period_and_not_before(name: str, generator: torch.Generator) -> None:
    x = places(400, generator, outer=3) + 0.01
    y, period = function(name)(x), PERIODIC[name][1]
    torch.testing.assert_close(function(name)(x + period), y, rtol=1e-9, atol=1e-9)
    for part in (2, 3, 5):
        assert float((function(name)(x + period / part) - y).abs().max()) > 0.1


def test_the_other_one_has_none(generator: torch.Generator) -> None:
    for f in APERIODIC.values():
        y = f(places(400, generator, inner=1, outer=2))
        assert float(y.abs().min()) > float(f(places(400, generator)).abs().max()) / 1.01


def test_values() -> None:
    x = torch.tensor([0.25, 7.0, math.pi / 2], dtype=torch.float64)
    assert function("sine")(x)[0].item() == pytest.approx(1)
    assert function("remainder")(x)[1].item() == 2
    assert function("nested")(x)[2].item() == pytest.approx(math.e)
    assert function("two_periods")(x)[2].item() == pytest.approx(1 + math.sin(math.pi / 3))
    assert function("cubic")(x)[1].item() == pytest.approx(343, rel=1e-5)


def test_places_are_uniform_between_their_bounds(generator: torch.Generator) -> None:
    x = places(4000, generator, inner=1, outer=4)
    assert x.shape == (4000, 1)
    far = x.abs() / SPAN
    assert 1 <= float(far.min()) < 1.01
    assert 3.99 < float(far.max()) < 4
    assert float(far.mean()) == pytest.approx(2.5, abs=0.06)
    assert float((x > 0).double().mean()) == pytest.approx(0.5, abs=0.04)


def test_mistakes_say_so(generator: torch.Generator) -> None:
    with pytest.raises(InputError, match=r"unknown function 'sin'\. Did you mean 'sine'"):
        function("sin")
    with pytest.raises(InputError, match="inner 2, outer 1"):
        places(3, generator, inner=2, outer=1)
