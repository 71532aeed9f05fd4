"""The kernels as torch.library operators: what PyTorch itself checks of them, and torch.compile."""

import os
import subprocess
import sys

import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor

from seqmem.ops import (
    causal_conv,
    delta_rule,
    gated_linear_attention,
    generalized_delta_rule,
    gru,
    linear_scan,
    lstm,
    running_softmax,
    selective_scan,
    slstm,
    ssd,
    wkv,
)
from seqmem.ops._causal_conv_numba import convolve
from seqmem.ops._delta_rule import scan as delta
from seqmem.ops._generalized_delta import scan as general
from seqmem.ops._gru_numba import scan as gated
from seqmem.ops._linear_attention import scan as attention
from seqmem.ops._linear_scan_numba import scan as diagonal
from seqmem.ops._lstm_numba import scan as long_short
from seqmem.ops._running_softmax_numba import scan as softmax
from seqmem.ops._selective_scan_numba import scan as selective
from seqmem.ops._slstm_numba import scan as exponential
from seqmem.ops._wkv_numba import scan as weighted

MATRIX = ("ssd", "gated_linear_attention", "delta_rule")
CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_static")


def _random(*sizes: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(sum(sizes))
    return torch.rand(*sizes, generator=generator, dtype=dtype, requires_grad=True)


def test_operators_keep_their_promises() -> None:
    x, h0, reset = _random(2, 5, 3), _random(2, 3), torch.tensor([[0, 0, 1, 0, 0]] * 2).bool()
    A, B, state = _random(3, 2), _random(2, 5, 2), _random(2, 3, 2)
    q, v, g, s0 = _random(2, 5, 2, 3), _random(2, 5, 2, 5), _random(2, 5, 2), _random(2, 2, 3, 5)
    calls = [
        (diagonal, (x, x.mT.contiguous().mT, h0, reset, False)),
        (diagonal, (x, x, h0, None, True)),
        (selective, (x, x, A, B, B, state, reset, True)),
        (softmax, (x, _random(2, 5, 3, 4), h0, h0, _random(2, 3, 4), reset)),
        (weighted, (x, x, -A[:, 0].detach(), A[:, 1], h0, h0, h0, reset)),
        (attention, (q, q.sin().detach(), v, -g[..., None].detach(), s0, reset)),
        (attention, (q, q, v, -q.detach().abs(), s0, None)),
        (delta, (q, q.detach(), v, g, None, s0, reset)),
        (delta, (q, q.detach(), v, g, -g.detach(), s0, None)),
        (convolve, (x, _random(3, 4), h0[0], _random(2, 3, 3), None)),
        (long_short, (_random(2, 5, 12), _random(12, 3), h0, h0, _random(3, 3), [1.0, 1, 0, 1, 1, 1], None, reset)),
        (gated, (_random(2, 5, 9), _random(9, 3), h0, None, True, None, reset)),
        (exponential, (_random(2, 5, 2, 4, 3), _random(2, 12, 3), *_random(4, 2, 2, 3).unbind(), False, None, reset)),
        (general, (q, q, v, -q, q, -q.detach().abs(), s0, reset)),
    ]
    for op, inputs in calls:
        torch.library.opcheck(op.library, inputs, test_utils=CHECKS)


@pytest.mark.parametrize(
    "op",
    ["linear_scan", "selective_scan", "causal_conv", "running_softmax", "wkv", *MATRIX, "generalized_delta_rule",
     "lstm", "gru", "slstm"],
)  # fmt: skip
def test_compiles_into_one_graph(op: str) -> None:
    x, A, B, weight = _random(2, 5, 3), _random(3, 2), _random(2, 5, 2), _random(3, 4)

    wide, twelve = _random(2, 5, 1, 5), _random(12, 3)  # values; weights of a cell

    def loss(x: Tensor) -> Tensor:
        call = {
            "linear_scan": lambda: linear_scan(x, x.sin(), log=True),
            "selective_scan": lambda: selective_scan(x, x, -A, B, B),
            "causal_conv": lambda: causal_conv(x, weight),
            "running_softmax": lambda: running_softmax(x, x[..., None].sin()),
            "ssd": lambda: ssd(x[:, :, None], x[:, :, None].sin(), wide, -x[:, :, :1]),
            "gated_linear_attention": lambda: gated_linear_attention(
                x[:, :, None], x[:, :, None].sin(), wide, -x[:, :, None]
            ),
            "delta_rule": lambda: delta_rule(x[:, :, None], x[:, :, None].sin(), wide, x[:, :, 0:1]),
            "generalized_delta_rule": lambda: generalized_delta_rule(*[x[:, :, None]] * 5, -x[:, :, None]),
            "lstm": lambda: lstm(x.repeat(1, 1, 4), x.sum() * twelve),
            "gru": lambda: gru(x.repeat(1, 1, 3), x.sum() * twelve[:9]),
            "slstm": lambda: slstm(x.repeat(1, 1, 4).view(2, 5, 1, 4, 3), x.sum() * twelve[None]),
            "wkv": lambda: wkv(x, x.sin(), -A[:, 0], A[:, 1]),
        }[op]
        y, final = call()
        return y.square().sum() + (final if isinstance(final, Tensor) else final[-1]).sum()

    torch._dynamo.reset()  # every op compiles the same function: more often than is allowed by itself
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    got, expected = compiled(x), loss(x)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(torch.autograd.grad(got, x), torch.autograd.grad(expected, x))


@pytest.mark.parametrize("op", MATRIX)
def test_checkpoints_and_refuses_vmap(op: str) -> None:
    q, v, g, s0 = _random(2, 5, 2, 3), _random(2, 5, 2, 5), _random(2, 5, 2), _random(2, 2, 3, 5)

    def read(q: Tensor) -> Tensor:
        if op == "delta_rule":
            return delta_rule(q, q.sin(), v, g, -g, s0, backend="numba")[0]
        if op == "ssd":
            return ssd(q, q.sin(), v, -g, s0, backend="numba")[0]
        return gated_linear_attention(q, q.sin(), v, -q.abs(), s0, backend="numba")[0]

    weights = torch.linspace(-1, 1, v.numel(), dtype=v.dtype).view(v.shape)
    stored = torch.utils.checkpoint.checkpoint(read, q, use_reentrant=False)
    (got,), (expected,) = (torch.autograd.grad(o, q, weights) for o in (stored, read(q)))
    torch.testing.assert_close(got, expected, rtol=0, atol=0)
    with pytest.raises(NotImplementedError, match=r"does not run under torch\.func\.vmap; put the mapped dimension"):
        torch.func.vmap(read)(torch.stack([q, q]))


def test_derivatives_of_every_kind() -> None:
    """torch.func.grad gives them; second and forward ones are refused, not zero."""
    x = _random(2, 5, 3)

    def loss(a: Tensor) -> Tensor:
        return linear_scan(a, a, backend="numba")[0].square().sum()

    (expected,) = torch.autograd.grad(loss(x), x)
    torch.testing.assert_close(torch.func.grad(loss)(x.detach()), expected)
    (first,) = torch.autograd.grad(loss(x), x, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula"):
        torch.autograd.grad(first.sum(), x)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.func.grad(lambda a: torch.func.grad(loss)(a).sum())(x.detach())
    with pytest.raises(NotImplementedError), torch.autograd.forward_ad.dual_level():
        loss(torch.autograd.forward_ad.make_dual(x.detach(), x.detach()))
    with pytest.raises(NotImplementedError):
        torch.func.jvp(loss, (x.detach(),), (x.detach(),))


def test_fake_tensors_and_modes_see_one_operator() -> None:
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    with FakeTensorMode():
        x = torch.rand(2, 5, 3)
        assert isinstance(linear_scan(x, x)[0], FakeTensor)
    graph = make_fx(lambda a: linear_scan(a, a)[0])(torch.rand(2, 5, 3)).graph
    assert sum("seqmem.linear_scan" in str(node.target) for node in graph.nodes) == 1


def test_without_machine_code() -> None:
    """NUMBA_DISABLE_JIT=1: the kernels as plain Python, with blocks that a reset cuts."""
    program = """
import torch
from seqmem.ops import delta_rule, gated_linear_attention
q, v, g = (torch.rand(1, 6, 1, *n).double() for n in ((3,), (2,), ()))
q.requires_grad_()
reset = torch.tensor([[0, 0, 1, 0, 0, 0]]).bool()
for run in (lambda backend: gated_linear_attention(q, q.cos(), v, -q, reset=reset, backend=backend)[0],
            lambda backend: delta_rule(q, q.cos() / 2, v, g, -g, reset=reset, backend=backend)[0]):
    o, expected = run("numba"), run("reference")
    torch.testing.assert_close(o, expected)
    torch.testing.assert_close(*(torch.autograd.grad(x.square().sum(), q) for x in (o, expected)))
"""
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, check=True)
