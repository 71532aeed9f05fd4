"""Profiles of attention around an earlier occurrence, against loops and planted heads, and their fit to CMR."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqmem.cognition import cmr_distance, cmr_table, gaussian_distance, lag_profiles
from seqmem.errors import InputError
from seqmem.interp import attention_of
from seqmem.interp.scores import make_probe
from tests.interp.families import make
from tests.interp.planned import PLANS
from tests.interp.test_scores import planned


def test_profiles_are_those_of_the_matrices() -> None:
    model = make("gpt2")
    tokens = make_probe(model, "duplicate-token", 20, 4, torch.Generator().manual_seed(0)).tokens
    weights = attention_of(model, tokens)
    for row in lag_profiles(model, length=20, largest=3):
        for at, lag in enumerate(range(-3, 4)):
            told = [float(weights[row.layer][b, row.head, 20 + i, i + lag]) for b in range(4) for i in range(3, 17)]
            assert row.profile[at] == pytest.approx(sum(told) / len(told), rel=1e-4)


def test_planted_heads() -> None:
    found = {PLANS[row.head]: row for row in lag_profiles(planned())}
    assert found["induction"].profile.tolist() == pytest.approx([0] * 6 + [1] + [0] * 4)
    assert found["duplicate"].profile.tolist() == pytest.approx([0] * 5 + [1] + [0] * 5)
    assert found["induction"].score == pytest.approx(1)
    assert found["induction"].distance < 0.1  # recall in order, with encoding 1
    assert (found["induction"].encoding, found["induction"].gamma) == (1.0, 0.0)
    assert found["induction"].gaussian > 0.5  # a bell knows no direction
    assert found["nothing"].distance == float("inf")


def test_a_curve_of_the_table_is_found_again_whatever_its_scale() -> None:
    parameters, curves = cmr_table(5)
    assert curves.shape == (150, 11)
    for at in (3, 40, 77):
        distance, found = cmr_distance(0.01 + 0.3 * curves[at])
        assert distance < 1e-12
        assert np.allclose(curves[parameters.index(found)], curves[at], atol=1e-6)


def test_a_bell_is_a_bell() -> None:
    lags = np.arange(-5, 6)
    assert gaussian_distance(0.2 + np.exp(-0.5 * (lags / 2.0) ** 2)) < 0.01
    assert cmr_distance(np.where(lags == -3, 1.0, 0.0))[0] > 0.5  # a head that looks three back


def test_bad_input() -> None:
    with pytest.raises(InputError, match="three times"):
        lag_profiles(make("gpt2"), length=10)
    with pytest.raises(InputError, match="lags around 0"):
        cmr_distance(np.zeros(4))
