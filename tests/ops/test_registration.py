"""The kernels as torch.library operators: what PyTorch itself checks of them, and torch.compile."""

import pytest
import torch
from torch import Tensor

from seqmem.ops import causal_conv, linear_scan, selective_scan
from seqmem.ops._causal_conv_numba import convolve
from seqmem.ops._linear_scan_numba import scan as diagonal
from seqmem.ops._selective_scan_numba import scan as selective

CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_static")


def _random(*sizes: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(sum(sizes))
    return torch.rand(*sizes, generator=generator, dtype=dtype, requires_grad=True)


def test_operators_keep_their_promises() -> None:
    x, h0, reset = _random(2, 5, 3), _random(2, 3), torch.tensor([[0, 0, 1, 0, 0]] * 2).bool()
    A, B, state = _random(3, 2), _random(2, 5, 2), _random(2, 3, 2)
    calls = [
        (diagonal, (x, x.mT.contiguous().mT, h0, reset, False)),
        (diagonal, (x, x, h0, None, True)),
        (selective, (x, x, A, B, B, state, reset, True)),
        (convolve, (x, _random(3, 4), h0[0], _random(2, 3, 3), None)),
    ]
    for op, inputs in calls:
        torch.library.opcheck(op, inputs, test_utils=CHECKS)


@pytest.mark.parametrize("op", ["linear_scan", "selective_scan", "causal_conv"])
def test_compiles_into_one_graph(op: str) -> None:
    x, A, B, weight = _random(2, 5, 3), _random(3, 2), _random(2, 5, 2), _random(3, 4)

    def loss(x: Tensor) -> Tensor:
        call = {
            "linear_scan": lambda: linear_scan(x, x.sin(), log=True),
            "selective_scan": lambda: selective_scan(x, x, -A, B, B),
            "causal_conv": lambda: causal_conv(x, weight),
        }[op]
        y, final = call()
        return y.square().sum() + final.sum()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    got, expected = compiled(x), loss(x)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(torch.autograd.grad(got, x), torch.autograd.grad(expected, x))
