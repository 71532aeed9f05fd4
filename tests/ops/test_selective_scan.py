"""selective_scan: kernels against the equation's loop and Hugging Face's Mamba."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from seqmem.errors import InputError
from seqmem.ops import selective_scan
from seqmem.ops.selective_scan import selective_scan_reference

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def _inputs(generator: torch.Generator, shape: tuple[int, int, int], state: int, dtype: torch.dtype) -> list[Tensor]:
    batch, time, channels = shape

    def normal(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator, dtype=dtype)

    u, dt = normal(*shape), softplus(normal(*shape) - 1)
    A = -3 * torch.rand(channels, state, generator=generator, dtype=dtype)
    B, C, h0 = normal(batch, time, state), normal(batch, time, state), normal(batch, channels, state)
    return [x.requires_grad_() for x in (u, dt, A, B, C, h0)]


def _close(got: Tensor, expected: Tensor) -> None:
    tolerance = TOLERANCE[expected.dtype]
    scale = max([1.0, *expected.detach().abs().flatten().tolist()])
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance * scale)


def _compare_with_reference(inputs: list[Tensor], reset: Tensor | None, generator: torch.Generator) -> None:
    """Outputs and every gradient, with a gradient into the outputs, the final state, and both."""
    got = selective_scan(*inputs, reset=reset, backend="numba")
    expected = selective_scan_reference(*inputs, reset)
    given = [torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in expected]
    for part in (slice(0, 1), slice(1, 2), slice(0, 2)):
        grads = torch.autograd.grad(got[part], inputs, given[part], retain_graph=True)
        wanted = torch.autograd.grad(expected[part], inputs, given[part], retain_graph=True, allow_unused=True)
        for x, y in zip((*got, *grads), (*expected, *wanted), strict=True):
            _close(x, torch.zeros_like(x) if y is None else y)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", [(2, 9, 5), (3, 16, 16), (1, 33, 70), (2, 49, 128)])
@pytest.mark.parametrize("with_reset", [False, True])
def test_equals_the_loop(dtype, shape, with_reset, generator) -> None:
    reset = torch.rand(shape[:2], generator=generator) < 0.2 if with_reset else None
    _compare_with_reference(_inputs(generator, shape, 3, dtype), reset, generator)


def test_large_state_and_two_threads(generator) -> None:
    inputs = _inputs(generator, (1, 20, 40), 65, torch.float32)  # three blocks of 16 channels, the last one half full
    alone = selective_scan(*inputs, backend="numba")[0]
    torch.set_num_threads(2)
    assert torch.equal(alone, selective_scan(*inputs, backend="numba")[0])
    _compare_with_reference(inputs, None, generator)


def test_gradcheck(generator) -> None:
    inputs = _inputs(generator, (2, 18, 3), 3, torch.float64)
    reset = torch.zeros(2, 18, dtype=torch.bool)
    reset[0, [0, 7]] = reset[1, [15, 16, 17]] = True
    for flags in (None, reset):
        check = torch.autograd.gradcheck
        assert check(lambda *x, r=flags: selective_scan(*x, reset=r, backend="numba"), inputs, fast_mode=True)


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_equals_hugging_face_mamba(backend, generator) -> None:
    mamba = pytest.importorskip("transformers.models.mamba.modeling_mamba")
    slow = getattr(mamba.mamba_selective_scan, "__wrapped__", mamba.mamba_selective_scan)
    u, dt, A, B, C, _ = (x.detach() for x in _inputs(generator, (2, 21, 6), 3, torch.float32))
    y, final = selective_scan(u, dt, A, B, C, backend=backend)
    wanted, state = slow(u.mT, dt.mT, A, B.mT, C.mT, return_last_state=True)
    _close(y, wanted.mT)
    _close(final, state)


@pytest.mark.parametrize("at", [0, 1, 14, 15, 16, 17, 19])
def test_reset_at_any_position_starts_anew(at, generator) -> None:
    u, dt, A, B, C, h0 = (x.detach() for x in _inputs(generator, (2, 20, 3), 3, torch.float32))
    reset = torch.zeros(2, 20, dtype=torch.bool)
    reset[0, at] = True
    u[0, :at] = torch.nan  # what is forgotten cannot do harm
    y, final = selective_scan(u, dt, A, B, C, h0, reset=reset, backend="numba")
    fresh, fresh_final = selective_scan(u[:1, at:], dt[:1, at:], A, B[:1, at:], C[:1, at:], backend="reference")
    _close(y[:1, at:], fresh)
    _close(final[:1], fresh_final)


@pytest.mark.parametrize("cut", [1, 16, 17, 19])
def test_any_cut_gives_the_same(cut, generator) -> None:
    u, dt, A, B, C, h0 = (x.detach() for x in _inputs(generator, (2, 20, 3), 3, torch.float64))
    whole, final = selective_scan(u, dt, A, B, C, h0)
    first, state = selective_scan(u[:, :cut], dt[:, :cut], A, B[:, :cut], C[:, :cut], h0)
    second, last = selective_scan(u[:, cut:], dt[:, cut:], A, B[:, cut:], C[:, cut:], state)
    _close(torch.cat([first, second], 1), whole)
    _close(last, final)


def test_no_step_keeps_the_state_and_a_huge_step_forgets_it(generator) -> None:
    u, dt, A, B, C, h0 = (x.detach() for x in _inputs(generator, (2, 5, 3), 3, torch.float32))
    A = A - 1
    assert torch.equal(selective_scan(u, dt * 0, A, B, C, h0, backend="numba")[1], h0)
    huge = torch.full_like(dt, 1e4).requires_grad_()
    y, final = selective_scan(u, huge, A, B, C, h0, backend="numba")
    assert torch.equal(final, (1e4 * u[:, -1, :, None]) * B[:, -1, None, :])
    assert torch.autograd.grad(y.sum(), huge)[0].isfinite().all()


def test_nan_stays_in_its_row(generator) -> None:
    inputs = _inputs(generator, (3, 20, 70), 3, torch.float32)
    clean, _ = selective_scan(*inputs, backend="numba")
    u = inputs[0].detach().clone()
    u[1, 5, 7] = torch.nan
    inputs[0] = u.requires_grad_()
    y, _ = selective_scan(*inputs, backend="numba")
    bad = torch.zeros(3, 20, 70, dtype=torch.bool)
    bad[1, 5:, 7] = True
    assert torch.equal(y.isnan(), bad)
    assert torch.equal(y[~bad], clean[~bad])
    du, ddt, dB, dC, dh0 = torch.autograd.grad(y.sum(), [x for i, x in enumerate(inputs) if i != 2])
    assert all(g[[0, 2]].isfinite().all() for g in (du, ddt, dB, dC, dh0))


def test_strided_and_expanded_inputs(generator) -> None:
    u, dt, A, B, C, h0 = (x.detach() for x in _inputs(generator, (2, 6, 3), 3, torch.float64))
    wide = torch.stack([B, C], -1)
    views = (u.mT.contiguous().mT, dt[:, :, :1].expand(2, 6, 3), A[:1].expand(3, 3), wide[..., 0], wide[..., 1])
    _close(selective_scan(*views, h0, backend="numba")[0], selective_scan(*views, h0, backend="reference")[0])


def test_half_precision_is_computed_in_float32(generator) -> None:
    inputs = [x.detach().bfloat16() for x in _inputs(generator, (2, 30, 4), 3, torch.float32)]
    y, final = selective_scan(*inputs)
    assert (y.dtype, final.dtype) == (torch.bfloat16, torch.float32)
    wanted, state = selective_scan(*(x.float() for x in inputs))
    assert torch.equal(y, wanted.bfloat16())
    assert torch.equal(final, state)


@pytest.mark.parametrize("shape", [(0, 5, 3), (2, 0, 3), (2, 5, 0), (2, 1, 3)])
def test_empty_and_single_step(shape, generator) -> None:
    inputs = _inputs(generator, shape, 3, torch.float64)
    y, final = selective_scan(*inputs)
    assert y.shape == shape
    assert final.shape == (shape[0], shape[2], 3)
    (y.sum() + final.sum()).backward()


def test_a_hundred_thousand_steps_stay_finite(generator) -> None:
    inputs = _inputs(generator, (1, 100_000, 2), 3, torch.float32)
    y, _ = selective_scan(*inputs)
    y.sum().backward()
    assert y.isfinite().all()
    assert all(x.grad.isfinite().all() for x in inputs)


def test_under_checkpoint(generator) -> None:
    inputs = _inputs(generator, (2, 20, 3), 3, torch.float64)

    def loss(*x: Tensor) -> Tensor:
        y, final = selective_scan(*x, backend="numba")
        return y.square().sum() + final.sum()

    plain = torch.autograd.grad(loss(*inputs), inputs)
    again = torch.autograd.grad(torch.utils.checkpoint.checkpoint(loss, *inputs, use_reentrant=False), inputs)
    assert all(torch.equal(x, y) for x, y in zip(plain, again, strict=True))


def test_vmap_refuses_clearly(generator) -> None:
    u, dt, A, B, C, _ = (x.detach() for x in _inputs(generator, (2, 5, 3), 3, torch.float64))
    with pytest.raises(NotImplementedError, match=r"selective_scan.*vmap"):
        torch.func.vmap(lambda u: selective_scan(u, dt, A, B, C, backend="numba")[0])(u[None])


def test_wrong_input_is_one_line(generator) -> None:
    u, dt, A, B, C, h0 = (x.detach() for x in _inputs(generator, (2, 5, 3), 4, torch.float32))
    wrong = [
        (u[0], dt, A, B, C),
        (u, dt, A.t(), B, C),
        (u, dt, A, B.mT, C),
        (u, dt, A, B, C, h0.mT),
        (u, dt[:1], A, B, C),
    ]
    for inputs in wrong:
        with pytest.raises(InputError, match=r"^selective_scan: [^\n]*expected[^\n]*$"):
            selective_scan(*inputs)
