"""Memory that the system hands out anew: which blocks are reckoned to be, and that the system does so."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch

from seqmem.models import SequenceConfig
from seqmem.ops._buffers import pool
from seqmem.planning.figures import Rates, figures
from seqmem.planning.parts import parts
from seqmem.planning.trace import LARGEST_KEPT, _fresh

FAULTS = """
import resource
import torch

def fresh(size):  # the least of a tensor of so many bytes, made a dozen times
    found = []
    for _ in range(12):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.empty(size, dtype=torch.uint8).fill_(1)
        found.append((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize())
    return min(found)

torch.set_num_threads(1)
print(*(fresh(size) for size in ({above}, 2 * {above}, {kept})))
"""


def of(size: int) -> torch.Tensor:
    """A tensor of so many bytes."""
    return torch.empty(size, dtype=torch.uint8, device="meta")


def test_large_results_are_new_memory() -> None:
    large = LARGEST_KEPT + 1
    assert _fresh([], [of(large), of(large + 1), of(LARGEST_KEPT)], kernel=False) == 2 * large + 1
    assert _fresh([of(1).expand(large)], [of(8)], kernel=False) == 0


def test_kernels_keep_their_results_and_copy_what_is_not_contiguous() -> None:
    large = LARGEST_KEPT + 1
    assert _fresh([of(large)], [of(large)], kernel=True) == 0
    assert _fresh([of(1).expand(large), of(1).expand(LARGEST_KEPT)], [of(large)], kernel=True) == large
    assert _fresh([], [of(pool().limit + 1)], kernel=True) == max(pool().limit, LARGEST_KEPT) + 1


def test_a_layer_whose_tensors_are_just_too_large() -> None:
    """S4D, 8 rows of 256 positions: what is written, its copies for the scan and for the product, and their gradients,
    each of 32 MiB."""
    config = SequenceConfig(11, 128, layers=["s4d"])
    assert [
        figures(config, parts(config)[0], 8, time, torch.float32, Rates(1e10, 1e10)).fresh for time in (248, 256)
    ] == [0, 8 * 32 * 2**20]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc" or sys.maxsize < 2**32, reason="of glibc on 64 bits")
def test_the_system_does_so() -> None:
    above = LARGEST_KEPT + 4096
    code = FAULTS.format(kept=LARGEST_KEPT, above=above)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    least, twice, kept = map(int, done.stdout.split())
    assert least >= above
    assert twice >= 2 * above
    assert kept < above / 8
