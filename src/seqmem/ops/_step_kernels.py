"""One step of the recurrences as Numba kernels that take addresses.

A NumPy view of a tensor costs about a microsecond, a whole step of a diagonal recurrence two. So these kernels are
called with the addresses of contiguous arrays (``Tensor.data_ptr``) and their sizes; ``like`` is a NumPy zero whose
type is the arrays' dtype. They run on one thread and write nothing but their outputs, the last pointers of each list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import carray, types
from numba.extending import intrinsic

from seqmem.ops._launch import jit
from seqmem.ops._math import exp


@intrinsic
def pointer(typing_context, address, like):  # type: ignore[no-untyped-def]
    """The integer ``address`` as a pointer to numbers of the type of ``like``."""
    target = types.CPointer(like)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(target))

    return target(types.intp, like), code


@intrinsic
def cast(typing_context, value, like):  # type: ignore[no-untyped-def]
    """``value`` as a number of the type of ``like``."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.cast(builder, arguments[0], value, like)

    return like(value, like), code


def make_linear_step(parallel: int) -> Callable[..., None]:
    """y = W x + bias, row after row of W (outputs, inputs): each is fetched once for the whole batch."""

    @jit(parallel)
    def linear_step(x, weight, bias, y, batch, outputs, inputs, like):  # type: ignore[no-untyped-def]
        x_, weight_ = carray(pointer(x, like), (batch, inputs)), carray(pointer(weight, like), (outputs, inputs))
        bias_, y_ = carray(pointer(bias, like), outputs), carray(pointer(y, like), (batch, outputs))
        for i in range(outputs):
            row = weight_[i]
            for b in range(batch):
                x_b, total = x_[b], like
                for j in range(inputs):
                    total += row[j] * x_b[j]
                y_[b, i] = total + bias_[i] if bias else total

    return linear_step


def make_selective_step(parallel: int) -> Callable[..., None]:
    """h' = exp(dt A) h + dt u B,   y = <C, h'>, for every row and channel."""

    @jit(parallel)
    def selective_step(u, dt, A, B, C, h, y, new, batch, channels, state, like):  # type: ignore[no-untyped-def]
        u_, dt_ = carray(pointer(u, like), (batch, channels)), carray(pointer(dt, like), (batch, channels))
        A_ = carray(pointer(A, like), (channels, state))
        B_, C_ = carray(pointer(B, like), (batch, state)), carray(pointer(C, like), (batch, state))
        h_ = carray(pointer(h, like), (batch, channels, state))
        y_, new_ = carray(pointer(y, like), (batch, channels)), carray(pointer(new, like), (batch, channels, state))
        for b in range(batch):
            B_b, C_b = B_[b], C_[b]
            for c in range(channels):
                step, write, out = dt_[b, c], dt_[b, c] * u_[b, c], like
                A_c, h_c, new_c = A_[c], h_[b, c], new_[b, c]
                for n in range(state):
                    h_n = exp(step * A_c[n]) * h_c[n] + write * B_b[n]
                    new_c[n] = h_n
                    out += C_b[n] * h_n
                y_[b, c] = out

    return selective_step


def make_conv_step(parallel: int) -> Callable[..., None]:
    """y = bias + sum_j weight_j window_j, the window being the state followed by x; the state moves on by one."""

    @jit(parallel)
    def conv_step(x, weight, bias, past, y, new, batch, channels, kernel, like):  # type: ignore[no-untyped-def]
        x_, weight_ = carray(pointer(x, like), (batch, channels)), carray(pointer(weight, like), (channels, kernel))
        bias_ = carray(pointer(bias, like), channels)
        past_ = carray(pointer(past, like), (batch, kernel - 1, channels))
        y_, new_ = (
            carray(pointer(y, like), (batch, channels)),
            carray(pointer(new, like), (batch, kernel - 1, channels)),
        )
        for b in range(batch):
            for c in range(channels):
                total = x_[b, c] * weight_[c, kernel - 1]
                if bias:
                    total += bias_[c]
                for j in range(kernel - 1):
                    total += past_[b, j, c] * weight_[c, j]
                y_[b, c] = total
            for j in range(kernel - 2):
                for c in range(channels):
                    new_[b, j, c] = past_[b, j + 1, c]
            if kernel > 1:
                for c in range(channels):
                    new_[b, kernel - 2, c] = x_[b, c]

    return conv_step


def make_matrix_step(parallel: int) -> Callable[..., None]:
    """S' = diag(exp g) S + k u^T,   o = S'^T q,   u = v  or, with beta,  u = beta (v - (diag(exp g) S)^T k).

    ``per_key``: 0 where there is no decay, 1 for one per head, ``key`` for one per key channel. beta: 0 for none.
    """

    @jit(parallel)
    def matrix_step(q, k, v, g, beta, s, u, o, new, rows, key, value, per_key, like):  # type: ignore[no-untyped-def]
        q_, k_, v_ = (
            carray(pointer(q, like), (rows, key)),
            carray(pointer(k, like), (rows, key)),
            carray(pointer(v, like), (rows, value)),
        )
        g_, beta_ = carray(pointer(g, like), (rows, per_key)), carray(pointer(beta, like), rows)
        s_, new_ = carray(pointer(s, like), (rows, key, value)), carray(pointer(new, like), (rows, key, value))
        u_, o_ = carray(pointer(u, like), value), carray(pointer(o, like), (rows, value))
        for r in range(rows):
            o_r, v_r = o_[r], v_[r]
            decay = exp(g_[r, 0]) if per_key > 0 else exp(like)
            for j in range(value):
                u_[j] = v_r[j]
            if beta:
                for i in range(key):
                    a = exp(g_[r, i]) if per_key > 1 else decay
                    k_i, s_i = a * k_[r, i], s_[r, i]
                    for j in range(value):
                        u_[j] -= k_i * s_i[j]
                for j in range(value):
                    u_[j] *= beta_[r]
            for j in range(value):
                o_r[j] = 0
            for i in range(key):
                a = exp(g_[r, i]) if per_key > 1 else decay
                q_i, k_i, s_i, new_i = q_[r, i], k_[r, i], s_[r, i], new_[r, i]
                for j in range(value):
                    s_ij = a * s_i[j] + k_i * u_[j]
                    new_i[j] = s_ij
                    o_r[j] += q_i * s_ij

    return matrix_step
