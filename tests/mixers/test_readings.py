"""Fast weights, synaptic resonance and temporal perspectives: their equations written out; RWKV-4's network."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import layer_norm, normalize, softplus
from transformers.models.rwkv.modeling_rwkv import RwkvModel

from seqmem.errors import InputError
from seqmem.mixers.fast_weights import FastWeights
from seqmem.mixers.local_attention import LocalAttention
from seqmem.mixers.state import state_bytes
from seqmem.mixers.synaptic_resonance import SynapticResonance
from seqmem.mixers.temporal_perspectives import TemporalPerspectives
from tests.mixers.test_rwkv import config, moved

WIDTH = 8


@pytest.mark.parametrize("inner", [1, 3])
def test_fast_weights_attend_to_the_past(inner: int, generator: torch.Generator) -> None:
    """As the paper rewrites it: A_t h' is a sum over past hidden vectors, weighted by their products with h'."""
    mixer = moved(FastWeights(WIDTH, hidden=5, inner=inner, decay=0.9, rate=0.3), 0.3).double()
    x = torch.randn(1, 8, WIDTH, dtype=torch.float64, generator=generator)
    past, h = [], torch.zeros(5, dtype=torch.float64)
    for t in range(8):
        z = mixer.recurrent @ h + mixer.input(x[0, t])
        new = torch.relu(z)
        for _ in range(inner):
            recalled = sum(0.3 * 0.9 ** (t - 1 - j) * (old @ new) * old for j, old in enumerate(past))
            new = torch.relu(layer_norm(z + recalled, (5,), mixer.norm.weight, mixer.norm.bias))
        h = new
        past.append(h)
    y, state = mixer(x)
    torch.testing.assert_close(y[0], torch.stack(past) @ mixer.out.weight.T, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(state.hidden[0], h, rtol=1e-9, atol=1e-9)
    with pytest.raises(InputError, match="inner is 0"):
        FastWeights(WIDTH, inner=0)


@pytest.mark.parametrize("relevance", ["content", "constant"])
def test_synaptic_resonance_is_the_reading_it_says(relevance: str, generator: torch.Generator) -> None:
    torch.manual_seed(0)
    mixer = SynapticResonance(WIDTH, window=3, relevance=relevance, bound=2.0).double()
    x = torch.randn(1, 9, WIDTH, dtype=torch.float64, generator=generator)
    q, k, v = (part[0].unflatten(-1, (2, 4)) for part in mixer.local.qkv(x).chunk(3, -1))
    q, k, v = (part / (part.square().sum(-1, keepdim=True) + 1e-6).sqrt() for part in (q, k, v))
    o = torch.zeros(9, 2, 4, dtype=torch.float64)
    for h in range(2):
        keep = torch.sigmoid(mixer.decay[h])
        R, c = torch.zeros(4, 4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
        for t in range(9):
            c = 0.9 * c + k[t, h]
            r = torch.sigmoid(4 * q[t, h] @ normalize(c, dim=0)) if relevance == "content" else 0.5
            R = keep * R + (1 - keep) * 2.0 * 0.5 * r * torch.outer(k[t, h], v[t, h])
            assert R.norm() <= 2.0
            o[t, h] = softplus(mixer.strength[h]) * q[t, h] @ R
    expected = mixer.local(x)[0] + mixer.local.out(o.flatten(-2))
    torch.testing.assert_close(mixer(x)[0], expected, rtol=1e-5, atol=1e-5)  # eps beside the length of c


def test_what_resonance_costs_and_its_ablations(generator: torch.Generator) -> None:
    x = torch.randn(2, 9, WIDTH, generator=generator)
    torch.manual_seed(0)
    without = SynapticResonance(WIDTH, plastic=False)
    plain = LocalAttention(WIDTH, heads=2, window=32)
    plain.load_state_dict(without.local.state_dict())
    torch.testing.assert_close(without(x)[0], plain(x)[0])
    torch.testing.assert_close(without.read(x, without.attention(x)), without(x)[0])
    trained = {name for name, p in without.named_parameters() if p.requires_grad}
    assert all(name.startswith("local.") for name in trained)
    torch.manual_seed(0)
    full = SynapticResonance(WIDTH)
    extra = sum(p.numel() for p in full.parameters()) - sum(p.numel() for p in plain.parameters())
    assert extra == 4 * full.heads  # decay, rate, strength and sharpness per head
    assert (full(x)[0] - without(x)[0]).abs().max() > 1e-3
    with pytest.raises(InputError, match="relevance is 'none'"):
        SynapticResonance(WIDTH, relevance="none")


def trunk(layers: int, generator: torch.Generator) -> tuple[TemporalPerspectives, nn.Module]:
    """One perspective, and Hugging Face's RWKV with the same weights behind an embedding that is x."""
    ours = moved(TemporalPerspectives(WIDTH, perspectives=1, depth=layers), 0.4)
    theirs = RwkvModel(config(layers)).eval()
    with torch.no_grad():
        theirs.blocks[0].pre_ln, theirs.ln_out = ours.first_norm, ours.last_norm
        for block, other in zip(ours.blocks, theirs.blocks, strict=True):
            time, channel = other.attention, other.feed_forward
            other.ln1, other.ln2 = block.time_norm, block.channel_norm
            for name, mu in zip(("receptance", "key", "value"), block.time.mu[0], strict=True):
                getattr(time, f"time_mix_{name}").copy_(mu)
            for name, mu in zip(("receptance", "key"), block.channel.mu[0], strict=True):
                getattr(channel, f"time_mix_{name}").copy_(mu)
            time.time_decay.copy_(block.time.time_decay)
            time.time_first.copy_(block.time.bonus)
            time.receptance, time.key, time.value = block.time.receptance, block.time.key, block.time.value
            time.output = block.time.out
            channel.receptance, channel.key = block.channel.receptance, block.channel.key
            channel.value = block.channel.value
    theirs.layers_are_rescaled = True  # it would halve weights every six layers, for half precision
    return ours, theirs


def test_one_perspective_is_the_network_of_rwkv4(generator: torch.Generator) -> None:
    ours, theirs = trunk(3, generator)
    x = torch.randn(2, 15, WIDTH, generator=generator)
    with torch.no_grad():
        expected = theirs(inputs_embeds=x, use_cache=False).last_hidden_state
        torch.testing.assert_close(ours(x)[0], expected, rtol=1e-4, atol=1e-4)


def test_more_perspectives_begin_as_one_and_then_differ(generator: torch.Generator) -> None:
    one, _ = trunk(2, generator)
    x = torch.randn(2, 9, WIDTH, generator=generator)
    four = one.with_perspectives(4)
    y, state = four(x)
    expected, single = one(x)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    assert state_bytes(state) == 4 * state_bytes(single)
    own = sum(p.numel() for p in four.perspective_parameters())
    assert own == 2 * 4 * 5 * WIDTH + 4 * WIDTH  # five mu in each of two blocks, and W_c
    assert sum(p.numel() for p in four.parameters()) - sum(p.numel() for p in one.parameters()) == own - 2 * 5 * WIDTH
    y.square().mean().backward()  # the streams are equal, their shares are not: so they part
    mu = four.blocks[0].time.mu.grad
    assert (mu[0] - mu[1]).abs().max() > 0
    with pytest.raises(InputError, match="a multiple of the 4"):
        four.with_perspectives(6)


def test_perspectives_are_mixed_by_their_shares(generator: torch.Generator) -> None:
    """Three perspectives one by one, each a layer of its own."""
    three = moved(TemporalPerspectives(WIDTH, perspectives=3, depth=2), 0.4)
    x = torch.randn(2, 9, WIDTH, generator=generator)
    views = []
    for i in range(3):
        alone = TemporalPerspectives(WIDTH, perspectives=1, depth=2)
        weights = three.state_dict()
        alone.load_state_dict(
            {n: w[i : i + 1] if n.endswith(".mu") else w for n, w in weights.items() if not n.startswith("router")}
        )
        views.append(alone(x)[0])
    share = torch.softmax(sum(views) / 3 @ three.router.weight.T, -1)
    expected = sum(share[..., i : i + 1] * view for i, view in enumerate(views))
    torch.testing.assert_close(three(x)[0], expected, rtol=1e-5, atol=1e-5)
