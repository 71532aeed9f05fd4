"""What every op has to stand: odd shapes and strides, NaN, long sequences, and a machine without a compiler."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from seqmem import ops
from seqmem.ops import explain
from tests.ops.every_op import BATCH, TIME, calls, differentiated, flat

NAMES = list(calls())
FLOWING = [name for name in NAMES if name != "causal_conv"]  # ops whose state reaches over the whole sequence


def test_the_table_holds_every_op() -> None:
    assert set(NAMES) == set(explain())
    assert {"memory_update", *NAMES} == {name for name in ops.__all__ if name.islower() and name != "explain"}


@pytest.mark.parametrize("name", NAMES)
def test_strided_and_expanded_inputs(name: str) -> None:
    call, sequences, weights = calls()[name]
    inputs = [*sequences, *weights]
    expected = differentiated(call, inputs)

    def strided(x: Tensor) -> Tensor:
        return torch.stack([x, x * 0 - 7], -1)[..., 0]

    torch.testing.assert_close(differentiated(call, [strided(x) for x in inputs]), expected)
    turned = [x.transpose(0, 1).contiguous().transpose(0, 1) for x in sequences]
    torch.testing.assert_close(differentiated(call, [*turned, *weights]), expected)
    rows = [x[:1].expand(BATCH, *x.shape[1:]) for x in sequences]
    repeated = [x[:1].repeat(BATCH, *[1] * (x.ndim - 1)) for x in sequences]
    torch.testing.assert_close(flat(call(*rows, *weights)), flat(call(*repeated, *weights)))


@pytest.mark.parametrize("name", NAMES)
def test_gradcheck_of_every_argument_and_the_state(name: str) -> None:
    call, sequences, weights = calls(batch=2, time=4)[name]
    later = [x[:, 2:] for x in sequences]
    inputs = [*later, *weights, *_state_after(name, [x[:, :2] for x in sequences], weights)]
    inputs = [x.detach().requires_grad_() for x in inputs]
    n, (state,) = len(later) + len(weights), _state_names(name)
    one = len(inputs) == n + 1
    options = [{}] if name == "causal_conv" else [{}, {"reset": torch.tensor([[False, True], [False, False]])}]
    for marks in options:

        def run(*x: Tensor, marks: dict[str, Tensor] = marks) -> tuple[Tensor, ...]:
            return tuple(flat(call(*x[:n], **{state: x[n] if one else x[n:]}, backend="numba", **marks)))

        assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


def _state_names(name: str) -> list[str]:
    return [p for p in inspect.signature(getattr(ops, name)).parameters if p in ("h0", "s0", "state")]


def _state_after(name: str, sequences: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
    return flat(calls()[name][0](*sequences, *weights))[1:]


@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_rows_and_steps_in_any_layout(name: str) -> None:
    """Shapes, strides and flags drawn at random; lengths on both sides of the blocks that kernels work in."""
    generator = torch.Generator().manual_seed(len(name))

    def drawn(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    for time in (drawn(2, 15), drawn(17, 64), drawn(66, 140)):
        batch = drawn(1, 6)
        call, sequences, weights = calls(batch=batch, time=time)[name]
        for place, x in enumerate(sequences):
            order = torch.randperm(x.dim(), generator=generator).tolist()
            turned = x.permute(order).contiguous().permute([order.index(i) for i in range(x.dim())])
            sequences[place] = torch.stack([turned, turned - 7], -1)[..., 0] if drawn(0, 2) else turned
        marks = {}
        for flag in ("reset", "mask"):
            if flag in inspect.signature(getattr(ops, name)).parameters:
                marks[flag] = torch.rand(batch, time, generator=generator) < (0.1 if flag == "reset" else 0.8)
        inputs = [*sequences, *weights]
        torch.testing.assert_close(
            differentiated(call, inputs, backend="numba", **marks),
            differentiated(call, inputs, backend="reference", **marks),
        )


@pytest.mark.parametrize("name", ["lstm", "gru", "slstm"])  # causal_conv has a test of every pattern of its own
def test_masks_at_every_position(name: str) -> None:
    call, sequences, weights = calls()[name]
    for at in range(TIME):
        mask = torch.ones(BATCH, TIME, dtype=torch.bool)
        mask[1, at] = False
        got = differentiated(call, [*sequences, *weights], mask=mask)
        torch.testing.assert_close(got, differentiated(call, [*sequences, *weights], mask=mask, backend="reference"))
        left_out = flat(call(*[torch.cat([x[1:2, :at], x[1:2, at + 1 :]], 1) for x in sequences], *weights))
        torch.testing.assert_close([y[1:2] for y in got[1 : len(left_out)]], left_out[1:])


#: op -> which sequence is its decay, and what makes that 0 and 1
DECAYS = {
    "linear_scan": (0, 0.0, 1.0),
    "selective_scan": (1, torch.inf, 0.0),
    "ssd": (3, -torch.inf, 0.0),
    "gated_linear_attention": (3, -torch.inf, 0.0),
    "delta_rule": (4, -torch.inf, 0.0),
    "generalized_delta_rule": (5, -torch.inf, 0.0),
}


@pytest.mark.parametrize("name", DECAYS)
def test_a_decay_of_exactly_nought_and_one(name: str) -> None:
    call, sequences, weights = calls()[name]
    place, nought, one = DECAYS[name]
    for ends in ((one,), (nought, one)):
        if torch.inf in ends:
            continue  # an infinite step writes infinitely much; that a huge one forgets has a test of its own
        given = sequences[place].clone()
        for i, value in enumerate(ends):
            given[:, i :: len(ends)] = value
        inputs = [*sequences[:place], given, *sequences[place + 1 :], *weights]
        got = differentiated(call, inputs, backend="numba")
        expected = differentiated(call, inputs, backend="reference")
        torch.testing.assert_close(got[:2], expected[:2])
        for ours, theirs in zip(got[2:], expected[2:], strict=True):
            assert ours.isfinite().all()
            if theirs.isfinite().all():  # autograd of exp(-inf) times nothing may be NaN
                torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_vmap_refuses_clearly(name: str) -> None:
    call, sequences, weights = calls()[name]
    with pytest.raises(NotImplementedError, match=f"{name}.*put the mapped dimension into the batch"):
        torch.func.vmap(lambda *x: call(*x, *weights, backend="numba")[0])(*[torch.stack([x, x]) for x in sequences])


@pytest.mark.parametrize("name", NAMES)
def test_no_rows_and_one_step(name: str) -> None:
    call, sequences, weights = calls()[name]
    for y in differentiated(call, [*[x[:0] for x in sequences], *weights])[: len(sequences)]:
        assert y.shape[0] == 0
    one = [x[:, :1].contiguous() for x in sequences]
    torch.testing.assert_close(
        differentiated(call, [*one, *weights]), differentiated(call, [*one, *weights], backend="reference")
    )


@pytest.mark.parametrize("name", FLOWING)
def test_resets_at_every_position(name: str) -> None:
    call, sequences, weights = calls()[name]
    for at in range(TIME):
        reset = torch.zeros(BATCH, TIME, dtype=torch.bool)
        reset[1, at] = True
        got = differentiated(call, [*sequences, *weights], reset=reset)
        torch.testing.assert_close(got, differentiated(call, [*sequences, *weights], reset=reset, backend="reference"))
        alone = flat(call(*[x[1:2, at:] for x in sequences], *weights))
        torch.testing.assert_close([y[1:2] for y in got[1 : len(alone)]], alone[1:])
        torch.testing.assert_close(got[0][1:2, at:], alone[0])


@pytest.mark.parametrize("name", NAMES)
def test_nan_stays_in_its_row_and_does_not_reach_back(name: str) -> None:
    call, sequences, weights = calls()[name]
    clean = flat(call(*sequences, *weights, backend="numba"))
    for i in range(len(sequences)):
        spoilt = [x.clone() for x in sequences]
        spoilt[i][1, 2] = torch.nan
        got = flat(call(*spoilt, *weights, backend="numba"))
        assert got[0][1, 2:].isnan().any()
        torch.testing.assert_close(got[0][1, :2], clean[0][1, :2])
        for y, wanted in zip(got, clean, strict=True):
            torch.testing.assert_close(y[[0, 2]], wanted[[0, 2]])


@pytest.mark.parametrize("name", NAMES)
def test_large_inputs_stay_finite_where_the_mathematics_does(name: str) -> None:
    call, sequences, weights = calls(torch.float32)[name]
    loud = [x if name == "linear_scan" and i == 0 else x * 1e4 for i, x in enumerate(sequences)]
    if name in ("delta_rule", "generalized_delta_rule", "linear_scan"):
        loud = (
            [*sequences[:2], 1e4 * sequences[2], *sequences[3:]]
            if len(sequences) > 2
            else [sequences[0], 1e4 * sequences[1]]
        )
    for y in differentiated(call, [*loud, *weights]):
        assert y.isfinite().all()


def test_a_million_steps() -> None:
    """h_t = h_{t-1} + 1, and a mean of what was read."""
    time = 1_000_000
    ones = torch.ones(1, time, 2)
    h, last = ops.linear_scan(ones, ones)
    assert last.tolist() == [[time, time]]
    assert h[0, 1234].tolist() == [1235, 1235]
    y, _ = ops.running_softmax(0 * ones, ones[..., None])
    torch.testing.assert_close(y, ones[..., None])


@pytest.mark.parametrize(
    "name", ["running_softmax", "wkv", "generalized_delta_rule", "causal_conv", "lstm", "gru", "slstm"]
)
def test_a_hundred_thousand_steps(name: str) -> None:
    call, sequences, weights = calls(torch.float32, batch=1, time=100_000)[name]
    for y in differentiated(call, [*sequences, *weights]):
        assert y.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_under_checkpoint(name: str) -> None:
    call, sequences, weights = calls()[name]
    inputs = [*sequences, *weights]

    def recomputed(*x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        y, *state = checkpoint(lambda *x: tuple(flat(call(*x))), *x, use_reentrant=False)
        return y, tuple(state)

    torch.testing.assert_close(differentiated(recomputed, inputs), differentiated(call, inputs))


def _script(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parents[2])
    paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": paths} | environment,
        timeout=250,
        check=False,
    )


def test_every_op_without_compilation() -> None:
    done = _script("-m", "tests.ops.every_op", NUMBA_DISABLE_JIT="1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == NAMES


def test_every_op_without_numba_which_is_said_once() -> None:
    code = "import sys; sys.modules['numba'] = None; import tests.ops.every_op as e; print(*e.compared())"
    done = _script("-W", "always", "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == NAMES
    assert done.stderr.count("slower PyTorch reference") == 1


def _train(steps: int) -> list[Tensor]:
    """A few steps of descent through several ops."""
    results = []
    for name in ("linear_scan", "lstm"):
        call, sequences, weights = calls()[name]
        for _ in range(steps):
            results = differentiated(call, [*sequences, *weights])
    return results


def test_a_fork_in_the_middle_of_training() -> None:
    expected = _train(1)
    torch.set_num_threads(2)
    _train(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, of fork in a process with threads
        child = os.fork()
    if child == 0:
        try:
            torch.testing.assert_close(_train(1), expected)
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    torch.testing.assert_close(_train(1), expected)


def test_two_threads_at_once() -> None:
    expected = _train(1)
    torch.set_num_threads(2)
    wrong: list[BaseException] = []

    def run() -> None:
        try:
            for _ in range(5):
                torch.testing.assert_close(_train(1), expected)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class _Worker(torch.utils.data.Dataset[Tensor]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Tensor:
        return _train(1)[0]


def test_in_the_workers_of_a_data_loader() -> None:
    expected = _train(1)[0]
    loader = torch.utils.data.DataLoader(_Worker(), batch_size=None, num_workers=2)
    for got in loader:
        torch.testing.assert_close(got, expected)
