"""How kernels are compiled, kept and run: mostly in fresh processes, each with its own environment."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from seqmem.ops import _linear_scan_numba as kernels
from seqmem.ops._launch import OPTIONS

SOURCE = Path(__file__).parents[2] / "src"

#: Forward and backward through the first OPS scans, compared with the references.
CHECK = """
import torch
from seqmem.ops import linear_scan, selective_scan
torch.set_num_threads(THREADS)
torch.manual_seed(0)
def check(time=6):
    a, b = torch.rand(3, time, 5), torch.randn(3, time, 5)
    A, B = -torch.rand(5, 2), torch.rand(3, time, 2)
    for op, inputs in ((linear_scan, (a, b)), (selective_scan, (a, a, A, B, B)))[:OPS]:
        inputs = [x.requires_grad_() for x in inputs]
        results = []
        for backend in ("numba", "reference"):
            y, final = op(*inputs, backend=backend)
            results.append((y, *torch.autograd.grad(y.sum() + final.sum(), set(inputs))))
        torch.testing.assert_close(*results)
check()
"""

#: One small kernel, for where it must be compiled.
FORWARD = """
import torch
from seqmem.ops import linear_scan
torch.set_num_threads(THREADS)
h, _ = linear_scan(torch.ones(3, 4, 2), torch.ones(3, 4, 2))
assert h[0, :, 0].tolist() == [1, 2, 3, 4]
"""


def _python(code: str, threads: int = 1, ops: int = 1, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", code.replace("THREADS", str(threads)).replace("OPS", str(ops))],
        env={**os.environ, "PYTHONPATH": str(SOURCE), **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_a_second_process_finds_the_machine_code(tmp_path: Path) -> None:
    counted = (
        "from numba.core import event\n"
        "recorder = event.RecordingListener()\n"
        "event.register('numba:compile', recorder)\n" + FORWARD + "print(len(recorder.buffer))\n"
    )
    assert int(_python(counted, NUMBA_CACHE_DIR=str(tmp_path)).stdout) > 0
    before = sorted(p.name for p in tmp_path.rglob("*.nbc"))
    second = _python(counted, NUMBA_CACHE_DIR=str(tmp_path))
    assert sorted(p.name for p in tmp_path.rglob("*.nbc")) == before
    assert int(second.stdout) == 0
    # a parallel build must not be taken for the serial one
    _python(FORWARD, threads=2, NUMBA_CACHE_DIR=str(tmp_path), NUMBA_NUM_THREADS="2", OMP_NUM_THREADS="2")
    assert len(list(tmp_path.rglob("*.nbc"))) == 2 * len(before)


def test_without_a_cache_it_works_and_says_so_once(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("not a directory")
    locators = {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator", "NUMBA_CACHE_DIR": str(occupied)}
    done = _python(FORWARD, **locators)
    assert done.stderr.count("RuntimeWarning: seqmem: Numba's cache on disk does not work") == 1
    assert "set NUMBA_CACHE_DIR" in done.stderr


def test_without_a_cache_every_kernel_works(tmp_path: Path) -> None:
    """All kernels are decorated in one place, which knows what to do then."""
    occupied = tmp_path / "file"
    occupied.write_text("not a directory")
    code = (
        "import torch\nfrom seqmem.ops import generalized_delta_rule\nx = torch.rand(1, 2, 1, 2)\n"
        "torch.set_num_threads(THREADS)\ngeneralized_delta_rule(x, x, x, -x, x, -x)\n"
    )
    done = _python(code, NUMBA_CACHE_LOCATOR_CLASSES="UserProvidedCacheLocator", NUMBA_CACHE_DIR=str(occupied))
    assert "Numba's cache on disk does not work" in done.stderr
    for file in (SOURCE / "seqmem" / "ops").glob("*.py"):
        assert file.name == "_launch.py" or "**OPTIONS" not in file.read_text("utf-8"), file.name


def test_without_compilation_it_is_right() -> None:
    _python(CHECK, ops=2, NUMBA_DISABLE_JIT="1")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_after_a_fork_and_in_two_threads() -> None:
    code = (
        CHECK
        + """
import os, threading
child = os.fork()
if child == 0:
    check()
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
failures = []
def run():
    try:
        for _ in range(5): check(time=50)
    except BaseException as error:
        failures.append(error)
threads = [threading.Thread(target=run) for _ in range(2)]
for t in threads: t.start()
for t in threads: t.join()
assert not failures, failures
"""
    )
    _python(code, threads=2, ops=2, NUMBA_NUM_THREADS="2", OMP_NUM_THREADS="2")


def test_inner_loops_are_vectorised() -> None:
    """LLVM gives up silently, and a kernel then takes four times as long: look for packed products in its code."""
    if numba.config.DISABLE_JIT or platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("the test knows x86's instructions only")
    x3, x2, flags = numba.float32[:, :, ::1], numba.float32[:, ::1], numba.uint8[:, ::1]
    signature = (x3, x3, x2, flags, x3, x2, x3, x3, x2, numba.int64, numba.int64)
    for kernel in (kernels.real_backward(0, 0), kernels.complex_backward(0)):
        fresh = numba.njit(**{**OPTIONS, "cache": False})(kernel.py_func)
        fresh.compile(signature)
        assert "mulps" in next(iter(fresh.inspect_asm().values()))
