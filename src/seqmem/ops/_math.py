"""The exponential as the kernels call it: ``exp(x)`` inside a Numba kernel.

In float32 it is branch-free arithmetic that LLVM turns into vector instructions (Numba as it comes from PyPI has no
vector mathematics library): within about 1 ulp; 0 from -87.34 downwards (results that would be denormal are 0) and at
-inf; inf above 88.72; NaN for NaN. In float64 it is the C library's. As plain Python (``NUMBA_DISABLE_JIT=1``) it is
NumPy's.

Kernels call ``exp`` by its global name. A kernel that closes over a jitted function would never be found in Numba's
cache on disk.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numba.extending import overload

f32 = np.float32

LOWEST, HIGHEST = f32(-87.3365), f32(88.722839)  # where exp leaves float32's normal numbers
LOG2_E = f32(1.4426950408889634)
LN2_HIGH, LN2_LOW = f32(0.693359375), f32(-2.1219444e-4)  # their sum is ln 2; k * LN2_HIGH is exact
ROUND = f32(12582912.0)  # 1.5 * 2**23: adding it rounds to an integer, which then stands in the low bits
# exp(r) = 1 + r + r^2 (C2 + C3 r + ...), minimax in relative error on |r| <= ln(2) / 2: 4e-9
C2, C3, C4, C5, C6 = f32(0.49999994), f32(0.16666521), f32(0.041668389), f32(0.0083687166), f32(0.0013814599)


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
        rounded = x * LOG2_E + ROUND
        k = rounded - ROUND  # x = k ln 2 + r
        r = (x - k * LN2_HIGH) - k * LN2_LOW
        p = (((C6 * r + C5) * r + C4) * r + C3) * r + C2
        mantissa = p * (r * r) + r + f32(1.0)
        # times 2^k: k, in the low bits of `rounded`, is added to the exponent's bits
        bits = np.float32(mantissa).view(np.uint32) + (np.float32(rounded).view(np.uint32) << np.uint32(23))
        y = np.uint32(bits).view(np.float32)
        y = f32(0.0) if x < LOWEST else y
        y = f32(np.inf) if x > HIGHEST else y
        return y if x == x else x

    return exp32
