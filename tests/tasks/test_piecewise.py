"""Predictors against their definitions, and the prior against what it says of itself."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.piecewise import (
    kt_log_probability,
    kt_predictions,
    log_loss,
    ptw_log_probability,
    ptw_predictions,
    sample_coins,
)


def test_kt_by_its_integral() -> None:
    """KT(x) is the Beta(1/2, 1/2) average of p^ones (1 - p)^zeros."""
    for ones, zeros in ((0, 0), (1, 0), (3, 2), (0, 6)):
        x = torch.tensor([[1] * ones + [0] * zeros])
        exact = math.lgamma(ones + 0.5) + math.lgamma(zeros + 0.5) - math.lgamma(ones + zeros + 1) - math.log(math.pi)
        assert float(kt_log_probability(x)) == pytest.approx(exact)


def test_online_ptw_is_the_definition() -> None:
    """Of all sequences of 8 symbols: the product of the predictions is the block's weight, and all weights sum to 1."""
    x = torch.tensor(list(itertools.product((0, 1), repeat=8)))
    weight = ptw_log_probability(x)
    torch.testing.assert_close(weight.exp().sum(), torch.tensor(1.0, dtype=torch.float64))
    torch.testing.assert_close(-log_loss(ptw_predictions(x), x).sum(1), weight, rtol=0, atol=1e-12)


def test_the_prior_changes_where_it_says(generator) -> None:
    """A block of 8 is split with probability 1/2; position 4 then begins a new bias, position 2 in a quarter."""
    bias = sample_coins(20_000, 8, generator).bias
    changed = (bias[:, 1:] != bias[:, :-1]).double().mean(0)
    assert changed[3] == pytest.approx(1 / 2, abs=0.015)
    assert changed[1] == pytest.approx(1 / 4, abs=0.015)
    assert changed[0] == pytest.approx(1 / 8, abs=0.015)
    assert bias.mean() == pytest.approx(0.5, abs=0.01)
    assert bias.var() == pytest.approx(1 / 8, abs=0.01)
    assert (sample_coins(5, 8, generator, changes="never").bias.diff(dim=1) == 0).all()
    regular = sample_coins(5, 40, generator, changes="regular", period=20).bias
    assert (regular[:, 19] != regular[:, 20]).all()


def test_each_predictor_is_best_on_its_own_prior(generator) -> None:
    still, moving = sample_coins(400, 32, generator, changes="never"), sample_coins(400, 32, generator)
    for coins, best, worse in ((still, kt_predictions, ptw_predictions), (moving, ptw_predictions, kt_predictions)):
        losses = [float(log_loss(f(coins.symbols), coins.symbols).sum(1).mean()) for f in (best, worse)]
        assert losses[0] < losses[1]
        assert float(log_loss(coins.bias, coins.symbols).nan_to_num(0).sum(1).mean()) < losses[0]


def test_wrong_input_is_named(generator) -> None:
    with pytest.raises(InputError, match="power of two"):
        sample_coins(2, 12, generator)
    with pytest.raises(InputError, match="changes is"):
        sample_coins(2, 8, generator, changes="often")
