"""What every mixer promises, held against softmax attention and the classical recurrent networks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from seqmem.errors import InputError
from seqmem.mixers.attention import Attention
from seqmem.mixers.base import Mixer
from seqmem.mixers.gru import GRU
from seqmem.mixers.local_attention import LocalAttention
from seqmem.mixers.lstm import LSTM
from seqmem.mixers.rnn import RNN
from seqmem.mixers.state import detach, map_state, select, state_bytes, tensors

WIDTH = 8
MAKERS: dict[str, Callable[[], Mixer]] = {
    "attention": lambda: Attention(WIDTH, heads=2),
    "attention-grouped": lambda: Attention(WIDTH, heads=4, kv_heads=2),
    "local-4": lambda: LocalAttention(WIDTH, window=4, heads=2),
    "local-1": lambda: LocalAttention(WIDTH, window=1, heads=2),
    "local-grouped": lambda: LocalAttention(WIDTH, window=6, heads=4, kv_heads=1),
    "rnn": lambda: RNN(WIDTH),
    "rnn-relu": lambda: RNN(WIDTH, nonlinearity="relu", hidden=6),
    "lstm": lambda: LSTM(WIDTH),
    "lstm-hidden": lambda: LSTM(WIDTH, hidden=5),
    "gru": lambda: GRU(WIDTH),
    "gru-hidden": lambda: GRU(WIDTH, hidden=11),
}
every_mixer = pytest.mark.parametrize("name", MAKERS)
WITH = {"plain": (False, False), "mask": (True, False), "reset": (False, True), "both": (True, True)}
every_flag = pytest.mark.parametrize("flags", WITH)


def make(name: str, dtype: torch.dtype = torch.float64) -> Mixer:
    torch.manual_seed(3)
    return MAKERS[name]().to(dtype)


def draw(flags: str, batch: int, time: int, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> Any:
    """x, mask, reset; the last two None unless ``flags`` asks for them."""
    x = torch.randn(batch, time, WIDTH, generator=generator, dtype=torch.float64).to(dtype)
    mask = torch.rand(batch, time, generator=generator) > 0.35
    reset = torch.rand(batch, time, generator=generator) > 0.8
    use_mask, use_reset = WITH[flags]
    return x, mask if use_mask else None, reset if use_reset else None


def in_pieces(
    mixer: Mixer, cuts: list[int], x: Tensor, state: Any, mask: Tensor | None, reset: Tensor | None, form: str
) -> Any:
    ys = []
    for a, b in itertools.pairwise([0, *cuts, x.shape[1]]):
        part = {k: None if v is None else v[:, a:b] for k, v in (("mask", mask), ("reset", reset))}
        y, state = mixer(x[:, a:b], state, **part, form=form)
        ys.append(y)
    return torch.cat(ys, 1), state


def error(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    if a.numel() == 0:
        return 0.0
    if not a.is_floating_point():
        return float((a != b).any())
    return ((a - b).abs().max() / b.abs().max().clamp(min=1e-30)).item()


def assert_same_state(a: Any, b: Any, bound: float) -> None:
    for p, q in zip(tensors(a), tensors(b), strict=True):
        assert error(p, q) <= bound


def one_row(state: Any, row: int) -> Any:
    """The state of one row of a batch, as a batch of that row alone would have it."""
    state = select(state, torch.tensor([row]))
    if hasattr(state, "valid"):
        # A growing state is as long as the longest row; the shorter ones have room in front.
        first = state.valid.shape[1] - int(state.valid.sum())
        assert not state.key[:, :, :first].any()
        assert not state.value[:, :, :first].any()
        state = state._replace(
            key=state.key[:, :, first:], value=state.value[:, :, first:], valid=state.valid[:, first:]
        )
    return state


@every_mixer
@every_flag
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_any_cut_gives_the_same_answer(
    name: str, flags: str, dtype: torch.dtype, bound: float, generator: torch.Generator
) -> None:
    mixer = make(name, dtype)
    x, mask, reset = draw(flags, 3, 19, generator, dtype)
    _, before = mixer(
        torch.randn(3, 7, WIDTH, generator=generator).to(dtype), mask=torch.rand(3, 7, generator=generator) > 0.3
    )
    for state in (None, mixer.initial_state(3), detach(before)):
        y, last = mixer(x, state, mask=mask, reset=reset)
        real = torch.ones(3, 19, dtype=torch.bool) if mask is None else mask
        for cuts in ([6], [1], [18], [2, 3, 11], list(range(1, 19))):
            for form in ("parallel", "recurrent") if len(cuts) == 1 else ("auto",):
                pieces, final = in_pieces(mixer, cuts, x, state, mask, reset, form)
                assert error(pieces[real], y[real]) <= bound
                assert_same_state(final, last, bound)


@every_mixer
@every_flag
def test_the_future_is_not_seen(name: str, flags: str, generator: torch.Generator) -> None:
    mixer = make(name)
    x, mask, reset = draw(flags, 2, 15, generator)
    y, _ = mixer(x, mask=mask, reset=reset)
    real = torch.ones(2, 15, dtype=torch.bool) if mask is None else mask
    for t in (1, 8, 14):
        later = x.clone()
        later[:, t:] += 1.0
        z, _ = mixer(later, mask=mask, reset=reset)
        assert error(z[:, :t][real[:, :t]], y[:, :t][real[:, :t]]) <= 1e-12
        assert error(z[real], y[real]) > 1e-6  # the change itself is seen


@every_mixer
@every_flag
def test_rows_do_not_mix(name: str, flags: str, generator: torch.Generator) -> None:
    mixer = make(name)
    x, mask, reset = draw(flags, 4, 13, generator)
    y, state = mixer(x, mask=mask, reset=reset)
    again, _ = mixer(x, mask=mask, reset=reset)
    assert torch.equal(y, again)
    for row in range(4):
        now = slice(row, row + 1)
        alone, last = mixer(
            x[now], mask=None if mask is None else mask[now], reset=None if reset is None else reset[now]
        )
        real = torch.ones(1, 13, dtype=torch.bool) if mask is None else mask[now]
        assert error(y[now][real], alone[real]) <= 1e-12
        assert_same_state(one_row(state, row), one_row(last, 0), 1e-12)


@every_mixer
@pytest.mark.parametrize("flags", ["mask", "both"])
def test_padding_is_as_if_it_were_not_there(name: str, flags: str, generator: torch.Generator) -> None:
    mixer = make(name)
    x, _, reset = draw(flags, 5, 14, generator)
    mask = torch.ones(5, 14, dtype=torch.bool)
    mask[0, :5] = False  # on the left
    mask[1, 9:] = False  # on the right
    mask[2, [0, 3, 4, 8, 13]] = False  # holes
    mask[3] = False  # nothing else
    _, before = mixer(torch.randn(5, 6, WIDTH, generator=generator, dtype=torch.float64))
    x = x.masked_fill(~mask[..., None], float("nan"))  # whatever stands there
    for start in (None, before):
        y, state = mixer(x, start, mask=mask, reset=reset)
        assert y.isfinite().all()
        for row in range(5):
            kept = mask[row].nonzero()[:, 0]
            begin = None if start is None else one_row(start, row)
            document = None
            if reset is not None:
                # A reset that falls on padding still empties the memory before the next real position.
                count = reset[row].cumsum(0)
                document = (count[kept] != torch.cat([torch.zeros(1, dtype=count.dtype), count[kept][:-1]]))[None]
                if count[-1] > (count[kept[-1]] if len(kept) else 0):
                    last = mixer.initial_state(1)
                    assert_same_state(one_row(state, row), one_row(last, 0), 1e-12)
                    begin = None if len(kept) == 0 else begin
            if len(kept) == 0:
                if reset is None and start is not None:
                    assert_same_state(one_row(state, row), begin, 1e-12)
                continue
            alone, last = mixer(x[row : row + 1, kept], begin, reset=document)
            assert error(y[row, kept], alone[0]) <= 1e-12
            if reset is None or count[-1] == count[kept[-1]]:
                assert_same_state(one_row(state, row), one_row(last, 0), 1e-12)


@every_mixer
def test_a_reset_begins_anew(name: str, generator: torch.Generator) -> None:
    mixer = make(name)
    x, _, _ = draw("plain", 2, 20, generator)
    _, before = mixer(x.flip(1))
    reset = torch.zeros(2, 20, dtype=torch.bool)
    reset[0, [0, 7, 8]] = True
    reset[1, 12] = True
    y, state = mixer(x, before, reset=reset)
    for row, a, b in ((0, 0, 7), (0, 7, 8), (0, 8, 20), (1, 12, 20)):
        alone, last = mixer(x[row : row + 1, a:b])
        assert error(y[row : row + 1, a:b], alone) <= 1e-12
    assert_same_state(one_row(state, 1), one_row(last, 0), 1e-12)
    carried, _ = mixer(x[1:, :12], one_row(before, 1))
    assert error(y[1:, :12], carried) <= 1e-12


@every_mixer
@pytest.mark.parametrize("time", [1, 4])
def test_padding_alone_keeps_the_memory_and_a_reset_empties_it(
    name: str, time: int, generator: torch.Generator
) -> None:
    mixer = make(name)
    _, before = mixer(torch.randn(2, 9, WIDTH, generator=generator, dtype=torch.float64))
    x = torch.randn(2, time, WIDTH, generator=generator, dtype=torch.float64)
    nothing = torch.zeros(2, time, dtype=torch.bool)
    _, kept = mixer(x, before, mask=nothing)
    assert_same_state(kept, before, 0.0)
    reset = nothing.clone()
    reset[0, 0] = True
    _, emptied = mixer(x, before, mask=nothing, reset=reset)
    assert_same_state(one_row(emptied, 0), one_row(mixer.initial_state(1), 0), 0.0)
    assert_same_state(one_row(emptied, 1), one_row(before, 1), 0.0)


@every_mixer
@every_flag
def test_gradients_pass_through_the_state_both_ways(name: str, flags: str, generator: torch.Generator) -> None:
    mixer = make(name)
    x, mask, reset = draw(flags, 2, 7, generator)
    if reset is not None:
        reset[0] = False  # one row whose first document is the state's own
    _, state = mixer(torch.randn(2, 3, WIDTH, generator=generator, dtype=torch.float64))
    names = [label for label, _ in mixer.named_parameters()]

    def varies(part: Tensor) -> bool:
        return part.is_floating_point() and part.numel() > 0

    def run(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        weights, parts = dict(zip(names, rest, strict=False)), iter(rest[len(names) :])
        begin = map_state(lambda part: next(parts) if varies(part) else part, state)
        y, last = torch.func.functional_call(mixer, weights, (x, begin), {"mask": mask, "reset": reset})
        y = y if mask is None else y.masked_fill(~mask[..., None], 0)
        return (y, *filter(varies, tensors(last)))

    leaves = [x, *mixer.parameters(), *filter(varies, tensors(detach(state)))]
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    assert torch.autograd.gradcheck(run, leaves, fast_mode=True)


@every_mixer
@every_flag
def test_states_are_values(name: str, flags: str, generator: torch.Generator) -> None:
    mixer = make(name)
    _, state = mixer(torch.randn(2, 6, WIDTH, generator=generator, dtype=torch.float64))
    saved = map_state(Tensor.clone, state)
    for time in (1, 9):
        x, mask, reset = draw(flags, 2, time, generator)
        y, last = mixer(x, state, mask=mask, reset=reset)
        kept = map_state(Tensor.clone, last)
        y.detach().fill_(7.0)
        x.fill_(7.0)
        assert_same_state(state, saved, 0.0)
        assert_same_state(last, kept, 0.0)
        # Nothing else is held through a state, and it can be written as it is.
        assert save({str(i): part.detach() for i, part in enumerate(tensors(last))})


@every_mixer
def test_memory_grows_as_declared(name: str, generator: torch.Generator) -> None:
    mixer = make(name, torch.float32)
    x = torch.randn(1, 64, WIDTH, generator=generator)
    short, long = (state_bytes(mixer(x[:, :time])[1]) for time in (16, 64))
    if mixer.memory == "constant":
        assert short == long == state_bytes(mixer.initial_state(1)) == state_bytes(mixer(x[:, :1])[1])
    else:
        per_token = state_bytes(mixer(x[:, :17])[1]) - short
        assert long - short == 48 * per_token > 0


class LargestTensor(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        parts = out if isinstance(out, (tuple, list)) else (out,)
        self.size = max([self.size, *(part.numel() for part in parts if isinstance(part, Tensor))])
        return out


@every_mixer
@every_flag
def test_nothing_quadratic_in_time_is_held(name: str, flags: str, generator: torch.Generator) -> None:
    mixer = make(name, torch.float32)
    sizes = []
    for time in (100, 400):
        x, mask, reset = draw(flags, 2, time, generator, torch.float32)
        x.requires_grad_()
        with LargestTensor() as largest:
            mixer(x, mask=mask, reset=reset)[0].sum().backward()
        sizes.append(largest.size)
    if name.startswith("attention") and reset is not None:
        assert sizes[1] == 2 * 400 * 400  # declared: one matrix (batch, time, time), none per head
    else:
        assert sizes[1] < 10 * sizes[0]  # 4 times as long, up to twice as full; quadratic would be 16


@every_mixer
@pytest.mark.parametrize("flags", ["plain", "both"])
def test_long_inputs_stay_finite(name: str, flags: str, generator: torch.Generator) -> None:
    mixer = make(name, torch.float32)
    x, mask, reset = draw(flags, 1, 4096, generator, torch.float32)
    if reset is not None:
        reset &= torch.rand(1, 4096, generator=generator) > 0.99  # documents long enough to matter
    x.requires_grad_()
    y, state = mixer(x, mask=mask, reset=reset)
    y.square().mean().backward()
    assert y.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad.any()
    assert all(part.isfinite().all() for part in tensors(state) if part.is_floating_point())


@every_mixer
@every_flag
def test_bfloat16_autocast(name: str, flags: str, generator: torch.Generator) -> None:
    mixer = make(name, torch.float32)
    x, mask, reset = draw(flags, 2, 12, generator, torch.float32)
    real = torch.ones(2, 12, dtype=torch.bool) if mask is None else mask
    exact, _ = mixer(x, mask=mask, reset=reset)
    for given in (x, x.bfloat16()):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y, state = mixer(given, mask=mask, reset=reset)
            z, state = mixer(given[:, :1], state)
        (y.float().sum() + z.float().sum()).backward()
        assert error(y.float()[real], exact[real]) < 0.05
        assert all(part.dtype == torch.float32 for part in tensors(state) if part.is_floating_point())


@every_mixer
def test_a_bfloat16_layer_runs(name: str, generator: torch.Generator) -> None:
    mixer = make(name, torch.bfloat16)
    x, mask, reset = draw("both", 2, 12, generator, torch.bfloat16)
    y, state = mixer(x, mask=mask, reset=reset)
    z, state = mixer(x[:, :1], state)
    assert y.dtype == z.dtype == torch.bfloat16
    assert y.isfinite().all()
    assert all(part.dtype == torch.bfloat16 for part in tensors(state) if part.is_floating_point())


@every_mixer
def test_weights_survive_safetensors(name: str, generator: torch.Generator) -> None:
    mixer, other = make(name), MAKERS[name]().double()
    other.load_state_dict(load(save(mixer.state_dict())))
    x, _, _ = draw("plain", 2, 5, generator)
    assert torch.equal(mixer(x)[0], other(x)[0])


@every_mixer
def test_wrong_input_is_named(name: str) -> None:
    mixer = make(name, torch.float32)
    x = torch.zeros(2, 4, WIDTH)
    for call in (
        lambda: mixer(torch.zeros(2, 4, WIDTH + 1)),
        lambda: mixer(x, mask=torch.ones(2, 4)),
        lambda: mixer(x, form="chunk"),
        lambda: mixer(x, mixer.initial_state(3)),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert "\n" not in str(caught.value)
        assert "expected" in str(caught.value)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Attention(9, heads=2),
        lambda: Attention(12, heads=4),  # heads of size 3
        lambda: Attention(8, heads=4, kv_heads=3),
        lambda: Attention(8, heads=0),
        lambda: Attention(8, rope_base=0.0),
        lambda: LocalAttention(8, window=0),
        lambda: LocalAttention(8, window=2.5),  # type: ignore[arg-type]
        lambda: RNN(8, nonlinearity="gelu"),  # type: ignore[arg-type]
        lambda: LSTM(8, hidden=0),
        lambda: GRU(8, hidden=-1),
        lambda: GRU(0),
    ],
)
def test_wrong_options_are_named(build: Callable[[], Mixer]) -> None:
    with pytest.raises(InputError) as caught:
        build()
    assert "\n" not in str(caught.value)
