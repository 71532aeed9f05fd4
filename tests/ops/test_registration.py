"""The kernels as torch.library operators: what PyTorch itself checks of them, and torch.compile."""

import pytest
import torch
from torch import Tensor

from seqmem.ops import causal_conv, linear_scan, running_softmax, selective_scan, wkv
from seqmem.ops._causal_conv_numba import convolve
from seqmem.ops._linear_scan_numba import scan as diagonal
from seqmem.ops._running_softmax_numba import scan as softmax
from seqmem.ops._selective_scan_numba import scan as selective
from seqmem.ops._wkv_numba import scan as weighted

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
        (softmax, (x, _random(2, 5, 3, 4), h0, h0, _random(2, 3, 4), reset)),
        (weighted, (x, x, -A[:, 0].detach(), A[:, 1], h0, h0, h0, reset)),
        (convolve, (x, _random(3, 4), h0[0], _random(2, 3, 3), None)),
    ]
    for op, inputs in calls:
        torch.library.opcheck(op, inputs, test_utils=CHECKS)


@pytest.mark.parametrize("op", ["linear_scan", "selective_scan", "causal_conv", "running_softmax", "wkv"])
def test_compiles_into_one_graph(op: str) -> None:
    x, A, B, weight = _random(2, 5, 3), _random(3, 2), _random(2, 5, 2), _random(3, 4)

    def loss(x: Tensor) -> Tensor:
        call = {
            "linear_scan": lambda: linear_scan(x, x.sin(), log=True),
            "selective_scan": lambda: selective_scan(x, x, -A, B, B),
            "causal_conv": lambda: causal_conv(x, weight),
            "running_softmax": lambda: running_softmax(x, x[..., None].sin()),
            "wkv": lambda: wkv(x, x.sin(), -A[:, 0], A[:, 1]),
        }[op]
        y, final = call()
        return y.square().sum() + (final if isinstance(final, Tensor) else final[2]).sum()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    got, expected = compiled(x), loss(x)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(torch.autograd.grad(got, x), torch.autograd.grad(expected, x))
