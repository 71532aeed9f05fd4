"""The kernels' exponentials against NumPy's in float64."""

import platform

import numba
import numpy as np
import pytest

from seqmem.ops._math import exp, exp2

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="without compilation the exponentials are NumPy's own")


@numba.njit
def _exp_all(x, out):
    for i in range(x.shape[0]):
        out[i] = exp(x[i])


@numba.njit
def _exp2_all(x, out):
    for i in range(x.shape[0]):
        out[i] = exp2(x[i])


KERNELS = {"exp": (_exp_all, np.exp, np.log(2)), "exp2": (_exp2_all, np.exp2, 1.0)}
both = pytest.mark.parametrize(("kernel", "exact", "unit"), KERNELS.values(), ids=KERNELS)


def _run(kernel, x: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    kernel(x, out)
    return out


@both
def test_float32_is_within_two_ulp_over_the_whole_range(kernel, exact, unit) -> None:
    x = np.concatenate([np.linspace(-125.45 * unit, 127.9999 * unit, 400_001), np.geomspace(1e-30, 1, 1000)])
    x = x.astype(np.float32)
    expected = exact(x.astype(np.float64))
    ulp = np.spacing(expected.astype(np.float32)).astype(np.float64)
    assert (np.abs(_run(kernel, x) - expected) / ulp).max() < 1.5


@both
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ends_and_special_values(kernel, exact, unit, dtype: type) -> None:
    x = np.array([-np.inf, np.inf, np.nan, 0.0, -0.0, -1e4, 1e4, -3e38, 3e38, -1080.0, 1030.0], dtype)
    expected = np.array([0, np.inf, np.nan, 1, 1, 0, np.inf, 0, np.inf, 0, np.inf], dtype)
    np.testing.assert_array_equal(_run(kernel, x), expected)


@both
def test_float32_falls_to_zero_and_rises_to_infinity_without_wrapping(kernel, exact, unit) -> None:
    y = _run(kernel, np.linspace(-160 * unit, -120 * unit, 100_001).astype(np.float32))
    assert (y >= 0).all()
    assert (np.diff(y) >= 0).all()
    assert (y[: 100_001 // 2] == 0).all()
    y = _run(kernel, np.linspace(127 * unit, 140 * unit, 10_001).astype(np.float32))
    assert (y[1:] >= y[:-1]).all()
    assert (y[-9000:] == np.inf).all()


@both
def test_float64_is_the_library_s(kernel, exact, unit) -> None:
    x = np.linspace(-700, 700, 1001)
    np.testing.assert_allclose(_run(kernel, x), exact(x), rtol=1e-15)


@both
def test_float32_loop_is_vectorised(kernel, exact, unit) -> None:
    packed_product = {"x86_64": "mulps", "AMD64": "mulps", "aarch64": "fmul\tv"}.get(platform.machine())
    if packed_product is None:
        pytest.skip("the machine code of this platform is not known to the test")
    _run(kernel, np.zeros(4, np.float32))
    code = next(text for types, text in kernel.inspect_asm().items() if types[0].dtype == numba.float32)
    assert packed_product in code
