"""Layers whose memory is trained while it reads: TTT-Linear and the blocks of Titans, against loops with autograd."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, layer_norm, normalize, pad, rms_norm, silu

from seqmem.errors import InputError
from seqmem.mixers.titans import Titans
from seqmem.mixers.titans_mac import TitansMAC
from seqmem.mixers.titans_mag import TitansMAG
from seqmem.mixers.titans_mal import TitansMAL
from seqmem.mixers.ttt_linear import TTTLinear
from tests.mixers.oracles import fla

WIDTH, HEADS, KEY, TIME = 8, 2, 4, 11
LEFT = ("momentum", "forget")


def moved(mixer: nn.Module, scale: float = 0.3) -> nn.Module:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return mixer.double()


def draw(generator: torch.Generator, time: int = TIME) -> Tensor:
    return torch.randn(1, time, WIDTH, dtype=torch.float64, generator=generator)


def test_ttt_linear_is_its_equation(generator: torch.Generator) -> None:
    """One head after the other, one token after the other, the gradient by autograd."""
    mixer = moved(TTTLinear(WIDTH, mini_batch=4, rate=2.0))
    x = draw(generator)
    q, k, v = (part[0].unflatten(-1, (HEADS, KEY)) for part in mixer.qkv(x).chunk(3, -1))
    eta = 2 * torch.sigmoid(mixer.learning_rate(x))[0] / KEY
    z = torch.zeros(TIME, HEADS, KEY, dtype=torch.float64)
    for h in range(HEADS):

        def f(u: Tensor, W: Tensor, b: Tensor, h: int = h) -> Tensor:
            return u + layer_norm(u @ W + b, (KEY,), mixer.gain[h], mixer.bias[h], 1e-6)

        W, b = mixer.weights[h].detach()[:KEY], mixer.weights[h].detach()[KEY]
        for t in range(TIME):
            if t % 4 == 0:
                start = W.clone().requires_grad_(), b.clone().requires_grad_()
            loss = (f(k[t, h], *start) - v[t, h]).square().sum() / 2
            dW, db = torch.autograd.grad(loss, start, retain_graph=True)
            W, b = W - eta[t, h] * dW, b - eta[t, h] * db
            z[t, h] = f(q[t, h], W, b)
    expected = mixer.out(mixer.norm(z.flatten(-2)))
    torch.testing.assert_close(mixer(x)[0][0], expected, rtol=1e-9, atol=1e-9)


def test_ttt_linear_around_another_implementation(generator: torch.Generator) -> None:
    naive = fla("ops/ttt/naive.py")
    mixer = moved(TTTLinear(WIDTH)).float()
    x = torch.randn(2, 32, WIDTH, generator=generator)
    with torch.no_grad():
        mixer.learning_rate.weight.zero_()  # theirs scales the step by the rate of the token that reads
        q, k, v = (part.unflatten(-1, (HEADS, KEY)) for part in mixer.qkv(x).chunk(3, -1))
        eta = torch.sigmoid(mixer.learning_rate(x))[..., None] / KEY
        start, bias = mixer.weights[:, :KEY].expand(2, -1, -1, -1), mixer.weights[:, KEY:].expand(2, -1, -1, -1)
        _, last, last_bias = naive.chunk_ttt_linear_ref(
            q, k, v, mixer.gain, mixer.bias, eta, scale=1.0, mini_batch_size=16,
            initial_state=start, initial_state_bias=bias, output_final_state=True,
        )  # fmt: skip
        _, state = mixer(x)
    # their read-out adds the norm to q W + b where the paper has q: what is learned is the same
    torch.testing.assert_close(state.weights, torch.cat([last, last_bias], 2), rtol=1e-4, atol=1e-5)


def learn(
    mixer: Titans | TitansMAC, q: Tensor, k: Tensor, v: Tensor, rates: Tensor, chunk: int
) -> tuple[Tensor, list[list[Tensor]]]:
    """(M_t(q_t) (time, heads, key), for every head the weights before each chunk); q, k, v: (time, heads, key)."""
    theta, eta, alpha = torch.sigmoid(rates).chunk(3, -1)  # (time, heads) each
    deep = len(mixer.learner.weights) == 2

    def M(x: Tensor, w: list[Tensor]) -> Tensor:
        return x + silu(x @ w[0]) @ w[1] if deep else x @ w[0]

    y, found = torch.zeros_like(v), []
    for h in range(HEADS):
        w = [part[h].detach().clone() for part in mixer.learner.weights]
        s, before = [torch.zeros_like(part) for part in w], []
        for t in range(len(q)):
            if t % chunk == 0:
                anchor = [part.clone().requires_grad_() for part in w]
                before.append([part.detach() for part in anchor])
            loss = (M(k[t, h], anchor) - v[t, h]).square().sum() / 2
            slopes = torch.autograd.grad(loss, anchor, retain_graph=True)
            s = [eta[t, h] * a - theta[t, h] * b for a, b in zip(s, slopes, strict=True)]
            w = [(1 - alpha[t, h]) * a + b for a, b in zip(w, s, strict=True)]
            y[t, h] = M(q[t, h], w)
        found.append(before)
    return y, found


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("chunk", [1, 4])
def test_titans_equals_a_loop_with_the_gradients_at_the_beginning_of_the_chunk(
    layers: int, chunk: int, generator: torch.Generator
) -> None:
    mixer = moved(Titans(WIDTH, memory_layers=layers, chunk=chunk))
    x = draw(generator)
    projected = pad(mixer.qkv(x).mT, (3, 0))
    mixed = silu(conv1d(projected, mixer.conv.weight[:, None], groups=3 * WIDTH)).mT
    q, k, v = (part[0].unflatten(-1, (HEADS, KEY)) for part in mixed.chunk(3, -1))
    q, k = (part / (part.square().sum(-1, keepdim=True) + 1e-6).sqrt() for part in (q, k))
    y, _ = learn(mixer, q, k, v, mixer.learner.rates(x)[0], chunk)
    expected = mixer.out(rms_norm(y, (KEY,), mixer.norm.weight, 1e-6).flatten(-2) * silu(mixer.gate(x[0])))
    torch.testing.assert_close(mixer(x)[0][0], expected, rtol=1e-9, atol=1e-9)


def test_titans_forgets_and_remembers() -> None:
    """One pair of key and value, learned, is recalled; with alpha next to 1 nothing is."""
    torch.manual_seed(0)
    mixer = Titans(WIDTH, memory_layers=1, chunk=1)
    k = normalize(torch.randn(1, 1, HEADS, KEY), dim=-1).expand(-1, 50, -1, -1)
    v = torch.randn(1, 1, HEADS, KEY).expand(-1, 50, -1, -1)
    x = torch.zeros(1, 50, WIDTH)
    start = mixer.learner.initial_state(1)
    with torch.no_grad():
        mixer.learner.rates.bias[-HEADS:] = -20.0
        y, _ = mixer.learner.update(x, k, k, v, start, None, None)
        torch.testing.assert_close(y[:, -1], v[:, -1], rtol=0.05, atol=0.05)
        mixer.learner.rates.bias[-HEADS:] = 20.0
        mixer.learner.rates.bias[:HEADS] = -20.0
        y, _ = mixer.learner.update(x, k, k, v, start, None, None)
    assert y.abs().max() < 1e-4
    for options, message in (({"memory_layers": 3}, "memory_layers is 3"), ({"chunk": 0}, "the chunk is 0")):
        with pytest.raises(InputError, match=message):
            Titans(WIDTH, **options)


def test_titans_without_momentum_or_forgetting_has_none(generator: torch.Generator) -> None:
    """As the full layer whose sigmoids of eta, alpha are next to 0."""
    full = moved(Titans(WIDTH, chunk=4))
    x = draw(generator)
    for options, rows in (({"momentum": False}, [1]), ({"forget": False}, [2]), (dict.fromkeys(LEFT, False), [1, 2])):
        mixer = Titans(WIDTH, chunk=4, **options).double()
        weights = dict(full.state_dict())
        for name in ("learner.rates.weight", "learner.rates.bias"):
            parts = weights[name].clone().unflatten(0, (3, HEADS))
            weights[name] = parts[[n for n in range(3) if n not in rows]].flatten(0, 1)
        mixer.load_state_dict(weights)
        off = copy.deepcopy(full)
        with torch.no_grad():
            for row in rows:
                off.learner.rates.weight[row * HEADS : (row + 1) * HEADS] = 0
                off.learner.rates.bias[row * HEADS : (row + 1) * HEADS] = -100
        torch.testing.assert_close(mixer(x)[0], off(x)[0], rtol=1e-9, atol=1e-9)
        assert (mixer(x)[0] - full(x)[0]).abs().max() > 1e-3


def attend(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """One query (key,) over keys and values (entries, key)."""
    return torch.softmax(keys @ q / KEY**0.5, 0) @ values


def turned(x: Tensor, position: int) -> Tensor:
    """Rotary positions by complex numbers: channels 0 and 2, 1 and 3 are pairs."""
    angle = position * torch.tensor([1.0, 10_000.0**-0.5], dtype=torch.float64)
    z = torch.complex(x[..., :2], x[..., 2:]) * torch.exp(1j * angle)
    return torch.cat([z.real, z.imag], -1)


def split(linear: nn.Linear, x: Tensor) -> list[Tensor]:
    """q, k, v (time, heads, key) of x (time, width)."""
    return [part.unflatten(-1, (HEADS, KEY)) for part in linear(x).chunk(3, -1)]


def windowed(block: TitansMAG | TitansMAL, x: Tensor, window: int) -> Tensor:
    """The attention over persistent tokens and window, (time, width), in a loop."""
    attention = block.short_term
    q, k, v = split(attention.qkv, x)
    _, pk, pv = split(attention.qkv, attention.persistent.tokens)
    y = torch.zeros_like(q)
    for t in range(len(x)):
        for h in range(HEADS):
            seen = range(max(0, t - window + 1), t + 1)
            keys = torch.cat([pk[:, h], torch.stack([turned(k[j, h], j) for j in seen])])
            y[t, h] = attend(turned(q[t, h], t), keys, torch.cat([pv[:, h], v[seen.start : t + 1, h]]))
    return attention.out(y.flatten(-2))


@pytest.mark.parametrize("window", [1, 4, 64])
def test_titans_mag_is_its_equation(window: int, generator: torch.Generator) -> None:
    block = moved(TitansMAG(WIDTH, window=window, persistent=2, chunk=4))
    x = draw(generator)
    remembered = block.long_term(x)[0][0]
    gate = torch.sigmoid(block.gate(block.long_norm(remembered)))
    expected = block.out(block.short_norm(windowed(block, x[0], window)) * gate)
    torch.testing.assert_close(block(x)[0][0], expected, rtol=1e-9, atol=1e-9)


def test_titans_mal_is_its_equation(generator: torch.Generator) -> None:
    block = moved(TitansMAL(WIDTH, window=4, persistent=2, chunk=4))
    x = draw(generator)
    expected = windowed(block, block.norm(x[0] + block.long_term(x)[0][0]), 4)
    torch.testing.assert_close(block(x)[0][0], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("layers", [1, 2])
def test_titans_mac_is_its_equation(layers: int, generator: torch.Generator) -> None:
    """Segment by segment: recall, attend position by position, learn from what was attended to."""
    segment = 4
    block = moved(TitansMAC(WIDTH, segment=segment, persistent=2, memory_layers=layers))
    x = draw(generator)[0]

    def unit(part: Tensor) -> Tensor:
        return part / (part.square().sum(-1, keepdim=True) + 1e-6).sqrt()

    asked = unit(block.ask(x).unflatten(-1, (HEADS, KEY)))
    _, pk, pv = split(block.qkv, block.persistent.tokens)
    a = torch.zeros(TIME, WIDTH, dtype=torch.float64)
    for start in range(0, TIME, segment):
        stop = min(start + segment, TIME)
        # what has been learned from the segments before: the loop over all of them again
        q, k, v = split(block.learn, a[: start + 1])
        _, found = learn(block, unit(q), unit(k), v, block.learner.rates(a[: start + 1]), segment)
        h = torch.zeros(stop - start, HEADS, KEY, dtype=torch.float64)
        for head in range(HEADS):
            w, u = found[head][-1], asked[start:stop, head]
            h[:, head] = u + silu(u @ w[0]) @ w[1] if layers == 2 else u @ w[0]
        hk, hv = split(block.qkv, h.flatten(-2))[1:]
        xq, xk, xv = split(block.qkv, x[start:stop])
        for t in range(stop - start):
            rows = []
            for head in range(HEADS):
                seen = range(t + 1)
                keys = [pk[:, head], *(torch.stack([turned(z[j, head], j) for j in seen]) for z in (hk, xk))]
                values = torch.cat([pv[:, head], hv[: t + 1, head], xv[: t + 1, head]])
                rows.append(attend(turned(xq[t, head], t), torch.cat(keys), values))
            a[start + t] = torch.cat(rows).detach()
    q, k, v = split(block.learn, a)
    m, _ = learn(block, unit(q), unit(k), v, block.learner.rates(a), segment)
    expected = block.out(a * torch.sigmoid(rms_norm(m, (KEY,), block.norm.weight, 1e-6).flatten(-2)))
    torch.testing.assert_close(block(x[None])[0][0], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cls", [TTTLinear, Titans, TitansMAC, TitansMAG, TitansMAL])
def test_half_precision_stays_near(cls: type, generator: torch.Generator) -> None:
    torch.manual_seed(0)
    mixer = cls(WIDTH)
    x = torch.randn(2, 21, WIDTH, generator=generator)
    expected = mixer(x)[0].detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = mixer(x[:, :9])
        z, _ = mixer(x[:, 9:], state)
    found = torch.cat([y, z], 1).float()
    assert (found - expected).abs().max() < 0.1 * max(1.0, float(expected.abs().max()))
    half = mixer.bfloat16()
    y, state = half(x[:, :9].bfloat16())
    z, _ = half(x[:, 9:].bfloat16(), state)
    assert z.dtype == torch.bfloat16
    found = torch.cat([y, z], 1).float()
    assert (found - expected).abs().max() < 0.1 * max(1.0, float(expected.abs().max()))
