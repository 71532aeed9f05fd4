"""The sLSTM against the layer of the xlstm package, and against its equations without the stabiliser."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from seqmem.mixers.slstm import SLSTM

WIDTH, HEADS = 8, 2


def theirs(ours: SLSTM) -> Any:
    """The package's layer with the weights of ours."""
    try:
        import xlstm.blocks.slstm.layer as layer
    except Exception as reason:  # it builds extensions when it is imported, and may fail at that in many ways
        pytest.skip(f"xlstm cannot be imported: {reason}")
    config = layer.sLSTMLayerConfig(
        embedding_dim=WIDTH, num_heads=HEADS, conv1d_kernel_size=4, backend="vanilla", dropout=0.0
    )
    made = layer.sLSTMLayer(config)
    cell = made.slstm_cell
    head = WIDTH // HEADS
    z, i, f, o = ours.recurrent.detach().unflatten(1, (4, head)).unbind(1)  # (heads, to, from)
    with torch.no_grad():
        made.conv1d.conv.weight.copy_(ours.conv.weight[:, None])
        made.conv1d.conv.bias.copy_(ours.conv.bias)
        made.zgate.weight.copy_(ours.from_x[:, 0])
        made.ogate.weight.copy_(ours.from_x[:, 1])
        # the package names them the other way round: what its fgate makes enters the cell as the input gate
        made.fgate.weight.copy_(ours.from_conv[:, 0])
        made.igate.weight.copy_(ours.from_conv[:, 1])
        made.group_norm.weight.copy_(ours.scale - 1)
        external = torch.stack([i, f, z, o], 1)  # (heads, gates, to, from)
        cell._recurrent_kernel_.copy_(cell._recurrent_kernel_ext2int(external.permute(0, 3, 1, 2)))
        bias = ours.bias.detach()[:, [1, 2, 0, 3]]
        cell._bias_.copy_(cell._bias_ext2int(bias))
    return made


def moved(mixer: SLSTM) -> SLSTM:
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in mixer.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return mixer


def test_equal_to_the_layer_of_the_xlstm_package(generator: torch.Generator) -> None:
    ours = moved(SLSTM(WIDTH, heads=HEADS))
    x = torch.randn(3, 17, WIDTH, generator=generator)
    expected = theirs(ours)(x)
    torch.testing.assert_close(ours(x)[0], expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("forget", ["sigmoid", "exponential"])
@pytest.mark.parametrize("form", ["parallel", "recurrent"])
def test_equal_to_the_equations(forget: Any, form: str, generator: torch.Generator) -> None:
    ours = moved(SLSTM(WIDTH, heads=HEADS, forget=forget).double())
    x = torch.randn(2, 9, WIDTH, generator=generator, dtype=torch.float64)
    y, _ = ours(x, form=form)
    head = WIDTH // HEADS
    for k in range(HEADS):
        part = slice(k * head, (k + 1) * head)
        h = c = n = x.new_zeros(2, head)
        for t in range(9):
            seen = torch.zeros(2, head, dtype=torch.float64) + ours.conv.bias[part]
            for back in range(min(4, t + 1)):
                seen = seen + ours.conv.weight[part, 3 - back] * x[:, t - back, part]
            seen = seen * seen.sigmoid()
            now = {"z": x[:, t, part], "o": x[:, t, part], "i": seen, "f": seen}
            weight = dict(zip("zoif", [*ours.from_x[k], *ours.from_conv[k]], strict=True))
            recurrent = dict(zip("zifo", ours.recurrent[k].chunk(4), strict=True))
            bias = dict(zip("zifo", ours.bias[k], strict=True))
            raw: dict[str, Tensor] = {g: now[g] @ weight[g].T + h @ recurrent[g].T + bias[g] for g in "zifo"}
            f = raw["f"].exp() if forget == "exponential" else raw["f"].sigmoid()
            c, n = f * c + raw["i"].exp() * raw["z"].tanh(), f * n + raw["i"].exp()
            h = raw["o"].sigmoid() * c / n
            normal = (h - h.mean(-1, keepdim=True)) / (h.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
            torch.testing.assert_close(y[:, t, part], normal * ours.scale[part], rtol=1e-10, atol=1e-10)


def test_forget_biases_fall_over_each_head() -> None:
    bias = SLSTM(32, heads=2).bias
    assert bias[:, 2, 0].tolist() == [5, 5]
    assert bias[:, 2, -1].tolist() == [-7, -7]
    assert not bias[:, [0, 1, 3]].any()
