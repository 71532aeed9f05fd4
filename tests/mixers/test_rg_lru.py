"""The RG-LRU block against Hugging Face's RecurrentGemma."""

import pytest
import torch
from torch import nn
from transformers import RecurrentGemmaConfig
from transformers.models.recurrent_gemma.modeling_recurrent_gemma import RecurrentGemmaRecurrentBlock

from seqmem.mixers.rg_lru import RGLRU


def pair(conv: int) -> tuple[RGLRU, nn.Module]:
    torch.manual_seed(0)
    ours = RGLRU(8, lru_width=12, heads=2, conv=conv)
    theirs = RecurrentGemmaRecurrentBlock(
        RecurrentGemmaConfig(hidden_size=8, lru_width=12, num_attention_heads=2, conv1d_width=conv), layer_idx=0
    )
    recurrence, write = ours.gate_weight.data.chunk(2, -1)
    recurrence_bias, write_bias = torch.randn_like(ours.gate_bias).chunk(2, -1)
    ours.gate_bias.data.copy_(torch.cat([recurrence_bias, write_bias], -1))
    with torch.no_grad():
        theirs.rg_lru.recurrent_gate_weight.copy_(recurrence)
        theirs.rg_lru.recurrent_gate_bias.copy_(recurrence_bias)
        theirs.rg_lru.input_gate_weight.copy_(write)
        theirs.rg_lru.input_gate_bias.copy_(write_bias)
        theirs.rg_lru.recurrent_param.copy_(-ours.decay_logit)  # theirs: a = sigmoid(-parameter)
        theirs.conv_1d.weight.copy_(ours.conv.weight[:, None])
        theirs.conv_1d.bias.copy_(ours.conv.bias.normal_())
    theirs.linear_x, theirs.linear_y, theirs.linear_out = ours.in_recurrent, ours.in_gate, ours.out
    return ours, theirs


def test_equal_to_recurrent_gemma(generator: torch.Generator) -> None:
    ours, theirs = pair(conv=4)
    x = torch.randn(2, 9, 8, generator=generator)
    expected, _ = theirs(x, torch.arange(9).expand(2, 9), None, use_cache=False)
    torch.testing.assert_close(ours(x)[0], expected, rtol=1e-5, atol=1e-5)


def test_equal_to_recurrent_gemma_at_the_beginning_of_documents(generator: torch.Generator) -> None:
    """Without a convolution over time: theirs does not stop at the end of a document."""
    ours, theirs = pair(conv=1)
    x = torch.randn(2, 9, 8, generator=generator)
    position = torch.tensor([[0, 1, 2, 0, 1, 2, 3, 4, 5], [0, 1, 0, 0, 1, 2, 3, 4, 0]])
    expected, _ = theirs(x, position, None, use_cache=False)
    torch.testing.assert_close(ours(x, reset=position == 0)[0], expected, rtol=1e-5, atol=1e-5)
    middle = position == 0
    middle[:, 0] = False  # the empty memory begins a document by itself
    torch.testing.assert_close(ours(x, reset=middle)[0], expected, rtol=1e-5, atol=1e-5)


def test_equal_to_the_equation(generator: torch.Generator) -> None:
    mixer = RGLRU(4, heads=1, conv=1).double()
    x = torch.randn(1, 6, 4, dtype=torch.float64, generator=generator)
    u = mixer.in_recurrent(x) * mixer.conv.weight[:, 0] + mixer.conv.bias
    gates = u @ mixer.gate_weight[0] + mixer.gate_bias[0]
    r, i = gates.sigmoid().chunk(2, -1)
    a = mixer.decay_logit.sigmoid() ** (8 * r)
    h = i[:, 0] * u[:, 0]
    expected = [h]
    for t in range(1, 6):
        h = a[:, t] * h + (1 - a[:, t] ** 2).sqrt() * i[:, t] * u[:, t]
        expected.append(h)
    y = mixer.out(torch.stack(expected, 1) * nn.functional.gelu(mixer.in_gate(x), approximate="tanh"))
    torch.testing.assert_close(mixer(x)[0], y, rtol=1e-11, atol=1e-12)


def test_the_decay_starts_between_nine_tenths_and_nearly_one() -> None:
    torch.manual_seed(0)
    power = RGLRU(4096).decay_logit.sigmoid() ** 8
    assert power.min() >= 0.9 - 1e-4
    assert power.max() <= 0.999 + 1e-4
    assert power.mean().item() == pytest.approx((0.9 + 0.999) / 2, abs=3e-3)


def test_a_gate_that_is_shut_has_a_gradient() -> None:
    """r = 0 makes a = 1, where sqrt(1 - a^2) has no slope."""
    mixer = RGLRU(4, heads=1)
    with torch.no_grad():
        mixer.gate_bias[:, :4] = -200.0
    x = torch.randn(1, 5, 4, requires_grad=True)
    y, _ = mixer(x)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in mixer.parameters())
