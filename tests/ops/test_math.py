"""The kernels' exponential against NumPy's in float64."""

import platform

import numba
import numpy as np
import pytest

from seqmem.ops._math import exp


@numba.njit
def _exp_all(x, out):
    for i in range(x.shape[0]):
        out[i] = exp(x[i])


def _kernel_exp(x: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    _exp_all(x, out)
    return out


def test_float32_is_within_two_ulp_over_the_whole_range() -> None:
    x = np.concatenate([np.linspace(-87.33, 88.7228, 400_001), np.geomspace(1e-30, 1, 1000)]).astype(np.float32)
    exact = np.exp(x.astype(np.float64))
    ulp = np.spacing(exact.astype(np.float32)).astype(np.float64)
    assert (np.abs(_kernel_exp(x) - exact) / ulp).max() < 1.5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ends_and_special_values(dtype: type) -> None:
    x = np.array([-np.inf, np.inf, np.nan, 0.0, -0.0, -1e4, 1e4, -3e38, 3e38, -746.0, 710.0], dtype)
    expected = np.array([0, np.inf, np.nan, 1, 1, 0, np.inf, 0, np.inf, 0, np.inf], dtype)
    np.testing.assert_array_equal(_kernel_exp(x), expected)


def test_float32_results_below_the_normal_numbers_are_zero_and_fall_off_without_wrapping() -> None:
    x = np.linspace(-110, -87, 100_001).astype(np.float32)
    y = _kernel_exp(x)
    assert (y >= 0).all()
    assert (np.diff(y) >= 0).all()
    assert (y[x < -87.34] == 0).all()


def test_float64_is_the_library_s() -> None:
    x = np.linspace(-700, 700, 1001)
    np.testing.assert_allclose(_kernel_exp(x), np.exp(x), rtol=1e-15)


def test_float32_loop_is_vectorised() -> None:
    _kernel_exp(np.zeros(4, np.float32))
    code = next(text for types, text in _exp_all.inspect_asm().items() if types[0].dtype == numba.float32)
    packed_product = {"x86_64": "mulps", "aarch64": "fmul\tv", "arm64": "fmul"}.get(platform.machine())
    if packed_product is not None:
        assert packed_product in code
