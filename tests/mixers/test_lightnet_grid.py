"""LightNet on a grid: against sums over pairs of positions, the causal layer, and what its positions promise."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

from seqmem.errors import InputError
from seqmem.mixers.lightnet import LightNet
from seqmem.mixers.lightnet_grid import LightNetGrid, ToeplitzPositions


@pytest.mark.parametrize("lrpe", [False, True])
def test_equal_to_the_sum_over_all_pairs(lrpe: bool, generator: torch.Generator) -> None:
    layer = LightNetGrid(8, heads=2, tpe=False, lrpe=lrpe).double()
    x = torch.randn(1, 3, 4, 8, generator=generator, dtype=torch.float64)
    q, logits, v = layer.qkv(x).chunk(3, -1)
    q, k = F.silu(q), logits.exp() / logits.exp().sum((1, 2), keepdim=True)
    places = list(itertools.product(range(3), range(4)))
    for n in ((0, 0), (2, 1)):
        read = torch.zeros(8, dtype=torch.float64)
        for m in places:
            for h in range(2):
                part = slice(4 * h, 4 * h + 4)
                one, other = (torch.complex(*a[(0, *p)][part].view(2, 2)) for a, p in ((q, n), (k, m)))
                if layer.theta is not None:
                    offset = torch.tensor([n[0] - m[0], n[1] - m[1]], dtype=torch.float64)
                    one = one * torch.exp(1j * (offset @ layer.theta[:, h]))
                read[part] += (one * other.conj()).real.sum() * v[(0, *m)][part]
        expected = layer.out(layer.norm(read) * F.silu(layer.gate(x[(0, *n)])))
        torch.testing.assert_close(layer(x)[(0, *n)], expected, rtol=1e-10, atol=1e-12)


def test_at_the_last_position_of_a_line_it_is_the_causal_layer(generator: torch.Generator) -> None:
    causal, grid = LightNet(8, heads=2).double(), LightNetGrid(8, axes=1, heads=2, tpe=False, lrpe=False).double()
    grid.load_state_dict(causal.state_dict())
    x = torch.randn(3, 20, 8, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(grid(x)[:, -1], causal(x)[0][:, -1], rtol=1e-9, atol=1e-11)


def test_toeplitz_positions_are_sums_along_each_axis(generator: torch.Generator) -> None:
    layer = ToeplitzPositions(6, axes=3, heads=2).double()
    x = torch.randn(2, 2, 3, 4, 6, generator=generator, dtype=torch.float64)
    decay = torch.sigmoid(layer.rate).repeat_interleave(3)
    total = torch.zeros_like(x)
    for n in itertools.product(range(2), range(3), range(4)):
        for axis in range(3):
            for back in range(n[axis] + 1):
                m = [*n]
                m[axis] -= back
                total[(slice(None), *n)] += decay**back * layer.key * x[(slice(None), *m)]
    torch.testing.assert_close(layer(x), layer.out(layer.norm(layer.query * total)), rtol=1e-10, atol=1e-12)


def test_positions_matter_with_a_code_and_not_without(generator: torch.Generator) -> None:
    x = torch.randn(1, 16, 8, generator=generator, dtype=torch.float64)
    order = torch.randperm(16, generator=generator)
    for tpe, lrpe in itertools.product([False, True], repeat=2):
        layer = LightNetGrid(8, tpe=tpe, lrpe=lrpe).double()
        straight = layer(x.view(1, 4, 4, 8)).flatten(1, 2)[:, order]
        dealt = layer(x[:, order].view(1, 4, 4, 8)).flatten(1, 2)
        assert (float((straight - dealt).detach().abs().max()) < 1e-12) == (not tpe and not lrpe)


def test_gradients_agree_with_finite_differences(generator: torch.Generator) -> None:
    layer = LightNetGrid(4, heads=1).double()
    x = torch.randn(1, 2, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))


def test_mistakes_say_so() -> None:
    with pytest.raises(InputError, match="axes is 0"):
        LightNetGrid(8, axes=0)
    with pytest.raises(InputError, match=r"shape \(1, 4, 8\), expected \(batch, 2 axes, width 8\)"):
        LightNetGrid(8)(torch.zeros(1, 4, 8))
    with pytest.raises(InputError, match="heads of size 3"):
        LightNetGrid(6)
