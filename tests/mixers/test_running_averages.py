"""Aaren, GateLoop, LightNet, Hyena and the gated short convolution: against loops, softmaxes and other code."""

import pytest
import torch
import torch.nn.functional as F

from seqmem.mixers.aaren import Aaren
from seqmem.mixers.gateloop import GateLoop
from seqmem.mixers.hyena import Hyena
from seqmem.mixers.lightnet import LightNet
from seqmem.mixers.short_conv import GatedShortConv


def test_aaren_is_a_softmax_over_every_prefix(generator: torch.Generator) -> None:
    layer = Aaren(8, heads=2).double()
    with torch.no_grad():
        layer.query.mul_(5)
    x = torch.randn(2, 20, 8, dtype=torch.float64, generator=generator)
    k, v = layer.kv(x).unflatten(-1, (2, 2, 4)).unbind(2)
    for t in (0, 7, 19):
        weights = torch.einsum("hk,bjhk->bjh", layer.query, k[:, : t + 1]).div(2).softmax(1)
        read = torch.einsum("bjh,bjhv->bhv", weights, v[:, : t + 1]).flatten(1)
        torch.testing.assert_close(layer(x)[0][:, t], layer.out(read), rtol=1e-10, atol=1e-10)


def test_aaren_survives_scores_of_a_thousand(generator: torch.Generator) -> None:
    layer = Aaren(8)
    with torch.no_grad():
        layer.query.mul_(500)
    y, state = layer(10 * torch.randn(2, 200, 8, generator=generator))
    assert y.isfinite().all()
    assert float(state.maximum.max()) > 1000


@pytest.mark.parametrize("heads", [1, 2, 8])
@pytest.mark.parametrize("phase", [True, False])
def test_gateloop_is_its_equation(heads: int, phase: bool, generator: torch.Generator) -> None:
    layer = GateLoop(8, heads=heads, phase=phase).double()
    key = 8 // heads
    x = torch.randn(2, 15, 8, dtype=torch.float64, generator=generator)
    q, k, v = layer.qkv(x).unflatten(-1, (3, heads, key)).unbind(2)
    gates = layer.decay(x).unflatten(-1, (1 + phase, heads, key))
    a = torch.sigmoid(gates[:, :, 0]) * torch.exp(1j * (gates[:, :, 1] if phase else torch.zeros_like(gates[:, :, 0])))
    s, reads = torch.zeros(2, heads, key, key, dtype=torch.complex128), []
    for t in range(15):
        s = a[:, t, ..., None] * s + k[:, t, ..., None] * v[:, t, ..., None, :]
        reads.append(torch.einsum("bhk,bhkv->bhv", q[:, t].to(s.dtype), s).real)
    expected = layer.out(layer.norm(torch.stack(reads, 1).flatten(-2)) * F.silu(layer.gate(x)))
    torch.testing.assert_close(layer(x)[0], expected, rtol=1e-10, atol=1e-10)


def test_gateloop_with_a_fixed_decay_sees_no_data_in_it(generator: torch.Generator) -> None:
    layer = GateLoop(8, data_controlled=False)
    x = torch.randn(1, 5, 8, generator=generator)
    decay = layer._log_decay(x)
    assert torch.equal(decay, decay[:, :1].expand_as(decay))
    y, _ = layer(x)
    y.sum().backward()
    assert float(layer.decay.bias.grad.abs().max()) > 0  # learned all the same


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_lightnet_reads_averages_under_a_softmax(scale: float, generator: torch.Generator) -> None:
    layer = LightNet(8, heads=2).double()
    x = scale * torch.randn(2, 25, 8, dtype=torch.float64, generator=generator)
    q, logits, v = layer.qkv(x).chunk(3, -1)
    reads = []
    for t in range(25):
        share = logits[:, : t + 1].softmax(1).unflatten(-1, (2, 4))  # (batch, j, heads, key)
        memory = torch.einsum("bjhk,bjhv->bhkv", share, v[:, : t + 1].unflatten(-1, (2, 4)))
        reads.append(torch.einsum("bhk,bhkv->bhv", F.silu(q[:, t]).unflatten(-1, (2, 4)), memory))
    expected = layer._close(x, torch.stack(reads, 1))
    torch.testing.assert_close(layer(x)[0], expected, rtol=1e-9, atol=1e-9)


def test_hyena_is_a_gated_convolution(generator: torch.Generator) -> None:
    layer = Hyena(6, filter_width=16, horizon=20).double()
    x = torch.randn(2, 50, 6, dtype=torch.float64, generator=generator)
    projected = F.pad(layer.qkv(x).mT, (2, 0))
    q, k, v = F.conv1d(projected, layer.conv.weight[:, None], layer.conv.bias, groups=18).mT.chunk(3, -1)
    h, written = layer.kernel(50), k * v
    read = torch.stack([(h[: t + 1].flip(0) * written[:, : t + 1]).sum(1) for t in range(50)], 1)
    expected = layer.out(q * (read + layer.skip * written))
    torch.testing.assert_close(layer(x)[0], expected, rtol=1e-9, atol=1e-9)


def test_hyena_forgets_what_no_row_needs(generator: torch.Generator) -> None:
    layer, x = Hyena(4), torch.randn(2, 10, 4, generator=generator)
    reset = torch.zeros(2, 10, dtype=torch.bool)
    reset[0, 6] = reset[1, 8] = True
    _, state = layer(x, reset=reset)
    assert state.written.shape[1] == 4
    assert state.real.tolist() == [[True] * 4, [False, False, True, True]]


@pytest.mark.parametrize("kernel", [3, 4])
def test_the_gated_short_convolution_is_that_of_lfm2(kernel: int, generator: torch.Generator) -> None:
    lfm2 = pytest.importorskip("transformers.models.lfm2.modeling_lfm2")
    from transformers import Lfm2Config

    config = Lfm2Config(hidden_size=8, conv_L_cache=kernel, conv_bias=False, num_hidden_layers=1, num_attention_heads=2)
    theirs = lfm2.Lfm2ShortConv(config, layer_idx=0)
    ours = GatedShortConv(8, kernel=kernel)
    with torch.no_grad():
        ours.gates_and_input.weight.copy_(theirs.in_proj.weight)
        ours.conv.weight.copy_(theirs.conv.weight[:, 0])
        ours.out.weight.copy_(theirs.out_proj.weight)
        x = torch.randn(2, 12, 8, generator=generator)
        torch.testing.assert_close(ours(x)[0], theirs(x), rtol=1e-5, atol=1e-6)
