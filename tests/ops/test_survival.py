"""What every op has to stand: odd shapes and strides, NaN, long sequences, and a machine without a compiler."""

from __future__ import annotations

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
    loud = [x if name == "linear_scan" and i == 0 else x * 100 for i, x in enumerate(sequences)]
    if name in ("delta_rule", "generalized_delta_rule", "linear_scan"):
        loud = (
            [*sequences[:2], 1e4 * sequences[2], *sequences[3:]]
            if len(sequences) > 2
            else [sequences[0], 1e4 * sequences[1]]
        )
    for y in differentiated(call, [*loud, *weights]):
        assert y.isfinite().all()


@pytest.mark.parametrize("name", ["running_softmax", "wkv", "generalized_delta_rule"])
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
