"""The unitary network against scipy's exponential, and what only rotations can promise."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from seqmem.errors import InputError
from seqmem.mixers.unitary_rnn import UnitaryRNN, UnitaryRNNState, effect, similarity
from seqmem.testing import check_mixer


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


@pytest.mark.parametrize(("size", "rank"), [(4, None), (5, None), (5, 7)])
def test_a_cascade_is_plane_rotations_one_after_the_other(
    size: int, rank: int | None, generator: torch.Generator
) -> None:
    mixer = UnitaryRNN(3, size=size, rank=rank, rotation="cascade").double()
    x = torch.randn(1, 2, 3, generator=generator, dtype=torch.float64)
    for t in range(2):
        angles = iter(mixer.angles(x)[0, t].tolist())
        q = np.eye(size)
        for layer in range(size):
            for i in range(layer % 2, size - 1, 2):
                turn, angle = np.eye(size), next(angles, 0.0)
                turn[i : i + 2, i : i + 2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
                q = turn @ q
        assert next(angles, None) is None
        np.testing.assert_allclose(mixer.rotations(x)[0, t].detach().numpy(), q, rtol=0, atol=1e-12)


def test_cascades_hold_the_contract() -> None:
    check_mixer(lambda width: UnitaryRNN(width, size=5, rotation="cascade"), width=8, points=[1, 4, 6])


@pytest.mark.parametrize("rotation", ["exponential", "cascade"])
def test_reading_is_undone(rotation, generator: torch.Generator) -> None:  # type: ignore[no-untyped-def]
    mixer = UnitaryRNN(5, size=6, rotation=rotation).double()
    x = torch.randn(2, 40, 5, generator=generator, dtype=torch.float64)
    mask = torch.rand(2, 40, generator=generator) < 0.7
    before = UnitaryRNNState(torch.nn.functional.normalize(torch.randn(2, 6, generator=generator).double(), dim=1))
    after = mixer(x, before, mask=mask)[1]
    torch.testing.assert_close(mixer.undo(x, after, mask=mask).vector, before.vector, rtol=0, atol=1e-12)
    assert not torch.allclose(mixer.undo(x[:, 1:], after, mask=mask[:, 1:]).vector, before.vector, atol=1e-2)


def test_effect_and_similarity_of_a_plane_rotation() -> None:
    """A turn by an angle in one plane of n: |Q - I| = 2 sqrt(2) sin(angle / 2), <Q, I> / n = (n - 2 + 2 cos) / n."""
    mixer = UnitaryRNN(2, size=5, rank=1).double()
    x = torch.tensor([[[1.0, 0.0], [-2.0, 0.5]]], dtype=torch.float64)
    angle = mixer.angles(x)[0, :, 0]
    turns = mixer.rotations(x)[0]
    torch.testing.assert_close(effect(turns), 2 * 2**0.5 * (angle / 2).sin().abs())
    torch.testing.assert_close(similarity(turns, torch.eye(5, dtype=torch.float64)), (3 + 2 * angle.cos()) / 5)
    torch.testing.assert_close(similarity(turns, turns), torch.ones(2, dtype=torch.float64))


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="no rotation"):
        UnitaryRNN(8, size=1)
    with pytest.raises(InputError, match="rank is 7"):
        UnitaryRNN(8, size=4, rank=7)
    with pytest.raises(InputError, match="rotation is 'givens'"):
        UnitaryRNN(8, rotation="givens")  # type: ignore[arg-type]
