"""What a piece of a model does in one step, written down call by call while it runs.

It runs on tensors without numbers (``FakeTensorMode``): at full size, with no memory and no arithmetic. A layer that
looks at numbers to decide what to do cannot be run so, and is run for real.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode

from seqmem.mixers.state import State, state_bytes
from seqmem.ops._buffers import pool
from seqmem.planning.arithmetic import UNCOUNTED, flops_of, is_causal


class KeepsUnknown(Exception):
    """An operator that keeps memory of a size that only a real call tells."""


LOOKS_AT_NUMBERS = (DataDependentOutputException, DynamicOutputShapeException, KeepsUnknown)
KEEP_UNKNOWN = ("mkldnn_rnn_layer",)
#: bytes: a larger block goes back to the system when it is freed. glibc's limit is 32 MiB (on 64 bits, once large
#: blocks have been freed) with what it and alignment add to a block, for which a page is more than enough
LARGEST_KEPT = 32 * 2**20 - 4096
AUTOCAST = torch.bfloat16  # the one dtype in which products are computed while the weights stay in float32


class Call(NamedTuple):
    """flops: operations as torch counts them; done: those that a kernel does, half of them where causal attention skips
    what lies ahead; moved: bytes read and written; fresh: bytes that the system hands out anew; kernel: one of this
    library's own."""

    flops: float
    done: float
    moved: int
    fresh: int
    kernel: bool


@dataclass
class Trace:
    """forward, backward: every call that does work, and how often. saved: bytes that the forward pass keeps for the
    backward pass, parameters not counted. saves: how often it gives something away to be kept. state: bytes of the new
    state, all rows together. uncounted: operators whose
    arithmetic is not known, and how often. real: it was run for real."""

    forward: Counter[Call] = field(default_factory=Counter)
    backward: Counter[Call] = field(default_factory=Counter)
    saved: int = 0
    saves: int = 0
    state: int = 0
    uncounted: Counter[str] = field(default_factory=Counter)
    real: bool = False


def autocast(dtype: torch.dtype) -> torch.autocast:
    """As a training in ``dtype`` runs: bfloat16 by autocast, float32 and float64 as they are."""
    return torch.autocast("cpu", AUTOCAST, enabled=dtype is AUTOCAST)


Run = Callable[[nn.Module], tuple[Tensor, Tensor, State]]  # a module to (its output, its gradient, its state)


def trace(build: Callable[[], nn.Module], run: Run, dtype: torch.dtype, backward: bool = True) -> Trace:
    """One forward and, unless told otherwise, backward pass of ``run(build())``."""
    try:
        return _without_numbers(build, run, dtype, backward)
    except LOOKS_AT_NUMBERS:
        found = _recorded(build(), run, dtype, backward)
        found.real = True
        return found


def _without_numbers(build: Callable[[], nn.Module], run: Run, dtype: torch.dtype, backward: bool) -> Trace:
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    module = built(build, fake)
    with fake:
        return _recorded(module, run, dtype, backward)


def built(build: Callable[[], nn.Module], fake: FakeTensorMode) -> nn.Module:
    """The module with tensors that have no numbers, however large."""
    try:
        with fake:
            return build()
    except Exception:  # a constructor that computes, with NumPy say, or a config that it refuses, now in its own words
        module = build()
    known: dict[nn.Parameter, nn.Parameter] = {}  # one that is used in two places stays one
    for part in module.modules():
        for name, weight in part.named_parameters(recurse=False, remove_duplicate=False):
            if weight not in known:
                known[weight] = nn.Parameter(fake.from_tensor(weight.detach()), weight.requires_grad)
            part._parameters[name] = known[weight]
        for name, buffer in part.named_buffers(recurse=False):
            part._buffers[name] = fake.from_tensor(buffer)
    return module


def weights(build: Callable[[], nn.Module]) -> list[int]:
    """How many numbers each trainable tensor of the module has."""
    module = built(build, FakeTensorMode(allow_non_fake_inputs=True))
    return [p.numel() for p in module.parameters() if p.requires_grad]


def _recorded(module: nn.Module, run: Run, dtype: torch.dtype, backward: bool) -> Trace:
    found = Trace()
    if not backward:
        with torch.no_grad(), autocast(dtype), _Recorder(found, found.forward):
            found.state = state_bytes(run(module)[2])
        return found
    with _Recorder(found, found.forward), saved_tensors(module) as kept:
        with autocast(dtype):
            output, gradient, state = run(module)
        found.state, found.saved, found.saves = state_bytes(state), kept.bytes, kept.count
    with _Recorder(found, found.backward):
        output.backward(gradient)
    return found


class Kept:
    """The tensors that the forward pass keeps for the backward pass, but for ``given``, by their storage. They are
    held, so that no storage's address is given out again."""

    def __init__(self, given: Iterable[Tensor]) -> None:
        self.given = {_storage(x) for x in given}
        self.tensors: dict[int, Tensor] = {}
        self.count = 0

    def pack(self, x: Tensor) -> Tensor:
        """The hook of autograd."""
        self.count += 1
        if _storage(x) not in self.given:
            self.tensors[_storage(x)] = x.detach()
        return x

    @property
    def bytes(self) -> int:
        """Of their storages, each once."""
        return sum(x.untyped_storage().nbytes() for x in self.tensors.values())


@contextmanager
def saved_tensors(module: nn.Module) -> Iterator[Kept]:
    """What is kept beside the parameters and buffers of ``module``."""
    kept = Kept((*module.parameters(), *module.buffers()))
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda x: x):
        yield kept


class _Recorder(TorchDispatchMode):
    """Writes down every call that reaches a device."""

    def __init__(self, trace: Trace, calls: Counter[Call]) -> None:
        super().__init__()
        self.trace, self.calls = trace, calls

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function.namespace in ("aten", "seqmem"):
            name = function.overloadpacket.__name__
            if name in KEEP_UNKNOWN and any(isinstance(x, FakeTensor) for x in _tensors(args)):
                raise KeepsUnknown(name)
            if name in UNCOUNTED:
                self.trace.uncounted[name] += 1
            flops = flops_of(function, args, kwargs or {}, result)
            done = flops / 2 if flops and is_causal(function, args, kwargs or {}) else flops
            kernel = function.namespace == "seqmem"
            self.calls[Call(flops, done, *_moved(function, args, result, kernel), kernel)] += 1
        return result


def _moved(function: Any, arguments: Any, result: Any, kernel: bool) -> tuple[int, int]:
    """Bytes read and written, and of these the bytes that the system hands out anew: nothing where the result is a view
    of what was given, or memory not yet written."""
    given, made = list(_tensors(arguments)), list(_tensors(result))
    known = {_storage(x) for x in given}
    new = [x for x in made if _storage(x) not in known]
    if "empty" in function.overloadpacket.__name__ or (len(new) < len(made) and not function._schema.is_mutable):
        return 0, 0
    return sum(map(_size, (*given, *made))), _fresh(given, new, kernel)


def _fresh(given: Iterable[Tensor], new: Iterable[Tensor], kernel: bool) -> int:
    """Bytes of the blocks that are too large to be kept by the C library. The kernels of this library keep the memory
    of their results themselves (:mod:`seqmem.ops._buffers`), but copy what is given to them in another layout."""
    largest_kept = pool().limit if kernel else LARGEST_KEPT
    found = sum(size for size in map(_size, new) if size > max(LARGEST_KEPT, largest_kept))
    copies = (x.numel() * x.element_size() for x in given if not x.is_contiguous()) if kernel else ()
    return found + sum(size for size in copies if size > LARGEST_KEPT)


def _size(x: Tensor) -> int:
    """Bytes that are there: of an expanded tensor, those that it repeats."""
    return min(x.numel() * x.element_size(), x.untyped_storage().nbytes())


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from _tensors(value)


def _storage(x: Tensor) -> int:
    return x.untyped_storage()._cdata
