"""ALiBi, sinks, Transformer-XL, Hopfield, grouped queries, dual and template attention: against loops over queries."""

import math

import pytest
import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.mixers.alibi_attention import AlibiAttention
from seqmem.mixers.attention import Attention
from seqmem.mixers.dual_attention import DualAttention
from seqmem.mixers.grouped_query_attention import GroupedQueryAttention
from seqmem.mixers.hopfield import Hopfield
from seqmem.mixers.sink_attention import SinkAttention
from seqmem.mixers.template_attention import TemplateAttention
from seqmem.mixers.transformer_xl import TransformerXLAttention

TIME, WIDTH, HEADS, HEAD = 14, 8, 2, 4


def noise(generator: torch.Generator, width: int = WIDTH) -> Tensor:
    return torch.randn(2, TIME, width, dtype=torch.float64, generator=generator)


def projected(layer: torch.nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    return layer.qkv(x).unflatten(-1, (3, HEADS, HEAD)).unbind(2)


def turned(x: Tensor, place: int) -> Tensor:
    """One vector per head, (heads, head), turned by ``place``: channel i with channel i + head / 2."""
    half = x.shape[-1] // 2
    angle = torch.tensor([place * 10_000.0 ** (-i / half) for i in range(half)], dtype=x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)


def test_alibi_takes_off_slope_times_distance(generator: torch.Generator) -> None:
    layer, x = AlibiAttention(WIDTH, heads=HEADS).double(), noise(generator)
    q, k, v = projected(layer, x)
    y = layer(x)[0]
    for t in (0, 5, TIME - 1):
        distance = torch.arange(t, -1, -1, dtype=torch.float64)
        score = torch.einsum("bhd,bjhd->bhj", q[:, t], k[:, : t + 1]) / 2
        score = score - torch.tensor([2.0**-4, 2.0**-8], dtype=torch.float64)[:, None] * distance
        read = torch.einsum("bhj,bjhd->bhd", score.softmax(-1), v[:, : t + 1])
        torch.testing.assert_close(y[:, t], layer.out(read.flatten(1)))


def test_sinks_are_seen_from_everywhere_and_the_middle_is_not(generator: torch.Generator) -> None:
    window, sinks = 4, 2
    layer, x = SinkAttention(WIDTH, heads=HEADS, window=window, sinks=sinks).double(), noise(generator)
    q, k, v = projected(layer, x)
    y, state = layer(x)
    for t in range(TIME):
        cache = sorted({*range(min(sinks, t + 1)), *range(max(0, t - window + 1), t + 1)})
        own = min(t, sinks + window - 1)  # the query's place in the cache
        for b in range(2):
            scores = []
            for j in cache:
                at = own if j < sinks else t
                scores.append((turned(q[b, t], at) * turned(k[b, j], j)).sum(-1) / 2)
            weights = torch.stack(scores, -1).softmax(-1)  # (heads, cache)
            read = torch.einsum("hj,jhd->hd", weights, v[b, cache])
            torch.testing.assert_close(y[b, t], layer.out(read.flatten()))
    assert state.key.shape[1] == sinks + window - 1
    assert state.place[0].tolist() == [0, 1, TIME - 3, TIME - 2, TIME - 1]


def test_transformer_xl_scores_content_and_distance(generator: torch.Generator) -> None:
    window = 5
    layer, x = TransformerXLAttention(WIDTH, heads=HEADS, window=window).double(), noise(generator)
    with torch.no_grad():
        layer.content_bias.normal_(generator=generator)
        layer.position_bias.normal_(generator=generator)
    q, k, v = projected(layer, x)
    y, state = layer(x)
    for t in (0, 3, TIME - 1):
        low = max(0, t - window + 1)
        scores = []
        for j in range(low, t + 1):
            angle = torch.tensor([(t - j) * 10_000.0 ** (-i / WIDTH) for i in range(0, WIDTH, 2)], dtype=torch.float64)
            r = layer.relative(torch.cat([angle.sin(), angle.cos()])).unflatten(-1, (HEADS, HEAD))
            content = ((q[:, t] + layer.content_bias) * k[:, j]).sum(-1)
            scores.append((content + ((q[:, t] + layer.position_bias) * r).sum(-1)) / 2)
        read = torch.einsum("bhj,bjhd->bhd", torch.stack(scores, -1).softmax(-1), v[:, low : t + 1])
        torch.testing.assert_close(y[:, t], layer.out(read.flatten(1)))
    assert state.key.shape[1] == window - 1


@pytest.mark.parametrize("updates", [0, 1, 3])
def test_hopfield_moves_to_stored_patterns_and_reads(updates: int, generator: torch.Generator) -> None:
    layer, x = Hopfield(WIDTH, heads=HEADS, updates=updates, beta=2.0).double(), noise(generator)
    q, k, v = projected(layer, x)
    q, k = layer.norms[0](q), layer.norms[1](k)
    y = layer(x)[0]
    for t in (0, 6, TIME - 1):
        xi = q[:, t]
        for _ in range(updates):
            share = (2 * torch.einsum("bhd,bjhd->bhj", xi, k[:, : t + 1])).softmax(-1)
            xi = torch.einsum("bhj,bjhd->bhd", share, k[:, : t + 1])
        share = (2 * torch.einsum("bhd,bjhd->bhj", xi, k[:, : t + 1])).softmax(-1)
        torch.testing.assert_close(y[:, t], layer.out(torch.einsum("bhj,bjhd->bhd", share, v[:, : t + 1]).flatten(1)))


def test_a_cold_hopfield_memory_finds_the_nearest_pattern() -> None:
    """Large beta, stored patterns far apart: the state pattern is mended to the stored one in one update."""
    layer = Hopfield(16, heads=1, updates=1, beta=50.0).double()
    with torch.no_grad():
        layer.qkv.weight.copy_(torch.eye(16, dtype=torch.float64).repeat(3, 1))
    generator = torch.Generator().manual_seed(0)
    stored = torch.randn(1, 6, 16, dtype=torch.float64, generator=generator).sign()
    damaged = stored[:, 2:3].clone()
    damaged[..., :3] *= -1
    weights = layer.attention(torch.cat([stored, damaged], 1))[0, 0, -1, :6]
    assert int(weights.argmax()) == 2


def test_shared_keys_are_attention_with_repeated_weights(generator: torch.Generator) -> None:
    shared, whole = GroupedQueryAttention(16, heads=4, groups=2).double(), Attention(16, heads=4).double()
    with torch.no_grad():
        q, k, v = shared.qkv.weight.split([16, 8, 8])
        repeat = [part.unflatten(0, (2, 4)).repeat_interleave(2, 0).flatten(0, 1) for part in (k, v)]
        whole.qkv.weight.copy_(torch.cat([q, *repeat]))
        whole.out.weight.copy_(shared.out.weight)
    x = noise(generator, 16)
    torch.testing.assert_close(shared(x)[0], whole(x)[0])
    sizes = [layer(x)[1].key.numel() for layer in (shared, whole)]
    assert sizes[0] * 2 == sizes[1]


@pytest.mark.parametrize(("scores", "values"), [(True, True), (True, False), (False, True)])
def test_template_attention_adds_the_identity_to_both_products(
    scores: bool, values: bool, generator: torch.Generator
) -> None:
    """Against W_q W_k^T + a I and W_v W_o + b I as whole matrices of width by width."""
    layer = TemplateAttention(WIDTH, heads=HEADS, on_scores=scores, on_values=values, multiplier=3.0).double()
    a, b = (torch.randn(HEADS, dtype=torch.float64, generator=generator) for _ in range(2))
    with torch.no_grad():
        for number, value in ((layer.a, a), (layer.b, b)):
            if number is not None:
                number.copy_(value)
    x, one = noise(generator), torch.eye(WIDTH, dtype=torch.float64)
    wq, wk, wv = (part.unflatten(0, (HEADS, HEAD)) for part in layer.qkv.weight.chunk(3))
    wo = layer.out.weight.unflatten(1, (HEADS, HEAD))  # (width, heads, head)
    expected = torch.zeros_like(x)
    for h in range(HEADS):
        compare = wq[h].T @ wk[h] / HEAD**0.5 + (3 * a[h] * one if scores else 0)
        hand_on = wo[:, h] @ wv[h] + (3 * b[h] * one if values else 0)
        for t in range(TIME):
            share = torch.einsum("bw,wv,bjv->bj", x[:, t], compare, x[:, : t + 1]).softmax(-1)
            expected[:, t] += torch.einsum("bj,bjv,wv->bw", share, x[:, : t + 1], hand_on)
    torch.testing.assert_close(layer(x)[0], expected)
    torch.testing.assert_close(layer.read(x, layer.attention(x)), expected)
    state, parts = None, []
    for piece in x.split([3, 1, TIME - 4], 1):
        y, state = layer(piece, state)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), expected)


@pytest.mark.parametrize(
    ("sensory", "symmetric", "by"),
    [(2, False, "features"), (0, True, "features"), (2, False, "place"), (1, False, "distance")],
)
def test_dual_attention_is_its_sum_of_messages(
    sensory: int, symmetric: bool, by: str, generator: torch.Generator
) -> None:
    """Against the messages written out, n^2 of them, each with its relation vector."""
    layer = DualAttention(
        16,
        sensory_heads=sensory,
        relational_heads=4 - sensory,
        relations=3,
        symbols=5,
        symbols_by=by,
        symmetric=symmetric,
    ).double()
    x, d = noise(generator, 16), 4
    q, k = layer.qk(x).unflatten(-1, (2, 4, d)).unbind(2)
    v = layer.value(x).unflatten(-1, (sensory, d)) if sensory else None
    rq = layer.relation_query(x).unflatten(-1, (3, d))
    rk = layer.relation_key(x).unflatten(-1, (3, d))
    if by == "features":
        symbol = torch.softmax(layer.symbol_query(x) @ layer.templates.T / math.sqrt(16), -1) @ layer.library

    def message(b: int, t: int, j: int) -> torch.Tensor:
        one = symbol[b, j] if by == "features" else layer.library[min(j if by == "place" else t - j, 4)]
        return layer.from_symbols(one).unflatten(-1, (4 - sensory, d))

    y = layer(x)[0]
    for b, t in ((0, 0), (1, 6), (0, TIME - 1)):
        heads = []
        for h in range(4):
            scores = [(turned(q[b, t], t)[h] * turned(k[b, j], j)[h]).sum() / 2 for j in range(t + 1)]
            share = torch.stack(scores).softmax(0)
            total = torch.zeros(d, dtype=torch.float64)
            for j in range(t + 1):
                if h < sensory:
                    assert v is not None
                    total = total + share[j] * v[b, j, h]
                else:
                    relation = (rq[b, t] * rk[b, j]).sum(-1) / 2
                    total = total + share[j] * (
                        relation @ layer.from_relations[h - sensory] + message(b, t, j)[h - sensory]
                    )
            heads.append(total)
        torch.testing.assert_close(y[b, t], layer.out(torch.cat(heads)))


@pytest.mark.parametrize("by", ["place", "distance"])
def test_dual_attention_goes_on_where_it_stopped(by: str, generator: torch.Generator) -> None:
    """Symbols of places and distances count from the document's begin, over cuts, padding and resets."""
    layer = DualAttention(16, symbols=6, symbols_by=by).double()
    x = noise(generator, 16)
    mask = torch.rand(x.shape[:2], generator=generator) > 0.3
    reset = torch.rand(x.shape[:2], generator=generator) > 0.8
    whole, _ = layer(x, mask=mask, reset=reset)
    state, parts = None, []
    for piece in (slice(0, 3), slice(3, 4), slice(4, None)):
        y, state = layer(x[:, piece], state, mask=mask[:, piece], reset=reset[:, piece])
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1)[mask], whole[mask])
    row = x[0, mask[0]][None]  # the same without its padding
    begins = reset[0].cumsum(0)[mask[0]].diff(prepend=torch.zeros(1, dtype=torch.long)) > 0
    torch.testing.assert_close(layer(row, reset=begins[None])[0][0], whole[0, mask[0]])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SinkAttention(8, window=0), "window 0"),
        (lambda: TransformerXLAttention(8, window=0), "at least 1"),
        (lambda: Hopfield(8, beta=-1.0), "above 0"),
        (lambda: GroupedQueryAttention(8, heads=4, groups=3), "divisor of heads 4"),
        (lambda: DualAttention(8, relational_heads=0), "0 relational"),
        (lambda: DualAttention(8, symbols_by="name"), "'name', expected one of features, place, distance"),
    ],
)
def test_bad_options_say_what_is_expected(make, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=words):
        make()
