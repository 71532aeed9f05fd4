"""What a layer does to one token between its projections, as Numba kernels: one call per layer and token.

They take addresses, as those of :mod:`seqmem.ops._step_kernels`, run on one thread and write nothing but their outputs,
the last pointers of each list. An address of 0 stands for a part that the layer does not have.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import carray, njit

from seqmem.ops._launch import OPTIONS, jit
from seqmem.ops._math import exp
from seqmem.ops._step_kernels import cast, pointer

part = njit(inline="always", fastmath=OPTIONS["fastmath"], error_model="numpy")


@part
def silu(x, one):  # type: ignore[no-untyped-def]
    return x / (one + exp(-x))


@part
def softplus(x, like):  # type: ignore[no-untyped-def]
    return x if x > 20 else cast(math.log1p(exp(x)), like)


@part
def convolve(x, weight, bias, past, y, new):  # type: ignore[no-untyped-def]
    """y = bias + sum_j weight[:, j] window_j, the window being ``past`` (kernel - 1, channels) followed by x."""
    channels, kernel = weight.shape
    for c in range(channels):
        y[c] = x[c] * weight[c, kernel - 1] + bias[c] if bias.size else x[c] * weight[c, kernel - 1]
    for j in range(kernel - 1):
        past_j, new_j = past[j], new[j]
        following = past[j + 1] if j + 2 < kernel else x
        for c in range(channels):
            y[c] += past_j[c] * weight[c, j]
            new_j[c] = following[c]


@part
def scale_to_unit(x, scale, like):  # type: ignore[no-untyped-def]
    """x times ``scale`` / sqrt(|x|^2 + 1e-6), in place."""
    total = like
    for i in range(x.size):
        total += x[i] * x[i]
    factor = cast(scale / math.sqrt(total + 1e-6), like)
    for i in range(x.size):
        x[i] *= factor


@part
def write_and_read(q, k, v, decay, s, new, o):  # type: ignore[no-untyped-def]
    """new = decay s + k v^T,   o = new^T q."""
    for j in range(v.size):
        o[j] = 0
    for i in range(k.size):
        q_i, k_i, s_i, new_i = q[i], k[i], s[i], new[i]
        for j in range(v.size):
            s_ij = decay * s_i[j] + k_i * v[j]
            new_i[j] = s_ij
            o[j] += q_i * s_ij


@part
def turn(x, cos, sin):  # type: ignore[no-untyped-def]
    """Rotary positions, in place: channel i and channel i + size / 2 turn by angle i."""
    half = cos.size
    for i in range(half):
        a, b = x[i], x[i + half]
        x[i] = a * cos[i] - b * sin[i]
        x[i + half] = b * cos[i] + a * sin[i]


def make_rms_norm_step(parallel: int) -> Callable[..., None]:
    """y = x weight / sqrt(mean x^2 + eps)."""

    @jit(parallel)
    def rms_norm_step(x, weight, y, batch, width, eps, like):  # type: ignore[no-untyped-def]
        x_, y_ = carray(pointer(x, like), (batch, width)), carray(pointer(y, like), (batch, width))
        weight_ = carray(pointer(weight, like), width)
        for b in range(batch):
            x_b, y_b, total = x_[b], y_[b], like
            for i in range(width):
                total += x_b[i] * x_b[i]
            factor = cast(1 / math.sqrt(total / width + eps), like)
            for i in range(width):
                y_b[i] = x_b[i] * factor * weight_[i]

    return rms_norm_step


def make_silu_product_step(parallel: int) -> Callable[..., None]:
    """y = silu(a) b."""

    @jit(parallel)
    def silu_product_step(a, b, y, size, like):  # type: ignore[no-untyped-def]
        a_, b_, y_ = carray(pointer(a, like), size), carray(pointer(b, like), size), carray(pointer(y, like), size)
        one = cast(1, like)
        for i in range(size):
            y_[i] = silu(a_[i], one) * b_[i]

    return silu_product_step


def make_delta_step(parallel: int) -> Callable[..., None]:
    """(Gated) DeltaNet from the projections qkv, rates = [beta, step] and gate to what the output projection reads."""

    @jit(parallel)
    def delta_step(  # type: ignore[no-untyped-def]
        qkv, rates, gate, conv, norm, A_log, dt_bias, s, past, o, new, new_past,
        batch, heads, key, value, kernel, beta_max, eps, like,
    ):  # fmt: skip
        channels = heads * (2 * key + value)
        per_head = 2 if A_log else 1
        qkv_, rates_ = (
            carray(pointer(qkv, like), (batch, channels)),
            carray(pointer(rates, like), (batch, per_head, heads)),
        )
        gate_, norm_ = carray(pointer(gate, like), (batch, heads, value)), carray(pointer(norm, like), value)
        A_log_, dt_bias_ = carray(pointer(A_log, like), heads), carray(pointer(dt_bias, like), heads)
        conv_, none = carray(pointer(conv, like), (channels, kernel)), carray(pointer(conv, like), 0)
        s_, new_ = (
            carray(pointer(s, like), (batch, heads, key, value)),
            carray(pointer(new, like), (batch, heads, key, value)),
        )
        past_ = carray(pointer(past, like), (batch, kernel - 1, channels))
        new_past_ = carray(pointer(new_past, like), (batch, kernel - 1, channels))
        o_, one = carray(pointer(o, like), (batch, heads, value)), cast(1, like)
        c_ = np.empty(channels, o_.dtype)
        for b in range(batch):
            convolve(qkv_[b], conv_, none, past_[b], c_, new_past_[b])
            for c in range(channels):
                c_[c] = silu(c_[c], one)
            for h in range(heads):
                q, k = c_[h * key : (h + 1) * key], c_[(heads + h) * key : (heads + h + 1) * key]
                u = c_[2 * heads * key + h * value : 2 * heads * key + (h + 1) * value]  # v; then the correction
                scale_to_unit(q, 1 / math.sqrt(key), like)
                scale_to_unit(k, 1.0, like)
                beta, decay = cast(beta_max, like) / (one + exp(-rates_[b, 0, h])), one
                if A_log:
                    decay = exp(-exp(A_log_[h]) * softplus(rates_[b, 1, h] + dt_bias_[h], like))
                s_h, o_h = s_[b, h], o_[b, h]
                for i in range(key):
                    k_i, s_i = decay * k[i], s_h[i]
                    for j in range(value):
                        u[j] -= k_i * s_i[j]
                for j in range(value):
                    u[j] *= beta
                write_and_read(q, k, u, decay, s_h, new_[b, h], o_h)
                total = like
                for j in range(value):
                    total += o_h[j] * o_h[j]
                factor = cast(1 / math.sqrt(total / value + eps), like)
                for j in range(value):
                    o_h[j] *= factor * norm_[j]
                if gate:
                    for j in range(value):
                        o_h[j] *= silu(gate_[b, h, j], one)

    return delta_step


def make_retention_step(parallel: int) -> Callable[..., None]:
    """Retention from the projections qkv and gate to what the output projection reads."""

    @jit(parallel)
    def retention_step(  # type: ignore[no-untyped-def]
        qkv, gate, forgetting, frequency, position, s, o, new, new_position,
        batch, heads, key, value, eps, like,
    ):  # fmt: skip
        channels = heads * (2 * key + value)
        qkv_, gate_ = carray(pointer(qkv, like), (batch, channels)), carray(pointer(gate, like), (batch, heads, value))
        frequency_, forgetting_ = carray(pointer(frequency, 0.0), key // 2), carray(pointer(forgetting, like), heads)
        position_ = carray(pointer(position, batch), batch)
        new_position_ = carray(pointer(new_position, batch), batch)
        s_, new_ = (
            carray(pointer(s, like), (batch, heads, key, value)),
            carray(pointer(new, like), (batch, heads, key, value)),
        )
        o_, one, scale = carray(pointer(o, like), (batch, heads, value)), cast(1, like), cast(key**-0.5, like)
        q, k = np.empty(key, o_.dtype), np.empty(key, o_.dtype)
        cos, sin = np.empty(key // 2, o_.dtype), np.empty(key // 2, o_.dtype)
        for b in range(batch):
            new_position_[b] = position_[b] + 1
            for i in range(key // 2):
                angle = position_[b] * frequency_[i]
                cos[i], sin[i] = math.cos(angle), math.sin(angle)
            for h in range(heads):
                for i in range(key):
                    q[i], k[i] = qkv_[b, h * key + i], qkv_[b, (heads + h) * key + i] * scale
                turn(q, cos, sin)
                turn(k, cos, sin)
                v, o_h = qkv_[b, 2 * heads * key + h * value : 2 * heads * key + (h + 1) * value], o_[b, h]
                write_and_read(q, k, v, one - forgetting_[h], s_[b, h], new_[b, h], o_h)
                mean, square = like, like
                for j in range(value):
                    mean += o_h[j]
                mean /= value
                for j in range(value):
                    square += (o_h[j] - mean) * (o_h[j] - mean)
                factor, middle = cast(1 / math.sqrt(square / value + eps), like), cast(mean, like)
                for j in range(value):
                    o_h[j] = (o_h[j] - middle) * factor * silu(gate_[b, h, j], one)

    return retention_step


def make_conv_silu_step(parallel: int) -> Callable[..., None]:
    """silu(convolution + bias) of the first ``channels`` of x (batch, stride)."""

    @jit(parallel)
    def conv_silu_step(x, weight, bias, past, y, new, batch, stride, channels, kernel, like):  # type: ignore[no-untyped-def]
        x_, weight_ = carray(pointer(x, like), (batch, stride)), carray(pointer(weight, like), (channels, kernel))
        bias_, y_ = carray(pointer(bias, like), channels), carray(pointer(y, like), (batch, channels))
        past_ = carray(pointer(past, like), (batch, kernel - 1, channels))
        new_, one = carray(pointer(new, like), (batch, kernel - 1, channels)), cast(1, like)
        for b in range(batch):
            y_b = y_[b]
            convolve(x_[b, :channels], weight_, bias_, past_[b], y_b, new_[b])
            for c in range(channels):
                y_b[c] = silu(y_b[c], one)

    return conv_silu_step


def make_mamba_step(parallel: int) -> Callable[..., None]:
    """Mamba from u, its selection [low rank, B, C] and the gate (behind u's place in ``inputs``) to the output
    projection. ``scale`` 2: decays from -1 to 1; 1: from 0."""

    @jit(parallel)
    def mamba_step(  # type: ignore[no-untyped-def]
        u, selection, inputs, dt_weight, dt_bias, A_log, D, h, y, new, batch, channels, state, rank, scale, like
    ):
        scale_, shift_ = cast(scale, like), cast(scale - 1, like)
        u_, inputs_ = carray(pointer(u, like), (batch, channels)), carray(pointer(inputs, like), (batch, 2, channels))
        selection_ = carray(pointer(selection, like), (batch, rank + 2 * state))
        dt_weight_, dt_bias_ = (
            carray(pointer(dt_weight, like), (channels, rank)),
            carray(pointer(dt_bias, like), channels),
        )
        A_log_, D_ = carray(pointer(A_log, like), (channels, state)), carray(pointer(D, like), channels)
        h_, y_ = carray(pointer(h, like), (batch, channels, state)), carray(pointer(y, like), (batch, channels))
        new_, one = carray(pointer(new, like), (batch, channels, state)), cast(1, like)
        for b in range(batch):
            low, B, C = selection_[b, :rank], selection_[b, rank : rank + state], selection_[b, rank + state :]
            for c in range(channels):
                step, row = dt_bias_[c], dt_weight_[c]
                for r in range(rank):
                    step += row[r] * low[r]
                step = softplus(step, like)
                write, out = step * u_[b, c], D_[c] * u_[b, c]
                A_c, h_c, new_c = A_log_[c], h_[b, c], new_[b, c]
                for n in range(state):
                    h_n = (scale_ * exp(-step * exp(A_c[n])) - shift_) * h_c[n] + write * B[n]
                    new_c[n] = h_n
                    out += C[n] * h_n
                y_[b, c] = out * silu(inputs_[b, 1, c], one)

    return mamba_step


def make_rg_lru_step(parallel: int) -> Callable[..., None]:
    """Griffin's block from its two branches, x (recurrent) and z (gate), to what the output projection reads."""

    @jit(parallel)
    def rg_lru_step(  # type: ignore[no-untyped-def]
        x, z, conv, conv_bias, gate_weight, gate_bias, decay_logit, h, past, position, y, new, new_past, new_position,
        batch, heads, block, kernel, sharpness, tiny, like,
    ):  # fmt: skip
        width = heads * block
        x_, z_ = carray(pointer(x, like), (batch, width)), carray(pointer(z, like), (batch, heads, block))
        conv_, conv_bias_ = carray(pointer(conv, like), (width, kernel)), carray(pointer(conv_bias, like), width)
        weight_ = carray(pointer(gate_weight, like), (heads, block, 2 * block))
        bias_, logit_ = carray(pointer(gate_bias, like), (heads, 2 * block)), carray(pointer(decay_logit, like), width)
        h_, new_ = carray(pointer(h, like), (batch, width)), carray(pointer(new, like), (batch, width))
        past_ = carray(pointer(past, like), (batch, kernel - 1, width))
        new_past_ = carray(pointer(new_past, like), (batch, kernel - 1, width))
        position_ = carray(pointer(position, batch), batch)
        new_position_ = carray(pointer(new_position, batch), batch)
        y_, one = carray(pointer(y, like), (batch, heads, block)), cast(1, like)
        u, gates = np.empty(width, y_.dtype), np.empty(2 * block, y_.dtype)
        half, root = cast(0.5, like), cast(math.sqrt(2 / math.pi), like)
        for b in range(batch):
            new_position_[b] = position_[b] + 1
            convolve(x_[b], conv_, conv_bias_, past_[b], u, new_past_[b])
            for n in range(heads):
                for o in range(2 * block):
                    gates[o] = bias_[n, o]
                for i in range(block):
                    u_i, row = u[n * block + i], weight_[n, i]
                    for o in range(2 * block):
                        gates[o] += u_i * row[o]
                for i in range(block):
                    c = n * block + i
                    r, write = one / (one + exp(-gates[i])), one / (one + exp(-gates[block + i]))
                    log_keep = -cast(sharpness, like) * softplus(-logit_[c], like) * r
                    room = cast(-math.expm1(log_keep + log_keep), like)
                    room = one if position_[b] == 0 else cast(math.sqrt(max(room, cast(tiny, like))), like)
                    hidden = exp(log_keep) * h_[b, c] + room * write * u[c]
                    new_[b, c] = hidden
                    g = z_[b, n, i]
                    inner = root * (g + cast(0.044715, like) * g * g * g)
                    tanh = (one + one) / (one + exp(-(inner + inner))) - one
                    y_[b, n, i] = hidden * half * g * (one + tanh)

    return rg_lru_step


def make_local_attention_step(parallel: int) -> Callable[..., None]:
    """One query for every head against ``read`` kept entries and its own; the entries move on by one."""

    @jit(parallel)
    def local_attention_step(  # type: ignore[no-untyped-def]
        qkv, norm_q, norm_k, frequency, key, value, valid, position, o, new_key, new_value, new_valid, new_position,
        batch, heads, kv_heads, read, size, eps, like,
    ):  # fmt: skip
        parts = heads + 2 * kv_heads
        qkv_, o_ = carray(pointer(qkv, like), (batch, parts, size)), carray(pointer(o, like), (batch, heads, size))
        norm_q_, norm_k_ = carray(pointer(norm_q, like), size), carray(pointer(norm_k, like), size)
        frequency_ = carray(pointer(frequency, 0.0), size // 2)
        position_ = carray(pointer(position, batch), batch)
        new_position_ = carray(pointer(new_position, batch), batch)
        key_ = carray(pointer(key, like), (batch, kv_heads, read, size))
        value_ = carray(pointer(value, like), (batch, kv_heads, read, size))
        valid_ = carray(pointer(valid, np.uint8(0)), (batch, read))
        new_key_ = carray(pointer(new_key, like), (batch, kv_heads, read, size))
        new_value_ = carray(pointer(new_value, like), (batch, kv_heads, read, size))
        new_valid_ = carray(pointer(new_valid, np.uint8(0)), (batch, read))
        q, k = np.empty(size, o_.dtype), np.empty(size, o_.dtype)
        cos, sin, scores = np.empty(size // 2, o_.dtype), np.empty(size // 2, o_.dtype), np.empty(read + 1, o_.dtype)
        scale, group = cast(size**-0.5, like), heads // kv_heads
        for b in range(batch):
            new_position_[b] = position_[b] + 1
            for s in range(read):
                new_valid_[b, s] = valid_[b, s + 1] if s + 1 < read else 1
            for i in range(size // 2):
                angle = position_[b] * frequency_[i]
                cos[i], sin[i] = math.cos(angle), math.sin(angle)
            for n in range(kv_heads):
                v = qkv_[b, heads + kv_heads + n]
                prepare(qkv_[b, heads + n], norm_k_, norm_k, cos, sin, k, eps, like)
                for m in range(n * group, (n + 1) * group):
                    prepare(qkv_[b, m], norm_q_, norm_q, cos, sin, q, eps, like)
                    top = cast(-np.inf, like)
                    for s in range(read + 1):
                        key_s, score = key_[b, n, s] if s < read else k, like
                        for i in range(size):
                            score += q[i] * key_s[i]
                        score = score * scale if s == read or valid_[b, s] else cast(-np.inf, like)
                        scores[s] = score
                        top = score if score > top or score != score else top
                    total = like
                    for s in range(read + 1):
                        scores[s] = exp(scores[s] - top)
                        total += scores[s]
                    o_m = o_[b, m]
                    for i in range(size):
                        o_m[i] = 0
                    for s in range(read + 1):
                        value_s, weight = value_[b, n, s] if s < read else v, scores[s] / total
                        for i in range(size):
                            o_m[i] += weight * value_s[i]
                for s in range(read):
                    key_s, value_s = (key_[b, n, s + 1], value_[b, n, s + 1]) if s + 1 < read else (k, v)
                    new_k, new_v = new_key_[b, n, s], new_value_[b, n, s]
                    for i in range(size):
                        new_k[i], new_v[i] = key_s[i], value_s[i]

    return local_attention_step


@part
def prepare(x, norm, normed, cos, sin, out, eps, like):  # type: ignore[no-untyped-def]
    """A head's query or key, normed where ``normed``, and turned."""
    factor = cast(1, like)
    if normed:
        total = like
        for i in range(x.size):
            total += x[i] * x[i]
        factor = cast(1 / math.sqrt(total / x.size + eps), like)
    for i in range(x.size):
        out[i] = x[i] * factor * norm[i] if normed else x[i]
    turn(out, cos, sin)
