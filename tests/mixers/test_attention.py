"""Full and local softmax attention against the equation written out, and against Llama's attention with the same
weights.
"""

from __future__ import annotations

import cmath
import math

import pytest
import torch
from torch import Tensor

from seqmem.mixers.attention import Attention
from seqmem.mixers.local_attention import LocalAttention


def written_out(
    mixer: Attention | LocalAttention, x: Tensor, window: int, mask: Tensor, reset: Tensor
) -> tuple[Tensor, Tensor]:
    """(y, weights) in float64, one query at a time: a complex number per channel pair, a Python list as memory."""
    batch, time, width = x.shape
    heads, groups, size = mixer.heads, mixer.kv_heads, mixer.head
    w = mixer.qkv.weight.detach()
    ys, weights = torch.zeros(batch, time, width, dtype=x.dtype), torch.zeros(batch, heads, time, time, dtype=x.dtype)
    for b in range(batch):
        memory: list[tuple[int, list[Tensor], list[Tensor]]] = []  # (when, key of each group, value of each group)
        for t in range(time):
            if reset[b, t]:
                memory = []
            if not mask[b, t]:
                continue
            q, k, v = (w @ x[b, t]).split([heads * size, groups * size, groups * size])
            if mixer.norms is not None:
                q, k = rms(q, size, mixer.norms.query.weight), rms(k, size, mixer.norms.key.weight)
            memory = [*memory, (t, list(k.split(size)), list(v.split(size)))][-window:]
            read = []
            for h, query in enumerate(q.split(size)):
                group = h // (heads // groups)
                scores = []
                for back, (_, keys, _) in enumerate(reversed(memory)):
                    key = keys[group]
                    score = 0.0
                    for i in range(size // 2):
                        turn = cmath.exp(1j * back * mixer.rope_base ** (-2 * i / size))
                        pair = complex(query[i], query[i + size // 2]) * turn
                        score += (pair * complex(key[i], key[i + size // 2]).conjugate()).real
                    scores.append(score / size**0.5)
                p = torch.tensor(scores[::-1], dtype=x.dtype).softmax(0)
                read.append(sum(a * values[group] for a, (_, _, values) in zip(p, memory, strict=True)))
                for a, (when, _, _) in zip(p, memory, strict=True):
                    weights[b, h, t, when] = a
            ys[b, t] = mixer.out.weight.detach() @ torch.cat(read)
    return ys, weights


def rms(x: torch.Tensor, size: int, weight: torch.Tensor) -> torch.Tensor:
    """Every head of ``x`` at unit root mean square, times ``weight``."""
    heads = x.view(-1, size)
    return (heads / (heads.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight.detach()).flatten()


CASES = {
    "full": (lambda: Attention(12, heads=2), 10**6),
    "full-grouped": (lambda: Attention(16, heads=4, kv_heads=2, rope_base=50.0), 10**6),
    "full-unnormed": (lambda: Attention(12, heads=2, qk_norm=False), 10**6),
    "local": (lambda: LocalAttention(12, window=4, heads=2), 4),
    "local-grouped": (lambda: LocalAttention(16, window=3, heads=4, kv_heads=1), 3),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("flags", ["plain", "mask", "reset", "both"])
def test_equals_the_equation(case: str, flags: str, generator: torch.Generator) -> None:
    build, window = CASES[case]
    mixer = build().double()
    if mixer.norms is not None:
        for norm in (mixer.norms.query, mixer.norms.key):
            torch.nn.init.uniform_(norm.weight, 0.5, 2.0, generator=generator)
    x = torch.randn(2, 14, mixer.width, generator=generator, dtype=torch.float64)
    everything = torch.ones(2, 14, dtype=torch.bool)
    mask = torch.rand(2, 14, generator=generator) > 0.3 if flags in ("mask", "both") else everything
    reset = torch.rand(2, 14, generator=generator) > 0.8 if flags in ("reset", "both") else ~everything
    y, weights = written_out(mixer, x, window, mask, reset)
    given = {
        "mask": mask if flags in ("mask", "both") else None,
        "reset": reset if flags in ("reset", "both") else None,
    }

    got, _ = mixer(x, **given)
    torch.testing.assert_close(got[mask], y[mask], rtol=0, atol=1e-12)
    matrix = mixer.attention(x, **given)
    torch.testing.assert_close(matrix.transpose(1, 2)[mask], weights.transpose(1, 2)[mask], rtol=0, atol=1e-12)
    torch.testing.assert_close(mixer.read(x, matrix)[mask], got[mask], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_equals_llama_and_qwen3_with_the_same_weights(family: str, kv_heads: int, generator: torch.Generator) -> None:
    from transformers import LlamaConfig, Qwen3Config
    from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRotaryEmbedding
    from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention

    sizes = {
        "hidden_size": 32,
        "head_dim": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": 64,
        "attn_implementation": "sdpa",
    }
    normed = family == "qwen3"
    config = Qwen3Config(**sizes) if normed else LlamaConfig(**sizes)
    theirs = (Qwen3Attention if normed else LlamaAttention)(config, layer_idx=0)
    rotary = LlamaRotaryEmbedding(LlamaConfig(**sizes))
    ours = Attention(32, heads=4, kv_heads=kv_heads, qk_norm=normed)
    with torch.no_grad():
        if normed:
            for mine, other in ((ours.norms.query, theirs.q_norm), (ours.norms.key, theirs.k_norm)):
                torch.nn.init.uniform_(other.weight, 0.5, 2.0, generator=generator)
                mine.weight.copy_(other.weight)
        ours.qkv.weight.copy_(torch.cat([theirs.q_proj.weight, theirs.k_proj.weight, theirs.v_proj.weight]))
        ours.out.weight.copy_(theirs.o_proj.weight)
    x = torch.randn(3, 40, 32, generator=generator)
    cos_sin = rotary(x, torch.arange(40)[None])
    expected = theirs(x, position_embeddings=cos_sin, attention_mask=None)[0]
    torch.testing.assert_close(ours(x)[0], expected, rtol=0, atol=1e-6)


def test_a_window_as_long_as_the_sequence_is_full_attention(generator: torch.Generator) -> None:
    full, local = Attention(16, heads=2).double(), LocalAttention(16, window=30, heads=2).double()
    local.load_state_dict(full.state_dict())
    x = torch.randn(2, 30, 16, generator=generator, dtype=torch.float64)
    mask = torch.rand(2, 30, generator=generator) > 0.3
    for given in (None, mask):
        real = torch.ones_like(mask) if given is None else given
        torch.testing.assert_close(local(x, mask=given)[0][real], full(x, mask=given)[0][real], rtol=0, atol=1e-12)
    _, state = local(x[:, :12])
    torch.testing.assert_close(local(x[:, 12:], state)[0], full(x)[0][:, 12:], rtol=0, atol=1e-12)


def test_far_positions_keep_their_angle(generator: torch.Generator) -> None:
    """After ten million tokens the same text still reads the same in float32, since only distances count."""
    mixer = LocalAttention(16, window=8, heads=2)
    x = torch.randn(2, 20, 16, generator=generator)
    far = mixer.initial_state(2)._replace(position=torch.full((2,), 10_000_000))
    torch.testing.assert_close(mixer(x, far)[0], mixer(x)[0], rtol=0, atol=1e-5)


def test_a_reset_frees_what_came_before(generator: torch.Generator) -> None:
    mixer = Attention(16, heads=2)
    x = torch.randn(2, 10, 16, generator=generator)
    reset = torch.zeros(2, 10, dtype=torch.bool)
    reset[0, 8] = reset[1, 6] = True
    _, state = mixer(x, mixer(x)[1], reset=reset)
    assert state.key.shape == (2, 2, 4, 8)  # the longest current document has 4 tokens
    assert state.valid.tolist() == [[False, False, True, True], [True, True, True, True]]
    assert state.position.tolist() == [2, 4]


@pytest.mark.parametrize("options", [
    {"bias": True, "out_bias": True, "gated": True, "frequencies": [0.3, 0.0], "norm_eps": 1e-3},
    {"rope_base": None, "qk_norm": False},
])  # fmt: skip
@pytest.mark.parametrize("name", ["attention", "local_attention"])
def test_options_of_pretrained_models_keep_the_contract(name, options):
    from seqmem.mixers import get_mixer
    from seqmem.testing import check_mixer

    check_mixer(lambda width: get_mixer(name)(width, heads=4, **options), points=(1, 2, 3, 4, 7, 8))


def test_without_positions_the_order_of_what_is_read_does_not_matter():
    layer = Attention(8, heads=2, rope_base=None)
    x = torch.randn(1, 6, 8, generator=torch.Generator().manual_seed(0))
    turned = torch.cat([x[:, [3, 1, 4, 0, 2]], x[:, 5:]], 1)
    torch.testing.assert_close(layer(x)[0][:, -1], layer(turned)[0][:, -1])
    assert (Attention(8, heads=2)(x)[0][:, -1] - Attention(8, heads=2)(turned)[0][:, -1]).abs().max() > 1e-4


def test_sinusoidal_positions_keep_the_contract():
    from seqmem.testing import check_mixer

    check_mixer(
        lambda width: Attention(width, heads=2, rope_base=None, sinusoidal=True, bias=True), points=(1, 2, 3, 4, 7, 8)
    )


def test_sinusoidal_positions_equal_the_equation(generator: torch.Generator) -> None:
    """Of one head, a position at a time: sines and cosines into query and key, not into the value."""
    mixer = Attention(6, heads=1, rope_base=None, sinusoidal=True, qk_norm=False).double()
    x = torch.randn(9, 6, generator=generator, dtype=torch.float64)
    to_query, to_key, to_value = mixer.qkv.weight.detach().split(6)
    placed = []
    for t, one in enumerate(x):
        angles = [t * 10_000.0 ** (-2 * i / 6) for i in range(3)]
        placed.append(one + torch.tensor([*map(math.sin, angles), *map(math.cos, angles)], dtype=x.dtype))
    for t in range(9):
        scores = torch.stack([(to_query @ placed[t]) @ (to_key @ before) for before in placed[: t + 1]]) / 6**0.5
        read = sum(p * (to_value @ before) for p, before in zip(scores.softmax(0), x, strict=False))
        torch.testing.assert_close(mixer(x[None])[0][0, t], mixer.out.weight @ read, rtol=0, atol=1e-12)


def test_positions_are_turned_or_added_not_both():
    from seqmem.errors import InputError

    with pytest.raises(InputError, match="expected rope_base=None"):
        Attention(8, heads=2, sinusoidal=True)


def test_frequencies_that_cannot_be_meant_are_named():
    from seqmem.errors import InputError

    with pytest.raises(InputError, match="frequencies has 3 numbers, expected 2"):
        Attention(8, heads=2, frequencies=[1.0, 2.0, 3.0])
