"""Linear attention and retention against loops over pairs of positions and another implementation of retention."""

import math

import pytest
import torch
from torch import Tensor, nn

from seqmem.mixers.linear_attention import LinearAttention
from seqmem.mixers.retention import Retention


def test_linear_attention_is_a_weighted_mean(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    mixer = LinearAttention(6, heads=2).double()
    x = torch.randn(1, 7, 6, dtype=torch.float64, generator=generator)
    q, k, v = (x[0] @ w.T for w in mixer.qkv.weight.chunk(3))

    def kernel(z: Tensor) -> Tensor:
        return torch.where(z > 0, z + 1, z.exp())

    expected = torch.zeros(7, 6, dtype=torch.float64)
    for head in (slice(0, 3), slice(3, 6)):
        for t in range(7):
            weights = torch.stack([kernel(q[t, head]) @ kernel(k[j, head]) for j in range(t + 1)])
            expected[t, head] = weights @ v[: t + 1, head] / weights.sum()
    torch.testing.assert_close(mixer(x)[0][0], expected @ mixer.out.weight.T, rtol=1e-5, atol=1e-6)
    rows = mixer.attention(x).sum(-1)
    torch.testing.assert_close(rows, torch.ones_like(rows), rtol=1e-5, atol=1e-5)


def test_retention_is_rotated_decayed_scores(generator: torch.Generator) -> None:
    """Complex numbers in place of the rotation of real pairs."""
    torch.manual_seed(0)
    mixer = Retention(8, heads=2, value_expansion=1.5).double()
    x = torch.randn(1, 7, 8, dtype=torch.float64, generator=generator)
    q, k, v = (x[0] @ w.T for w in mixer.qkv.weight.split([8, 8, 12]))
    outputs = []
    for h in range(2):
        gamma = 1 - 2.0 ** (-5 - h)
        qh, kh = (torch.complex(z[:, 4 * h : 4 * h + 2], z[:, 4 * h + 2 : 4 * h + 4]) for z in (q, k))
        theta = torch.tensor([1.0, 10_000.0 ** (-1 / 2)], dtype=torch.float64)
        o = torch.zeros(7, 6, dtype=torch.float64)
        for t in range(7):
            for j in range(t + 1):
                turned = qh[t] * kh[j].conj() * torch.exp(1j * (t - j) * theta)
                o[t] += turned.real.sum() * gamma ** (t - j) / math.sqrt(4) * v[j, 6 * h : 6 * h + 6]
        o = o - o.mean(-1, keepdim=True)
        outputs.append(o / (o.square().mean(-1, keepdim=True) + 1e-6).sqrt())
    expected = mixer.out(torch.cat(outputs, -1) * nn.functional.silu(mixer.gate(x[0])))
    torch.testing.assert_close(mixer(x)[0][0], expected, rtol=1e-9, atol=1e-9)


def test_retention_equals_another_implementation(generator: torch.Generator) -> None:
    """With 5 heads its decays, geometric from 1 - 1/32 to 1 - 1/512, are the paper's. It pairs neighbours for
    the rotation (ours: halves) and spaces the angles to the very end of the range: both are translated.
    """
    retention = pytest.importorskip("yet_another_retnet.retention")
    torch.manual_seed(0)
    heads, key = 5, 8
    width = heads * key
    ours = Retention(width, heads=heads)
    theirs = retention.MultiScaleRetention(width, heads, bias=False)
    neighbours = torch.arange(key).reshape(2, -1).T.flatten()  # 0, 4, 1, 5, ...: which of our channels stands where
    order = (key * torch.arange(heads)[:, None] + neighbours).flatten()
    query, keys, values = ours.qkv.weight.detach().chunk(3)
    with torch.no_grad():
        theirs.q_proj.weight.copy_(query[order])
        theirs.k_proj.weight.copy_(keys[order])
        theirs.v_proj.weight.copy_(values)
        theirs.thetas.copy_((10_000.0 ** (-torch.arange(0, key, 2) / key)).repeat_interleave(2))
    theirs.g_proj, theirs.out_proj = ours.gate, ours.out
    x = torch.randn(2, 12, width, generator=generator)
    torch.testing.assert_close(ours(x)[0], theirs(x, x, x)[0], rtol=1e-5, atol=1e-5)


def test_retention_sees_distances_only() -> None:
    """The same words after a million others that were forgotten: positions are exact far from the beginning."""
    torch.manual_seed(0)
    mixer = Retention(16)
    x = torch.randn(1, 9, 16)
    near, _ = mixer(x)
    state = mixer.initial_state(1)
    far, last = mixer(x, state._replace(position=state.position + 1_000_000))
    torch.testing.assert_close(far, near, rtol=1e-4, atol=1e-5)
    assert last.position.tolist() == [1_000_009]
