"""ssd against other people's chunked form and against its own attention matrix."""

import torch
from transformers.models.mamba2.modeling_mamba2 import mamba2_chunk_scan

from seqmem.ops import gated_linear_attention, ssd


def test_equals_the_chunk_scan_of_mamba2(generator: torch.Generator) -> None:
    batch, time, heads, key, value = 2, 37, 3, 16, 17
    q, k = (torch.randn(batch, time, heads, key, generator=generator) for _ in range(2))
    x = torch.randn(batch, time, heads, value, generator=generator)
    dt = torch.rand(batch, time, heads, generator=generator)
    A = -torch.rand(heads, generator=generator)
    s0 = torch.randn(batch, heads, key, value, generator=generator)
    expected, state = mamba2_chunk_scan(x, dt, A, k, q, 16, initial_states=s0.mT, return_final_states=True)
    o, s = ssd(q, k, x * dt[..., None], dt * A, s0, backend="numba")
    torch.testing.assert_close(o, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(s, state.mT, rtol=1e-5, atol=1e-5)


def test_equals_its_attention_matrix(generator: torch.Generator) -> None:
    """o = (Q K^T * L) V with L_ts = exp(g_{s+1} + ... + g_t); no gate: plain causal sums."""
    q, k, v = (torch.randn(2, 9, 2, n, generator=generator, dtype=torch.float64) for n in (3, 3, 5))
    g = -torch.rand(2, 9, 2, generator=generator, dtype=torch.float64)
    scores = torch.einsum("bthk,bshk->bhts", q, k).tril()
    total = g.cumsum(1).transpose(1, 2)  # (batch, heads, time)
    decay = (total[..., :, None] - total[..., None, :]).tril().exp()
    torch.testing.assert_close(ssd(q, k, v, g, backend="numba")[0], torch.einsum("bhts,bshv->bthv", scores * decay, v))
    torch.testing.assert_close(ssd(q, k, v, backend="numba")[0], torch.einsum("bhts,bshv->bthv", scores, v))


def test_is_gated_linear_attention_with_one_decay(generator: torch.Generator) -> None:
    q, k, v = (torch.randn(2, 9, 2, n, generator=generator, dtype=torch.float64) for n in (3, 3, 5))
    g = -torch.rand(2, 9, 2, generator=generator, dtype=torch.float64)
    per_key = g[..., None].expand(2, 9, 2, 3)
    torch.testing.assert_close(ssd(q, k, v, g), gated_linear_attention(q, k, v, per_key))
