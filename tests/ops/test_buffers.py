"""Memory that is used again: it is one tensor's at a time, whoever holds it, and no more is kept than was said."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import threading

import pytest
import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.ops import _buffers, linear_scan
from seqmem.ops._buffers import Pool

LARGE = (4, 64, 1024)  # 1 MiB of float32


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Pool:
    fresh = Pool(4 * 2**20)
    monkeypatch.setattr(_buffers, "_pool", fresh)
    return fresh


def _large() -> Tensor:
    return _buffers.like(torch.empty(LARGE))


def test_memory_comes_back_when_the_last_holder_goes(pool: Pool) -> None:
    x = _large()
    place, view = x.data_ptr(), x[1:, :, 3]
    assert place % _buffers.ALIGNMENT == 0
    del x
    assert pool.held == 0
    assert _large().data_ptr() != place  # the view has it
    del view
    assert _large().data_ptr() == place


def test_it_is_given_out_once(pool: Pool) -> None:
    places = {x.data_ptr() for x in [_large() for _ in range(3)]}
    assert len(places) == 3
    assert pool.held == 3 * 2**20
    assert len({x.data_ptr() for x in [_large() for _ in range(3)]} & places) == 3


def test_no_more_is_kept_than_the_limit_and_the_oldest_goes(pool: Pool) -> None:
    many = [_large() for _ in range(6)]
    places = [x.data_ptr() for x in many]
    while many:
        del many[0]
    assert pool.held == pool.limit
    kept = [_large() for _ in range(4)]
    assert [x.data_ptr() for x in kept] == places[:1:-1]
    del kept
    pool.limit = 0
    pool.give(_buffers.np.empty(8, _buffers.np.uint8))
    assert pool.held == 4 * 2**20  # what was kept before


def test_small_and_other_tensors_are_torchs(pool: Pool) -> None:
    for x in (torch.empty(3, 4), torch.empty(LARGE, dtype=torch.float16), torch.empty(LARGE, device="meta")):
        y = _buffers.like(x)
        assert (y.shape, y.dtype, y.device) == (x.shape, x.dtype, x.device)
    assert pool.held == 0
    for dtype in _buffers.NUMPY:
        y = _buffers.like(torch.empty(LARGE, dtype=dtype).mT)
        assert (y.shape, y.dtype, y.is_contiguous()) == ((4, 1024, 64), dtype, True)
        del y
    assert pool.held > 0


def test_results_are_ordinary_tensors(pool: Pool) -> None:
    a = torch.full(LARGE, 0.5, requires_grad=True)
    first, _ = linear_scan(a, torch.ones(LARGE))
    expected = first.detach().clone()
    second, _ = linear_scan(a.detach(), 2 * torch.ones(LARGE))  # must not take what `first` holds
    torch.testing.assert_close(first.detach(), expected)
    torch.testing.assert_close(second, 2 * expected)
    (kept,) = torch.autograd.grad(first.sum(), a, retain_graph=True)
    saved = kept.clone()
    torch.autograd.grad(first.sum(), a)
    torch.testing.assert_close(kept, saved)
    torch.testing.assert_close(pickle.loads(pickle.dumps(second)), second)
    second.add_(1).share_memory_()
    torch.testing.assert_close(second, 2 * expected + 1)


def test_from_several_threads(pool: Pool) -> None:
    wrong: list[float] = []

    def run(number: float) -> None:
        for _ in range(50):
            x = _large()
            x.fill_(number)
            if (x != number).any():
                wrong.append(number)
            del x

    threads = [threading.Thread(target=run, args=(float(i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    assert not wrong
    assert pool.held <= pool.limit


def test_the_environment_sets_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQMEM_BUFFERS", "3")
    assert _buffers._limit() == 3 * 2**20
    monkeypatch.setenv("SEQMEM_BUFFERS", "lots")
    with pytest.raises(InputError, match="SEQMEM_BUFFERS is 'lots', expected a whole number of MiB"):
        _buffers._limit()


def test_nothing_is_said_at_the_end_of_a_process() -> None:
    code = "import torch; from seqmem.ops import _buffers; x = _buffers.like(torch.empty(2**20)); y = [x[1:]]"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
