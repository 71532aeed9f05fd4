"""The unitary network against scipy's exponential, and what only rotations can promise."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from seqmem.errors import InputError
from seqmem.mixers.unitary_rnn import UnitaryRNN


@pytest.mark.parametrize("rank", [None, 1, 7])
@pytest.mark.parametrize("form", ["parallel", "recurrent"])
def test_equal_to_products_of_exponentials(form: str, rank: int | None, generator: torch.Generator) -> None:
    mixer = UnitaryRNN(5, size=6, rank=rank).double()
    x = 3 * torch.randn(2, 11, 5, generator=generator, dtype=torch.float64)
    y, state = mixer(x, form=form)
    angles = mixer.angles(x).detach().numpy()
    for row in range(2):
        s = np.eye(6)[0]
        for t in range(11):
            a, left = np.zeros((6, 6)), iter(angles[row, t])
            for i in range(6):
                for j in range(i + 1, 6):
                    a[i, j] = next(left, 0.0)
            s = scipy.linalg.expm(a - a.T) @ s
            expected = mixer.out.weight.detach().numpy() @ s + mixer.out.bias.detach().numpy()
            np.testing.assert_allclose(y[row, t].detach().numpy(), expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(state.vector[row].detach().numpy(), s, rtol=0, atol=1e-12)


def test_nothing_is_lost_in_500_steps(generator: torch.Generator) -> None:
    mixer = UnitaryRNN(8, size=16)
    x = torch.randn(2, 500, 8, generator=generator)
    y, state = mixer(x, form="recurrent")
    parallel, _ = mixer(x, form="parallel")
    assert (state.vector.norm(dim=1) - 1).abs().max() < 1e-5
    torch.testing.assert_close(parallel, y, rtol=0, atol=1e-4)
    phrase = mixer.phrase(x)
    torch.testing.assert_close(phrase @ phrase.mT, torch.eye(16).expand(2, 16, 16), rtol=0, atol=1e-4)
    recovered = (phrase.mT @ state.vector[..., None])[..., 0]  # the phrase read backwards
    torch.testing.assert_close(recovered, mixer.initial_state(2).vector, rtol=0, atol=1e-4)


@pytest.mark.parametrize("time", [1, 2, 7, 8])
def test_a_phrase_is_the_product_of_its_halves(time: int, generator: torch.Generator) -> None:
    mixer = UnitaryRNN(8).double()
    x = torch.randn(2, time + 3, 8, generator=generator, dtype=torch.float64)
    halves = mixer.phrase(x[:, time:]) @ mixer.phrase(x[:, :time])
    torch.testing.assert_close(mixer.phrase(x), halves, rtol=0, atol=1e-12)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="no rotation"):
        UnitaryRNN(8, size=1)
    with pytest.raises(InputError, match="rank is 7"):
        UnitaryRNN(8, size=4, rank=7)
