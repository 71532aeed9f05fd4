"""What a careful user would write in plain PyTorch where no package offers a form of a recurrence for the CPU.

They compute what the ops of this library compute, from the same arguments, and serve only as something to compare with.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


def eager_scan(a: Tensor, b: Tensor) -> Tensor:
    """h_t = a_t h_{t-1} + b_t, a loop over time. a, b: (batch, time, channels)."""
    h, states = torch.zeros_like(b[:, 0]), []
    for gate, entry in zip(a.unbind(1), b.unbind(1), strict=True):
        h = torch.addcmul(entry, gate, h)
        states.append(h)
    return torch.stack(states, 1)


def eager_selective_scan(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Mamba's recurrence, a loop over time. Arguments of :func:`seqmem.ops.selective_scan`."""
    h, outputs = u.new_zeros(u.shape[0], *A.shape), []
    for entry, step, write, read in zip((dt * u).unbind(1), dt.unbind(1), B.unbind(1), C.unbind(1), strict=True):
        h = torch.exp(step[..., None] * A) * h + entry[..., None] * write[:, None]  # (batch, channels, state)
        outputs.append((h @ read[..., None]).squeeze(-1))
    return torch.stack(outputs, 1)


def eager_wkv(k: Tensor, v: Tensor, g: Tensor, bonus: Tensor) -> Tensor:
    """RWKV-4's average, a loop over time that keeps the largest exponent. Arguments of :func:`seqmem.ops.wkv`."""
    m, u, w = torch.full_like(k[:, 0], -1e30), torch.zeros_like(k[:, 0]), torch.zeros_like(k[:, 0])
    outputs = []
    for key, value in zip(k.unbind(1), v.unbind(1), strict=True):
        largest = torch.maximum(m, key + bonus)
        past, present = (m - largest).exp(), (key + bonus - largest).exp()
        outputs.append((past * w + present * value) / (past * u + present))
        largest = torch.maximum(m + g, key)
        past, present = (m + g - largest).exp(), (key - largest).exp()
        m, u, w = largest, past * u + present, past * w + present * value
    return torch.stack(outputs, 1)


def eager_lstm(x: Tensor, entry: Tensor, weight: Tensor, *peephole: Tensor) -> Tensor:
    """A loop over time. x: (batch, time, width), entry: (4 * hidden, width), weight: (4 * hidden, hidden), peephole:
    (3, hidden) or nothing."""
    h = c = x.new_zeros(x.shape[0], weight.shape[1])
    outputs = []
    for given in (x @ entry.mT).unbind(1):
        i, f, g, o = torch.addmm(given, h, weight.mT).chunk(4, -1)
        if peephole:
            i, f = i + peephole[0][0] * c, f + peephole[0][1] * c
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o + peephole[0][2] * c if peephole else o) * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs, 1)


def eager_slstm(x: Tensor, weight: Tensor) -> Tensor:
    """A loop over time, relative to the largest exponent. Arguments of :func:`seqmem.ops.slstm`."""
    h = c = n = torch.zeros_like(x[:, 0, :, 0])  # (batch, heads, head)
    m = torch.full_like(h, -1e30)
    outputs = []
    for given in x.unbind(1):
        gates = given + torch.einsum("bhi,hoi->bho", h, weight).unflatten(-1, (4, -1))
        z, i, f, o = gates.unbind(2)
        kept = F.logsigmoid(f) + m
        largest = torch.maximum(kept, i)
        keep, write = (kept - largest).exp(), (i - largest).exp()
        c, n, m = keep * c + write * torch.tanh(z), keep * n + write, largest
        h = torch.sigmoid(o) * c / n
        outputs.append(h)
    return torch.stack(outputs, 1)


def eager_memory_update(
    q: Tensor, k: Tensor, v: Tensor, rate: Tensor, w0: Tensor, momentum: Tensor, forget: Tensor, size: int = 16
) -> Tensor:
    """The linear memory of Titans, token by token, its gradients taken at the weights with which the chunk of ``size``
    began. Arguments of :func:`seqmem.ops.memory_update`."""
    w = w0.expand(q.shape[0], *w0.shape)  # (batch, heads, key, value)
    change, begun, outputs = torch.zeros_like(w), w, []
    for t, (query, key, value, theta, eta, alpha) in enumerate(
        zip(*(x.unbind(1) for x in (q, k, v, rate, momentum, forget)), strict=True)
    ):
        begun = w if t % size == 0 else begun
        error = torch.einsum("bhk,bhkv->bhv", key, begun) - value
        gradient = key[..., :, None] * error[..., None, :]
        change = eta[..., None, None] * change - theta[..., None, None] * gradient
        w = (1 - alpha)[..., None, None] * w + change
        outputs.append(torch.einsum("bhk,bhkv->bhv", query, w))
    return torch.stack(outputs, 1)


def cumulative_softmax(s: Tensor, v: Tensor) -> Tensor:
    """Running softmax as two cumulative sums. Not safe: where the largest score comes late, early weights are 0/0."""
    weight = (s - s.amax(1, keepdim=True)).exp()[..., None]  # (batch, time, heads, 1)
    return (weight * v).cumsum(1) / weight.cumsum(1)


def log_depth_softmax(s: Tensor, v: Tensor) -> Tensor:
    """Running softmax by pairwise combination in log2(time) sweeps (Attention as an RNN, 2024, arXiv 2405.13956)."""
    m, u, w = s, torch.ones_like(s), v  # of the last 1, 2, 4, ... positions
    reach = 1
    while reach < s.shape[1]:
        largest = torch.maximum(m[:, :-reach], m[:, reach:])
        old, new = (m[:, :-reach] - largest).exp(), (m[:, reach:] - largest).exp()
        joined_u = old * u[:, :-reach] + new * u[:, reach:]
        joined_w = old[..., None] * w[:, :-reach] + new[..., None] * w[:, reach:]
        m = torch.cat([m[:, :reach], largest], 1)
        u, w = torch.cat([u[:, :reach], joined_u], 1), torch.cat([w[:, :reach], joined_w], 1)
        reach *= 2
    return w / u[..., None]


def shifted_convolution(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The causal convolution as a sum over shifted inputs. Arguments of :func:`seqmem.ops.causal_conv`."""
    time, kernel = x.shape[1], weight.shape[1]
    padded, y = F.pad(x, (0, 0, kernel - 1, 0)), bias
    for j in range(kernel):
        y = torch.addcmul(y, weight[:, j], padded[:, j : j + time])
    return y


def chunked_ssd(q: Tensor, k: Tensor, v: Tensor, g: Tensor, size: int) -> Tensor:
    """Linear attention with a decay per head, as matrix products in chunks of ``size`` (Transformers are SSMs, 2024,
    arXiv 2405.21060). Arguments of :func:`seqmem.ops.ssd`."""
    time = q.shape[1]
    q, k, v, g = (_chunks(x, size) for x in (q, k, v, g[..., None]))  # (batch, heads, chunks, size, channels)
    g = g.squeeze(-1).cumsum(-1)
    later = torch.ones(size, size, dtype=torch.bool).triu(1)
    decay = (g[..., :, None] - g[..., None, :]).masked_fill(later, -torch.inf).exp()  # from j to i
    written = (k * (g[..., -1:] - g).exp()[..., None]).mT @ v  # (batch, heads, chunks, key, value)
    starts = _carried(written, g[..., -1].exp()[..., None, None])
    o = (q @ k.mT * decay) @ v + (q * g.exp()[..., None]) @ starts
    return _joined(o, time)


def chunked_gla(q: Tensor, k: Tensor, v: Tensor, g: Tensor, size: int) -> Tensor:
    """Linear attention with a decay per channel, as matrix products in chunks of ``size``: the decay from j to i is
    split into exp(G_i) exp(-G_j), which overflows when a chunk decays by more than exp(-88). Arguments of
    :func:`seqmem.ops.gated_linear_attention`."""
    time = q.shape[1]
    q, k, v, g = (_chunks(x, size) for x in (q, k, v, g))
    g = g.cumsum(-2)
    end = g[..., -1:, :]
    read, write = q * g.exp(), k * (-g).exp()
    starts = _carried((k * (end - g).exp()).mT @ v, end.exp().mT)
    return _joined((read @ write.mT).tril() @ v + read @ starts, time)


def chunked_delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, size: int) -> Tensor:
    """The delta rule in chunks of ``size``: the writes of a chunk solve one triangular system, the WY form
    (Parallelizing Linear Transformers with the Delta Rule, 2024, arXiv 2406.06484)."""
    time, value = q.shape[1], v.shape[-1]
    q, k, v, beta = (_chunks(x, size) for x in (q, k, v, beta[..., None]))
    system = (beta * k @ k.mT).tril(-1)  # the ones on the diagonal are understood
    right = torch.cat([beta * v, beta * k], -1)
    solved = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)
    scores = (q @ k.mT).tril()
    s, outputs = q.new_zeros(*q.shape[:2], q.shape[-1], value), []
    for i in range(q.shape[2]):
        new = solved[:, :, i, :, :value] - solved[:, :, i, :, value:] @ s  # (batch, heads, size, value)
        outputs.append(q[:, :, i] @ s + scores[:, :, i] @ new)
        s = s + k[:, :, i].mT @ new
    return _joined(torch.stack(outputs, 2), time)


def chunked_generalized_delta_rule(
    q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, g: Tensor, size: int
) -> Tensor:
    """The generalised delta rule in chunks of ``size``, with the decay split as in :func:`chunked_gla`: what a reads at
    the steps of a chunk, u = S^T a, solves (1 - tril(a b^T, -1)) u = a S + tril(a k^T, -1) v."""
    time, value = q.shape[1], v.shape[-1]
    q, k, v, a, b, g = (_chunks(x, size) for x in (q, k, v, a, b, g))
    total = g.cumsum(-2)
    end = total[..., -1:, :]
    read, seen = q * total.exp(), a * (total - g).exp()
    key, back = k * (-total).exp(), b * (-total).exp()
    right = torch.cat([(seen @ key.mT).tril(-1) @ v, seen], -1)
    solved = torch.linalg.solve_triangular(-(seen @ back.mT).tril(-1), right, upper=False, unitriangular=True)
    own, through = (read @ key.mT).tril() @ v, (read @ back.mT).tril()
    rest = (end - total).exp()
    written, returned, decay = (k * rest).mT @ v, (b * rest).mT, end.exp().mT
    s, outputs = q.new_zeros(*q.shape[:2], q.shape[-1], value), []
    for i in range(q.shape[2]):
        u = solved[:, :, i, :, :value] + solved[:, :, i, :, value:] @ s  # (batch, heads, size, value)
        outputs.append(read[:, :, i] @ s + own[:, :, i] + through[:, :, i] @ u)
        s = decay[:, :, i] * s + written[:, :, i] + returned[:, :, i] @ u
    return _joined(torch.stack(outputs, 2), time)


def _chunks(x: Tensor, size: int) -> Tensor:
    """(batch, time, heads, channels) to (batch, heads, chunks, size, channels), zeros behind the end: there the state
    stays as it is."""
    x = F.pad(x, (0, 0, 0, 0, 0, -x.shape[1] % size))
    return rearrange(x, "batch (chunks size) heads channels -> batch heads chunks size channels", size=size)


def _joined(o: Tensor, time: int) -> Tensor:
    return rearrange(o, "batch heads chunks size channels -> batch (chunks size) heads channels")[:, :time]


def _carried(written: Tensor, decay: Tensor) -> Tensor:
    """The state before each chunk, from what each writes: (batch, heads, chunks, key, value)."""
    s, starts = torch.zeros_like(written[:, :, 0]), []
    for i in range(written.shape[2]):
        starts.append(s)
        s = torch.addcmul(written[:, :, i], decay[:, :, i], s)
    return torch.stack(starts, 2)
