"""linear_scan: kernels against the equation's loop, closed forms and an independent scan."""

import pytest
import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.ops import explain, linear_scan
from seqmem.ops.linear_scan import linear_scan_reference

TOLERANCE = {torch.float32: 1e-5, torch.complex64: 1e-5, torch.float64: 1e-10, torch.complex128: 1e-10}
KINDS = [(dtype, False) for dtype in TOLERANCE] + [(torch.float32, True), (torch.float64, True)]
kinds = pytest.mark.parametrize(("dtype", "log"), KINDS, ids=lambda x: str(x).removeprefix("torch."))


def _inputs(generator: torch.Generator, shape: tuple[int, int, int], dtype: torch.dtype, log: bool) -> list[Tensor]:
    batch, _, channels = shape
    a = torch.rand(shape, generator=generator, dtype=torch.float64) ** 0.5
    if log:
        a = a.log()
    elif dtype.is_complex:
        a = torch.polar(a, 6.3 * torch.rand(shape, generator=generator, dtype=torch.float64))
    b = torch.randn(shape, generator=generator, dtype=dtype)
    h0 = torch.randn(batch, channels, generator=generator, dtype=dtype)
    return [a.to(dtype).requires_grad_(), b.requires_grad_(), h0.requires_grad_()]


def _close(got: Tensor, expected: Tensor) -> None:
    tolerance = TOLERANCE[expected.dtype]
    torch.testing.assert_close(
        got, expected, rtol=tolerance, atol=tolerance * max(1.0, float(expected.detach().abs().max()))
    )


def _compare_with_reference(inputs, reset, log, generator, backend="numba") -> None:
    """Outputs and every gradient, with a gradient into the outputs, the final state, and both."""
    got = linear_scan(*inputs, reset=reset, log=log, backend=backend)
    expected = linear_scan_reference(*inputs, reset, log)
    given = [torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in expected]
    for part in (slice(0, 1), slice(1, 2), slice(0, 2)):
        grads = torch.autograd.grad(got[part], inputs, given[part], retain_graph=True)
        wanted = torch.autograd.grad(expected[part], inputs, given[part], retain_graph=True, allow_unused=True)
        for x, y in zip((*got, *grads), (*expected, *wanted), strict=True):
            _close(x, torch.zeros_like(x) if y is None else y)


@kinds
@pytest.mark.parametrize("shape", [(2, 9, 5), (3, 2, 130), (1, 33, 16), (1, 5, 2100)])
@pytest.mark.parametrize("with_reset", [False, True])
def test_equals_the_loop(dtype, log, shape, with_reset, generator) -> None:
    inputs = _inputs(generator, shape, dtype, log)
    reset = torch.rand(shape[:2], generator=generator) < 0.3 if with_reset else None
    _compare_with_reference(inputs, reset, log, generator)


def test_two_threads_give_what_one_gives(generator) -> None:
    inputs = _inputs(generator, (1, 40, 300), torch.float32, False)
    alone = linear_scan(*inputs, backend="numba")[0]
    torch.set_num_threads(2)
    together = linear_scan(*inputs, backend="numba")[0]
    assert torch.equal(alone, together)
    _compare_with_reference(inputs, None, False, generator)


@kinds
def test_gradcheck(dtype, log, generator) -> None:
    if TOLERANCE[dtype] > 1e-9:
        dtype = torch.complex128 if dtype.is_complex else torch.float64
    inputs = _inputs(generator, (2, 5, 3), dtype, log)
    reset = torch.tensor([[0, 0, 1, 0, 0], [1, 0, 0, 0, 1]], dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda *x: linear_scan(*x, log=log, backend="numba"), inputs)
    assert torch.autograd.gradcheck(lambda *x: linear_scan(*x, reset=reset, log=log, backend="numba"), inputs)


def test_equals_accelerated_scan(generator) -> None:
    scan = pytest.importorskip("accelerated_scan.ref").scan
    a, b, h0 = (x.detach() for x in _inputs(generator, (2, 64, 7), torch.float64, False))
    h0 = torch.zeros_like(h0)
    _close(linear_scan(a, b, h0)[0], scan(a.mT.contiguous(), b.mT.contiguous()).mT)


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_closed_forms(backend, generator) -> None:
    b = torch.randn(2, 50, 3, generator=generator, dtype=torch.float64)
    one, zero = torch.ones_like(b), torch.zeros_like(b)
    for a, log in ((one, False), (zero, True)):
        h, final = linear_scan(a, b, log=log, backend=backend)
        _close(h, b.cumsum(1))
        assert torch.equal(final, h[:, -1])
    for a, log in ((zero, False), (zero - torch.inf, True)):
        assert torch.equal(linear_scan(a, b, b[:, 0], log=log, backend=backend)[0], b)
    h, _ = linear_scan(one / 2, zero, one[:, 0], backend=backend)
    _close(h[0, :, 0], 0.5 ** torch.arange(1, 51, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_gate_of_minus_infinity_has_finite_gradients(dtype, generator) -> None:
    a, b, h0 = _inputs(generator, (1, 6, 4), dtype, True)
    a = a.detach().index_fill(1, torch.tensor([0, 3]), -torch.inf).requires_grad_()
    h, final = linear_scan(a, b, h0, log=True, backend="numba")
    grads = torch.autograd.grad(h.square().sum() + final.sum(), (a, b, h0))
    assert all(g.isfinite().all() for g in grads)
    assert (grads[0][:, [0, 3]] == 0).all()
    assert (grads[2] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("at", range(7))
def test_reset_at_any_position_starts_anew(dtype, at, generator) -> None:
    a, b, h0 = (x.detach() for x in _inputs(generator, (2, 7, 3), dtype, False))
    reset = torch.zeros(2, 7, dtype=torch.bool)
    reset[0, at] = True
    b[0, :at] = torch.nan  # what is forgotten cannot do harm
    h, final = linear_scan(a, b, h0, reset=reset, backend="numba")
    fresh, fresh_final = linear_scan(a[:1, at:], b[:1, at:], backend="reference")
    _close(h[:1, at:], fresh)
    _close(final[:1], fresh_final)
    _close(h[1:], linear_scan(a[1:], b[1:], h0[1:], backend="numba")[0])


@kinds
@pytest.mark.parametrize("cut", [1, 4, 8])
def test_any_cut_gives_the_same(dtype, log, cut, generator) -> None:
    a, b, h0 = (x.detach() for x in _inputs(generator, (2, 9, 6), dtype, log))
    whole, final = linear_scan(a, b, h0, log=log)
    first, state = linear_scan(a[:, :cut], b[:, :cut], h0, log=log)
    second, last = linear_scan(a[:, cut:], b[:, cut:], state, log=log)
    _close(torch.cat([first, second], 1), whole)
    _close(last, final)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_nan_stays_in_its_row_and_channel(dtype, generator) -> None:
    a, b, h0 = _inputs(generator, (3, 20, 40), dtype, False)
    clean, _ = linear_scan(a, b, h0, backend="numba")
    b = b.detach().clone()
    b[1, 5, 7] = torch.nan
    b.requires_grad_()
    h, _ = linear_scan(a, b, h0, backend="numba")
    bad = torch.zeros(3, 20, 40, dtype=torch.bool)
    bad[1, 5:, 7] = True
    assert torch.equal(h.isnan(), bad)
    assert torch.equal(h[~bad], clean[~bad])
    grads = torch.autograd.grad(h.abs().sum(), (a, b, h0))
    others = [0, 2]
    assert all(g[others].isfinite().all() for g in grads)


def test_strided_expanded_and_conjugate_inputs(generator) -> None:
    a = torch.rand(3, generator=generator, dtype=torch.float64, requires_grad=True)
    b = torch.randn(2, 6, 11, generator=generator, dtype=torch.float64, requires_grad=True)
    views = (a.expand(11, 2, 3).permute(1, 0, 2), b.mT[..., ::2])
    got, expected = linear_scan(*views, backend="numba")[0], linear_scan(*views, backend="reference")[0]
    _close(got, expected)
    for x, y in zip(*(torch.autograd.grad(z.square().sum(), (a, b)) for z in (got, expected)), strict=True):
        _close(x, y)
    z = torch.randn(2, 5, 3, generator=generator, dtype=torch.complex128).conj()
    _close(linear_scan(z, z, backend="numba")[0], linear_scan(z, z, backend="reference")[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype, generator) -> None:
    a, b, _ = _inputs(generator, (2, 300, 4), torch.float32, False)
    a, b = a.to(dtype), b.to(dtype)
    h, final = linear_scan(a, b)
    assert (h.dtype, final.dtype) == (dtype, torch.float32)
    wanted, wanted_final = linear_scan(a.float(), b.float())
    assert torch.equal(h, wanted.to(dtype))
    assert torch.equal(final, wanted_final)


@pytest.mark.parametrize("shape", [(0, 5, 3), (2, 0, 3), (2, 5, 0), (2, 1, 3)])
def test_empty_and_single_step(shape, generator) -> None:
    a, b, h0 = _inputs(generator, shape, torch.float64, False)
    h, final = linear_scan(a, b, h0)
    assert h.shape == shape
    assert torch.equal(final, h[:, -1] if shape[1] else h0)
    (h.sum() + final.sum()).backward()


def test_a_hundred_thousand_steps_stay_finite(generator) -> None:
    b = torch.randn(1, 100_000, 2, generator=generator, requires_grad=True)
    a = torch.full_like(b, 0.9999, requires_grad=True)
    h, _ = linear_scan(a, b * 1e4)
    h.sum().backward()
    assert h.isfinite().all()
    assert a.grad.isfinite().all()
    assert b.grad.isfinite().all()


def test_under_checkpoint_and_used_twice(generator) -> None:
    a, b, h0 = _inputs(generator, (2, 8, 3), torch.float64, False)

    def twice(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
        h, final = linear_scan(a, b, h0, backend="numba")
        return linear_scan(a, h, final, backend="numba")[0].square().sum()

    plain = torch.autograd.grad(twice(a, b, h0), (a, b, h0))
    again = torch.autograd.grad(torch.utils.checkpoint.checkpoint(twice, a, b, h0, use_reentrant=False), (a, b, h0))
    assert all(torch.equal(x, y) for x, y in zip(plain, again, strict=True))


def test_vmap_and_second_derivatives_refuse_clearly(generator) -> None:
    a, b, _ = _inputs(generator, (2, 8, 3), torch.float64, False)
    with pytest.raises(NotImplementedError, match=r"linear_scan.*vmap"):
        torch.func.vmap(lambda a, b: linear_scan(a, b, backend="numba")[0])(a[None], b[None])
    (grad,) = torch.autograd.grad(linear_scan(a, b, backend="numba")[0].square().sum(), a, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula"):
        grad.sum().backward()


def test_wrong_input_is_one_line() -> None:
    x = torch.zeros(2, 3, 4)
    wrong = [
        lambda: linear_scan(x[0], x[0]),
        lambda: linear_scan(x, x[:, :2]),
        lambda: linear_scan(x, x, torch.zeros(2, 3)),
        lambda: linear_scan(x, x, reset=torch.zeros(2, 3)),
        lambda: linear_scan(x.int(), x.int()),
        lambda: linear_scan(x.cfloat(), x, log=True),
        lambda: linear_scan(x, x, backend="numbe"),
    ]
    for call in wrong:
        with pytest.raises(InputError, match=r"^linear_scan: [^\n]*expected[^\n]*$"):
            call()


def test_explain_names_the_path() -> None:
    x = torch.zeros(1, 2, 1)
    linear_scan(x, x)
    assert explain()["linear_scan"].startswith("numba")
    linear_scan(x[:, :1], x[:, :1])
    assert explain()["linear_scan"].startswith("reference (one step")
