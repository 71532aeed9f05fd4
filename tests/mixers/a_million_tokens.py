"""A million positions through layers of constant memory: ``python -m tests.mixers.a_million_tokens [NAME ...]``.

Not a test of the suite: it takes minutes. For every layer, as constructed and in float32: are y and the state finite,
does the state keep its size, does the process? Exits with 1 where one does not.
"""

from __future__ import annotations

import resource
import sys
import time

import torch

from seqmem.mixers import MIXERS, get_mixer
from seqmem.mixers.state import state_bytes, tensors

POSITIONS, PIECE, WIDTH = 1_000_000, 5_000, 16
ROOM = 64  # MiB that a process may grow by after the first tenth


def peak() -> float:
    """The largest resident size so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)


@torch.no_grad()
def read(name: str) -> bool:
    torch.manual_seed(0)
    mixer, state, generator = get_mixer(name)(WIDTH).eval(), None, torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in mixer.parameters():  # layers that begin at zero would show nothing
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    began, sizes, largest, finite, early = time.perf_counter(), set(), 0.0, True, 0.0
    for piece in range(POSITIONS // PIECE):
        y, state = mixer(torch.randn(1, PIECE, WIDTH, generator=generator), state)
        largest = max(largest, float(y.abs().max()))
        finite = finite and bool(y.isfinite().all()) and not any(bool(part.isnan().any()) for part in tensors(state))
        sizes.add(state_bytes(state))
        if piece == POSITIONS // PIECE // 10:
            early = peak()
    grown = peak() - early
    ok = finite and len(sizes) == 1 and grown < ROOM
    seconds = time.perf_counter() - began
    print(
        f"{name:<22} {'ok  ' if ok else 'FAIL'} state {sorted(sizes)} bytes, |y| <= {largest:.3g}, "
        f"+{grown:.1f} MiB after a tenth, {seconds:.0f} s",
        flush=True,
    )
    return ok


if __name__ == "__main__":
    torch.set_num_threads(1)
    names = sys.argv[1:] or [name for name, entry in MIXERS.items() if entry.memory == "constant"]
    sys.exit(0 if sum(not read(name) for name in names) == 0 else 1)
