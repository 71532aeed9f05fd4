"""lstm, gru and slstm: kernels against the equations' loops, torch's own cells and Hugging Face's xLSTM."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.ops import gru, lstm, slstm
from seqmem.ops._cells import PIECE

BATCH, TIME, HIDDEN, HEADS = 2, 5, 3, 2
MASK = torch.tensor([[1, 1, 0, 1, 1], [1, 0, 0, 1, 0]]).bool()
RESET = torch.tensor([[0, 0, 1, 0, 1], [1, 0, 0, 1, 0]]).bool()
PLAIN = {}
MARKED = {"mask": MASK, "reset": RESET}


def _draw(generator: torch.Generator, dtype: torch.dtype = torch.float64) -> Callable[..., Tensor]:
    return lambda *sizes: torch.randn(*sizes, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def _compare(call: Callable[..., tuple[Tensor, ...]], inputs: list[Tensor], generator: torch.Generator) -> None:
    """Outputs and all gradients of both paths, with a gradient into y, into the final state, and into both."""
    got, expected = call(*inputs, backend="numba"), call(*inputs, backend="reference")
    given = [torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.dtype) for x in expected]
    tolerance = 1e-10 if expected[0].dtype is torch.float64 else 2e-5
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)
    for part in (slice(0, 1), slice(1, None), slice(0, None)):
        ours = torch.autograd.grad(got[part], inputs, given[part], retain_graph=True, materialize_grads=True)
        theirs = torch.autograd.grad(expected[part], inputs, given[part], retain_graph=True, materialize_grads=True)
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


VARIANTS = {
    "vanilla": {},
    "no input gate": {"input_gate": False},
    "no forget gate": {"forget_gate": False},
    "no output gate": {"output_gate": False},
    "no input activation": {"input_activation": False},
    "no output activation": {"output_activation": False},
    "coupled": {"coupled": True},
    "everything off": {"input_gate": False, "forget_gate": False, "output_gate": False, "input_activation": False},
}


@pytest.mark.parametrize("marks", [PLAIN, MARKED])
@pytest.mark.parametrize("peepholes", [False, True])
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_lstm_equals_the_loop(variant, peepholes, marks, generator) -> None:
    draw = _draw(generator)
    inputs = [draw(BATCH, TIME, 4 * HIDDEN), draw(4 * HIDDEN, HIDDEN), draw(BATCH, HIDDEN), draw(BATCH, HIDDEN)]
    inputs += [draw(3, HIDDEN)] if peepholes else []

    def call(x: Tensor, weight: Tensor, h: Tensor, c: Tensor, peephole: Tensor | None = None, *, backend: str) -> tuple:
        y, state = lstm(x, weight, (h, c), peephole=peephole, backend=backend, **VARIANTS[variant], **marks)
        return y, *state

    _compare(call, inputs, generator)


@pytest.mark.parametrize("marks", [PLAIN, MARKED])
@pytest.mark.parametrize("reset_gate", [True, False])
def test_gru_equals_the_loop(reset_gate, marks, generator) -> None:
    draw = _draw(generator)
    inputs = [draw(BATCH, TIME, 3 * HIDDEN), draw(3 * HIDDEN, HIDDEN), draw(BATCH, HIDDEN), draw(HIDDEN)]
    _compare(
        lambda x, w, h, b, backend: gru(x, w, h, bias=b, reset_gate=reset_gate, backend=backend, **marks),
        inputs,
        generator,
    )


@pytest.mark.parametrize("marks", [PLAIN, MARKED])
@pytest.mark.parametrize("forget", ["sigmoid", "exponential"])
def test_slstm_equals_the_loop(forget, marks, generator) -> None:
    draw = _draw(generator)
    state = [draw(BATCH, HEADS, HIDDEN) for _ in range(4)]
    state[2] = (state[2].detach().abs() + 0.5).requires_grad_()
    inputs = [draw(BATCH, TIME, HEADS, 4, HIDDEN), draw(HEADS, 4 * HIDDEN, HIDDEN), *state]

    def call(x: Tensor, weight: Tensor, *state: Tensor, backend: str) -> tuple[Tensor, ...]:
        y, last = slstm(x, weight, state, forget=forget, backend=backend, **marks)
        return y, *last

    _compare(call, inputs, generator)


@pytest.mark.parametrize("cell", ["lstm", "gru", "slstm"])
def test_pieces_do_not_show(cell, generator) -> None:
    """Longer than two of the pieces in which the kernels run; flags on both sides of a cut and at it."""
    draw, time, sizes = _draw(generator), 2 * PIECE + 3, (BATCH, HEADS, HIDDEN)
    reset, mask = torch.zeros(BATCH, time, dtype=torch.bool), torch.ones(BATCH, time, dtype=torch.bool)
    reset[0, [0, PIECE, 2 * PIECE - 1]], reset[1, PIECE + 1] = True, True
    mask[0, [PIECE - 1, PIECE + 1]], mask[1, [PIECE, 2 * PIECE]] = False, False
    for marks in (PLAIN, {"mask": mask, "reset": reset}):
        if cell == "lstm":
            inputs = [draw(BATCH, time, 4 * HIDDEN), draw(4 * HIDDEN, HIDDEN), draw(3, HIDDEN)]
            inputs += [draw(BATCH, HIDDEN), draw(BATCH, HIDDEN)]
            call = lambda x, w, p, *s, backend, m=marks: _flat(lstm(x, w, s, peephole=p, backend=backend, **m))  # noqa: E731
        elif cell == "gru":
            inputs = [draw(BATCH, time, 3 * HIDDEN), draw(3 * HIDDEN, HIDDEN), draw(BATCH, HIDDEN), draw(HIDDEN)]
            call = lambda x, w, h, b, backend, m=marks: gru(x, w, h, bias=b, backend=backend, **m)  # noqa: E731
        else:
            state = [draw(*sizes), draw(*sizes), (1 + draw(*sizes) ** 2).detach().requires_grad_(), draw(*sizes)]
            inputs = [draw(BATCH, time, HEADS, 4, HIDDEN), draw(HEADS, 4 * HIDDEN, HIDDEN), *state]
            call = lambda x, w, *s, backend, m=marks: _flat(slstm(x, w, s, backend=backend, **m))  # noqa: E731
        _compare(call, inputs, generator)


def test_float32(generator) -> None:
    draw = _draw(generator, torch.float32)
    x = [draw(BATCH, TIME, 4 * HIDDEN), draw(4 * HIDDEN, HIDDEN), draw(BATCH, HIDDEN), draw(BATCH, HIDDEN)]
    _compare(lambda x, w, h, c, backend: _flat(lstm(x, w, (h, c), backend=backend)), x, generator)


def _flat(result: tuple) -> tuple[Tensor, ...]:
    return result[0], *result[1]


def test_gradcheck(generator) -> None:
    draw = _draw(generator)
    x, w = draw(1, 3, 4 * 2), draw(8, 2)
    assert torch.autograd.gradcheck(lambda x, w, p: _flat(lstm(x, w, peephole=p)), (x, w, draw(3, 2)))
    assert torch.autograd.gradcheck(lambda x, w: gru(x, w), (draw(1, 3, 6), draw(6, 2)))
    assert torch.autograd.gradcheck(lambda x, w: _flat(slstm(x, w)), (draw(1, 3, 1, 4, 2), draw(1, 8, 2)))


def test_standard_cells_are_torchs(generator) -> None:
    draw = _draw(generator)
    x = draw(BATCH, TIME, 4)
    theirs = torch.nn.LSTM(4, HIDDEN, batch_first=True, dtype=torch.float64)
    projected = x @ theirs.weight_ih_l0.mT + theirs.bias_ih_l0 + theirs.bias_hh_l0
    y, state = lstm(projected, theirs.weight_hh_l0)
    expected, (h, c) = theirs(x)
    torch.testing.assert_close((y, *state), (expected, h[0], c[0]))
    weight = theirs.weight_hh_l0
    torch.testing.assert_close(
        torch.autograd.grad(y.sum(), (x, weight)), torch.autograd.grad(expected.sum(), (x, weight))
    )
    theirs = torch.nn.GRU(4, HIDDEN, batch_first=True, dtype=torch.float64)
    outside, inside = theirs.bias_hh_l0.split([2 * HIDDEN, HIDDEN])
    projected = x @ theirs.weight_ih_l0.mT + theirs.bias_ih_l0 + torch.cat([outside, torch.zeros_like(inside)])
    y, h = gru(projected, theirs.weight_hh_l0, bias=inside)
    expected, last = theirs(x)
    torch.testing.assert_close((y, h), (expected, last[0]))


def test_slstm_does_not_depend_on_what_it_is_relative_to(generator) -> None:
    """c, n and m are one number in three parts: exp(m) moved into c and n changes nothing but the parts."""
    draw = _draw(generator)
    x, weight = draw(BATCH, TIME, HEADS, 4, HIDDEN), draw(HEADS, 4 * HIDDEN, HIDDEN)
    h, c, n, m = (draw(BATCH, HEADS, HIDDEN).detach() for _ in range(4))
    n = n.abs() + 0.5
    y, _ = slstm(x, weight, (h, c, n, m))
    moved, _ = slstm(x, weight, (h, c * m.exp(), n * m.exp(), torch.zeros_like(m)))
    torch.testing.assert_close(y, moved)


def test_slstm_survives_any_gate(generator) -> None:
    x = 1e4 * _draw(generator, torch.float32)(BATCH, 50, HEADS, 4, HIDDEN).detach()
    for forget in ("sigmoid", "exponential"):
        y, state = slstm(x.requires_grad_(), torch.zeros(HEADS, 4 * HIDDEN, HIDDEN), forget=forget)
        (slope,) = torch.autograd.grad(y.sum(), x)
        assert y.isfinite().all()
        assert slope.isfinite().all()
        assert y.abs().max() <= 1.0001  # a weighted mean of tanh, gated
        assert state.normaliser.isfinite().all()


def test_any_cut_one_step_and_no_rows(generator) -> None:
    draw = _draw(generator)
    xl, wl = draw(BATCH, TIME, 4 * HIDDEN), draw(4 * HIDDEN, HIDDEN)
    xs, ws = draw(BATCH, TIME, HEADS, 4, HIDDEN), draw(HEADS, 4 * HIDDEN, HIDDEN)
    xg, wg = draw(BATCH, TIME, 3 * HIDDEN), draw(3 * HIDDEN, HIDDEN)
    for op, x, w in ((lstm, xl, wl), (gru, xg, wg), (slstm, xs, ws)):
        whole, _ = op(x, w, reset=RESET)
        state, pieces = None, []
        for t in (slice(0, 1), slice(1, 4), slice(4, 5)):
            y, state = op(x[:, t], w, state, reset=RESET[:, t])
            pieces.append(y)
        torch.testing.assert_close(torch.cat(pieces, 1), whole)
        assert op(x[:0], w)[0].shape[:2] == (0, TIME)
        assert op(x.bfloat16(), w.bfloat16())[0].dtype is torch.bfloat16


def test_wrong_input_is_named() -> None:
    x, w = torch.zeros(2, 3, 8), torch.zeros(8, 2)
    with pytest.raises(InputError, match="expected \\(batch, time, 4"):
        lstm(x[..., 1:], w)
    with pytest.raises(InputError, match="one way to forget"):
        lstm(x, w, coupled=True, forget_gate=False)
    with pytest.raises(InputError, match="cell has shape"):
        lstm(x, w, (x[:, 0, :2], x[:, 0]))
    with pytest.raises(InputError, match="3 \\* hidden"):
        gru(x, w)
    with pytest.raises(InputError, match="forget is 'exp'"):
        slstm(torch.zeros(1, 2, 1, 4, 3), torch.zeros(1, 12, 3), forget="exp")
