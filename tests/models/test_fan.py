"""Fourier analysis layers against their formula, in a network and in a language model."""

from __future__ import annotations

import math

import pytest
import torch

from seqmem.errors import InputError
from seqmem.models import FANLayer, FANNet, SequenceConfig, SequenceLM
from seqmem.models.fan import FANMLP


@pytest.mark.parametrize("gated", [False, True])
def test_equal_to_the_formula(gated: bool, generator: torch.Generator) -> None:
    layer = FANLayer(5, 8, gated=gated).double()
    x = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    y = layer(x)
    if layer.gate is not None:
        with torch.no_grad():
            layer.gate.fill_(1.5)
        y = layer(x)
    g = 1 / (1 + math.exp(-1.5))
    for place in ((0, 0), (1, 2)):
        phase = [sum(w * v for w, v in zip(row, x[place].tolist(), strict=True)) for row in layer.waves.weight.tolist()]
        raw = (x[place] @ layer.rest.weight.T + layer.rest.bias).tolist()
        gelu = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in raw]
        wave, rest = (g, 1 - g) if gated else (1.0, 1.0)
        wanted = [wave * f(p) for f in (math.cos, math.sin) for p in phase] + [rest * v for v in gelu]
        assert y[place].tolist() == pytest.approx(wanted, abs=1e-12)


def test_has_fewer_weights_than_a_linear_layer() -> None:
    count = sum(p.numel() for p in FANLayer(64, 64).parameters())
    assert count == 64 * 64 * 3 // 4 + 32


def test_can_be_periodic_where_it_was_not_trained() -> None:
    """With the frequency in W_p, sin(3 x) is one linear map away, everywhere."""
    net = FANNet(1, 1, hidden=8, layers=2).double()
    first, last = net
    with torch.no_grad():
        first.waves.weight[0] = 3
        last.weight.zero_()
        last.bias.zero_()
        last.weight[0, 2] = 1  # the first sine, after two cosines
    x = torch.linspace(-100, 100, 333, dtype=torch.float64)[:, None]
    torch.testing.assert_close(net(x), torch.sin(3 * x), rtol=0, atol=1e-12)


def test_a_language_model_can_be_made_of_them(tmp_path) -> None:
    config = SequenceConfig(11, 16, layers=["min_gru", "attention"], mlp="fan")
    torch.manual_seed(0)
    model = SequenceLM(config)
    assert all(isinstance(layer.mlp, FANMLP) for layer in model.layers)
    assert model.layers[0].mlp.down.weight.std().item() == pytest.approx((2 * 2 * 40) ** -0.5, rel=0.1)
    ids = torch.randint(11, (2, 9))
    logits = model(ids).logits
    model.save_pretrained(tmp_path)
    again = SequenceLM.from_pretrained(tmp_path)
    assert again.config.mlp == "fan"
    torch.testing.assert_close(again(ids).logits, logits)
    assert SequenceConfig(11).mlp == "swiglu"


def test_impossible_layers_are_refused() -> None:
    with pytest.raises(InputError, match=r"share 0\.6"):
        FANLayer(4, 8, share=0.6)
    with pytest.raises(InputError, match="outputs 1,"):
        FANLayer(4, 1)
    with pytest.raises(InputError, match="layers is 0"):
        FANNet(1, 1, layers=0)
    with pytest.raises(InputError, match="mlp is 'kan'"):
        SequenceConfig(11, mlp="kan")
