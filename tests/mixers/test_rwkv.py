"""RWKV-4 against Hugging Face's, RWKV-6 and RWKV-7 against loops and flash-linear-attention's recurrences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm, normalize, pad, silu
from transformers import RwkvConfig
from transformers.models.rwkv.modeling_rwkv import RwkvFeedForward, RwkvModel, RwkvSelfAttention

from seqmem.errors import InputError
from seqmem.mixers.rwkv4 import RWKV4
from seqmem.mixers.rwkv6 import RWKV6
from seqmem.mixers.rwkv7 import RWKV7
from seqmem.mixers.rwkv_channel_mix import RWKVChannelMix
from tests.mixers.oracles import fla

WIDTH = 8


def moved(mixer: nn.Module, scale: float = 0.5) -> nn.Module:
    """Away from the beginning, where W_o is zero and nothing depends on x."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return mixer


def config(layers: int = 2) -> RwkvConfig:
    return RwkvConfig(vocab_size=11, hidden_size=WIDTH, attention_hidden_size=WIDTH, num_hidden_layers=layers)


def as_hugging_face(time: RWKV4 | None, channel: RWKVChannelMix | None) -> tuple[nn.Module, nn.Module]:
    """Their two halves of a block with our weights."""
    attention, feed_forward = RwkvSelfAttention(config(), 1), RwkvFeedForward(config(), 1)
    with torch.no_grad():
        if time is not None:
            names = ("time_mix_receptance", "time_mix_key", "time_mix_value")
            for name, mu in zip(names, time.mu[0], strict=True):
                getattr(attention, name).copy_(mu[None, None])
            attention.time_decay.copy_(time.time_decay)
            attention.time_first.copy_(time.bonus)
            attention.receptance, attention.key, attention.value = time.receptance, time.key, time.value
            attention.output = time.out
        if channel is not None:
            for name, mu in zip(("time_mix_receptance", "time_mix_key"), channel.mu[0], strict=True):
                getattr(feed_forward, name).copy_(mu[None, None])
            feed_forward.receptance, feed_forward.key, feed_forward.value = (
                channel.receptance, channel.key, channel.value,
            )  # fmt: skip
    return attention, feed_forward


@pytest.mark.parametrize("form", ["parallel", "recurrent"])
def test_time_mixing_equals_hugging_face(form: str, generator: torch.Generator) -> None:
    mixer = moved(RWKV4(WIDTH, layer=1, depth=2))
    x = torch.randn(2, 19, WIDTH, generator=generator)
    with torch.no_grad():
        expected, _ = as_hugging_face(mixer, None)[0](x)
        torch.testing.assert_close(mixer(x, form=form)[0], expected, rtol=1e-4, atol=1e-5)


def test_channel_mixing_equals_hugging_face(generator: torch.Generator) -> None:
    mixer = moved(RWKVChannelMix(WIDTH, layer=1, depth=2))
    x = torch.randn(2, 19, WIDTH, generator=generator)
    with torch.no_grad():
        expected, _ = as_hugging_face(None, mixer)[1](x)
        torch.testing.assert_close(mixer(x)[0], expected, rtol=1e-4, atol=1e-5)


def test_begins_as_hugging_face() -> None:
    """mu and decays of every layer; their bonus is 1 where the paper has log 0.3 and a zigzag."""
    model = RwkvModel(config(3))
    for layer, block in enumerate(model.blocks):
        time, channel = RWKV4(WIDTH, layer=layer, depth=3), RWKVChannelMix(WIDTH, layer=layer, depth=3)
        theirs = block.attention
        torch.testing.assert_close(time.time_decay, theirs.time_decay)
        mu = torch.cat([theirs.time_mix_receptance, theirs.time_mix_key, theirs.time_mix_value])
        torch.testing.assert_close(time.mu[0], mu[:, 0])
        mu = torch.cat([block.feed_forward.time_mix_receptance, block.feed_forward.time_mix_key])
        torch.testing.assert_close(channel.mu[0], mu[:, 0])
    expected = math.log(0.3) + 0.5 * torch.tensor([0.0, 1, -1, 0, 1, -1, 0, 1])
    torch.testing.assert_close(RWKV4(WIDTH).bonus, expected)
    assert RWKV4(WIDTH)(torch.randn(1, 3, WIDTH))[0].abs().max() == 0
    with pytest.raises(InputError, match="layer is 2 of depth 2"):
        RWKV4(WIDTH, layer=2, depth=2)


def test_keys_of_any_size(generator: torch.Generator) -> None:
    mixer = moved(RWKV4(WIDTH))
    with torch.no_grad():
        mixer.key.weight.mul_(1e3)
    x = torch.randn(2, 30, WIDTH, generator=generator).requires_grad_()
    y, state = mixer(x)
    assert state.average[0].max() > 200
    assert y.isfinite().all()
    assert torch.autograd.grad(y.square().sum(), x)[0].isfinite().all()


def test_long_padding_takes_no_time(generator: torch.Generator) -> None:
    """Ten thousand positions of padding in the middle and at the end, in float32."""
    mixer = moved(RWKV4(WIDTH, layer=1, depth=2))
    x = torch.randn(1, 8, WIDTH, generator=generator)
    gap = torch.zeros(1, 10_000, WIDTH)
    holes = torch.cat([x[:, :5], gap, x[:, 5:], gap], 1)
    mask = torch.ones(1, holes.shape[1], dtype=torch.bool)
    mask[:, 5:10_005] = mask[:, 10_008:] = False
    with torch.no_grad():
        y, state = mixer(holes, mask=mask)
        expected, last = mixer(x)
        torch.testing.assert_close(y[mask][None], expected, rtol=1e-4, atol=1e-4)
        after, expected_after = mixer(x, state)[0], mixer(x, last)[0]
    torch.testing.assert_close(after, expected_after, rtol=1e-4, atol=1e-4)


def shifted(x: Tensor) -> Tensor:
    return pad(x, (0, 0, 1, -1))


def rwkv6_by_hand(mixer: RWKV6, x: Tensor) -> tuple[Tensor, ...]:
    """r, k, v, log w and g as the paper's equations 14 to 19 have them; (batch, time, width) each."""
    d = shifted(x) - x
    base = x + d * mixer.mix_x
    xw, xk, xv, xr, xg = (x + d * (m.base + torch.tanh(base @ m.down) @ m.up) for m in mixer.mix)
    w = -torch.exp(mixer.decay.base + torch.tanh(xw @ mixer.decay.down) @ mixer.decay.up)
    weights = mixer.receptance.weight, mixer.keys.weight, mixer.value.weight
    r, k, v = (part @ weight.T for part, weight in zip((xr, xk, xv), weights, strict=True))
    return r, k, v, w, silu(xg @ mixer.gate.weight.T)


def normed(mixer: RWKV6 | RWKV7, o: Tensor) -> Tensor:
    """Per head, o (batch, time, width)."""
    flat = group_norm(o.flatten(0, 1), 2, mixer.norm.weight, mixer.norm.bias, 64e-5)
    return flat.unflatten(0, o.shape[:2])


def test_rwkv6_is_its_equation(generator: torch.Generator) -> None:
    mixer = moved(RWKV6(WIDTH, layer=1, depth=2).double())
    x = torch.randn(1, 9, WIDTH, dtype=torch.float64, generator=generator)
    r, k, v, w, gate = (part[0] for part in rwkv6_by_hand(mixer, x))
    o = torch.zeros(9, WIDTH, dtype=torch.float64)
    for h in range(2):
        c, s = slice(4 * h, 4 * h + 4), torch.zeros(4, 4, dtype=torch.float64)
        for t in range(9):
            write = torch.outer(k[t, c], v[t, c])
            o[t, c] = r[t, c] @ (s + mixer.bonus[h][:, None] * write)
            s = w[t, c].exp()[:, None] * s + write
    expected = mixer.out(normed(mixer, o[None]) * gate)
    torch.testing.assert_close(mixer(x)[0], expected, rtol=1e-9, atol=1e-9)


def test_rwkv6_around_another_recurrence(generator: torch.Generator) -> None:
    naive = fla("ops/rwkv6/recurrent_naive.py")
    mixer = moved(RWKV6(WIDTH, layer=1, depth=2))
    x = torch.randn(2, 33, WIDTH, generator=generator)
    *parts, gate = rwkv6_by_hand(mixer, x)
    r, k, v, w = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in parts)  # theirs is head-first
    o, last = naive.naive_recurrent_rwkv6(r, k, v, w, mixer.bonus, scale=1.0, output_final_state=True)
    y, state = mixer(x)
    expected = mixer.out(normed(mixer, o.transpose(1, 2).flatten(-2)) * gate)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(state.memory, last, rtol=1e-4, atol=1e-4)


def rwkv7_by_hand(mixer: RWKV7, x: Tensor) -> tuple[Tensor, ...]:
    """r, k, v, log w, kappa and a (batch, time, heads, key), g (batch, time, width)."""
    d = shifted(x) - x
    xr, xw, xk, xv, xa, xg = (x + d * mu for mu in mixer.mu)
    w = -math.exp(-0.5) / (1 + (-(mixer.decay.base + torch.tanh(xw @ mixer.decay.down) @ mixer.decay.up)).exp())
    a = torch.sigmoid(mixer.rate.base + xa @ mixer.rate.down @ mixer.rate.up)
    k = xk @ mixer.keys.weight.T
    kappa = k * mixer.removal
    k = k * ((1 - mixer.replacement) + mixer.replacement * a)
    r, v = xr @ mixer.receptance.weight.T, xv @ mixer.value.weight.T
    r, k, v, w, kappa, a = (part.unflatten(-1, (2, 4)) for part in (r, k, v, w, kappa, a))
    return r, k, v, w, normalize(kappa, dim=-1), a, torch.sigmoid(xg @ mixer.gate.down) @ mixer.gate.up


def rwkv7_closed(mixer: RWKV7, o: Tensor, r: Tensor, k: Tensor, v: Tensor, gate: Tensor) -> Tensor:
    bonus = (r * mixer.bonus * k).sum(-1, keepdim=True) * v
    return mixer.out((normed(mixer, o.flatten(-2)) + bonus.flatten(-2)) * gate)


def test_rwkv7_is_its_equation(generator: torch.Generator) -> None:
    mixer = moved(RWKV7(WIDTH, layer=1, depth=2).double())
    x = torch.randn(1, 9, WIDTH, dtype=torch.float64, generator=generator)
    r, k, v, w, kappa, a, gate = rwkv7_by_hand(mixer, x)
    o = torch.zeros_like(v)
    for h in range(2):
        s = torch.zeros(4, 4, dtype=torch.float64)  # the paper's, values by keys
        for t in range(9):
            at = (0, t, h)
            transition = torch.diag(w[at].exp()) - torch.outer(kappa[at], a[at] * kappa[at])
            s = s @ transition + torch.outer(v[at], k[at])
            o[at] = s @ r[at]
    torch.testing.assert_close(mixer(x)[0], rwkv7_closed(mixer, o, r, k, v, gate), rtol=1e-9, atol=1e-9)


def test_rwkv7_around_another_recurrence(generator: torch.Generator) -> None:
    naive = fla("ops/generalized_delta_rule/dplr/naive.py")
    mixer = moved(RWKV7(WIDTH, layer=1, depth=2))
    x = torch.randn(2, 33, WIDTH, generator=generator)
    r, k, v, w, kappa, a, gate = rwkv7_by_hand(mixer, x)
    head_first = (part.transpose(1, 2) for part in (2 * r, k, v, -kappa, a * kappa, w))  # theirs divides r by sqrt(4)
    o, last = naive.dplr_recurrence(*head_first)
    y, state = mixer(x)
    torch.testing.assert_close(y, rwkv7_closed(mixer, o.transpose(1, 2), r, k, v, gate), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(state.memory, last, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cls", [RWKV6, RWKV7])
def test_at_the_beginning_nothing_but_keys_and_values_depends_on_x(cls: type, generator: torch.Generator) -> None:
    mixer = cls(WIDTH, layer=1, depth=2)
    x, z = (torch.randn(1, 5, WIDTH, generator=generator) for _ in range(2))
    assert mixer(x)[0].abs().max() == 0
    torch.testing.assert_close(mixer.decay(x), mixer.decay(z))
    for option in ("decay_rank", "layer"):
        with pytest.raises(InputError, match=option):
            cls(WIDTH, **{option: -1})
