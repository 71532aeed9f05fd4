"""Exponentials as the kernels call them: ``exp(x)`` and the cheaper ``exp2(x)``, which is 2 to the power x; and what
is made of them.

In float32 it is branch-free arithmetic that LLVM turns into vector instructions (Numba as it comes from PyPI has no
vector mathematics library): within about 1 ulp; 0 for results under 2^-125.5, near float32's smallest normal
number; inf above 2^128; NaN for NaN. In float64 it is the C library's. As plain Python
(``NUMBA_DISABLE_JIT=1``) it is NumPy's.

Kernels call them by their global names. A kernel that closes over a jitted function would never be found in Numba's
cache on disk.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numba.extending import overload

f32 = np.float32

# x = k ln 2 + r with a whole k, and exp(x) = (2 exp(r)) 2^(k - 1): the factor 2 lets k reach 128, and k = -126 gives 0.
LOWEST, HIGHEST = f32(-87.33), f32(88.75)  # between them k stays within -126 ... 128
LOG2_E = f32(1.4426950408889634)
LN2_HIGH, LN2_LOW = f32(0.693359375), f32(-2.1219444e-4)  # their sum is ln 2; k * LN2_HIGH is exact
ROUND = f32(
    3 * 2**22 + 126
)  # adding it rounds to a whole number; the last 9 bits then are k + 126, the exponent's bits
# 2 exp(r) = 2 + r (2 + r (C2 + C3 r + ...)), minimax in relative error on |r| <= ln(2) / 2: 4e-9
C2, C3, C4, C5, C6 = f32(0.99999988), f32(0.33333042), f32(0.083336778), f32(0.016737433), f32(0.0027629198)
TWO = f32(2)


def exp(x):  # type: ignore[no-untyped-def]  # Numba compares signatures, annotations included
    """e to the power x, a scalar. Inside a Numba kernel the implementation below stands in its place."""
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(x)


# Only "contract" (fused multiply-add): "reassoc" would fold the rounding trick away.
@overload(exp, jit_options={"fastmath": {"contract"}, "error_model": "numpy"})
def _exp_in_kernel(x):  # type: ignore[no-untyped-def]
    if x == types.float64:
        return lambda x: math.exp(x)
    if x != types.float32:
        return None

    def exp32(x):  # type: ignore[no-untyped-def]
        x = LOWEST if x < LOWEST else x  # a comparison with NaN is false: NaN stays
        x = HIGHEST if x > HIGHEST else x
        rounded = x * LOG2_E + ROUND
        k = rounded - ROUND
        r = (x - k * LN2_HIGH) - k * LN2_LOW
        twice = (((((C6 * r + C5) * r + C4) * r + C3) * r + C2) * r + TWO) * r + TWO
        power = np.uint32(np.float32(rounded).view(np.uint32) << np.uint32(23)).view(np.float32)  # 2^(k - 1)
        return twice * power

    return exp32


# 2 * 2^r = 2 + r (D1 + D2 r + ...), minimax in relative error on |r| <= 1/2: 2e-9
D1, D2, D3 = f32(1.3862944), f32(0.48045295), f32(0.11100665)
D4, D5, D6 = f32(0.019236876), f32(0.0026797776), f32(0.00030706704)
LOWEST2, HIGHEST2 = f32(-126), f32(128.25)


def exp2(x):  # type: ignore[no-untyped-def]
    """2 to the power x, a scalar, as :func:`exp`."""
    with np.errstate(over="ignore", under="ignore"):
        return np.exp2(x)


@overload(exp2, jit_options={"fastmath": {"contract"}, "error_model": "numpy"})
def _exp2_in_kernel(x):  # type: ignore[no-untyped-def]
    if x == types.float64:
        return lambda x: np.exp2(x)
    if x != types.float32:
        return None

    def exp2_32(x):  # type: ignore[no-untyped-def]
        x = LOWEST2 if x < LOWEST2 else x
        x = HIGHEST2 if x > HIGHEST2 else x
        rounded = x + ROUND
        r = x - (rounded - ROUND)
        twice = (((((D6 * r + D5) * r + D4) * r + D3) * r + D2) * r + D1) * r + TWO
        power = np.uint32(np.float32(rounded).view(np.uint32) << np.uint32(23)).view(np.float32)  # 2^(k - 1)
        return twice * power

    return exp2_32


@njit(inline="always")
def weight(score, top):  # type: ignore[no-untyped-def]
    """exp(score - top), 0 for a score of -inf, also where ``top`` is -inf too."""
    return exp(score) if score == -np.inf else exp(score - top)


@njit(inline="always")
def sigmoid(x, one):  # type: ignore[no-untyped-def]  # one: of the dtype of x
    return one / (one + exp(-x))


@njit(inline="always")
def tanh(x, one):  # type: ignore[no-untyped-def]
    return (one + one) / (one + exp(-(x + x))) - one
