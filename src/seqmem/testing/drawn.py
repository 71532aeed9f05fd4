"""Calls that nobody thought of: shapes, cuts, masks, resets, dtypes and forms drawn by Hypothesis.

    check_mixer(MyLayer, examples=200)                       in a pytest
    seqmem check my_pkg.module:MyLayer --examples 200        on the command line
    python -m seqmem.testing.drawn --minutes 10              every layer of the library, with other calls in each round

A drawn call (:class:`Case`) is read in its pieces, from nothing, from ``initial_state`` or from a state that was used.
The reference is the plainest reading there is: each row alone, its padding taken out, its documents one by one, a
position at a time. Compared are y at real positions, y of a common continuation, and in some calls in float64 the
gradients with respect to the input, what was read before, and the weights. In bfloat16, and for huge inputs, nothing is
compared: y, the state and the gradients must be finite and keep their dtype. What fails is made smaller by Hypothesis
before it is told.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import math
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers import MIXERS
from seqmem.mixers.state import State, tensors
from seqmem.testing.subject import EXACT, SINGLE, Measure, Subject, Violation, accepts, difference, run, run_pieces

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

PREFIX, AFTER = 4, 3
SHORT, LONGER = 13, (31, 32, 33, 63, 64, 65, 130)  # up to SHORT the reference reads single tokens
HUGE = 50.0  # inputs that saturate every gate: nothing is compared, all must be finite
GRADIENT = 1e-7  # the bound of a gradient in float64, relative like the others
BOUNDS = {"float64": EXACT, "float32": SINGLE, "bfloat16": math.inf}
STARTS = ("nothing", "initial", "used")
LAYOUTS = ("plain", "time first", "part of a wider tensor", "one row expanded")


@dataclass(frozen=True)
class Case:
    """One call. ``padding`` and ``resets``: a whole number per row, whose bit t is position t (None: not given);
    ``cuts``: where a new piece begins; ``scale``: standard deviation of the input."""

    batch: int = 1
    time: int = 1
    cuts: tuple[int, ...] = ()
    padding: tuple[int, ...] | None = None
    resets: tuple[int, ...] | None = None
    dtype: str = "float64"
    form: str | None = None
    start: str = "nothing"
    scale: float = 1.0
    layout: str = "plain"
    gradients: bool = False
    seed: int = 0

    def __str__(self) -> str:
        """What differs from the plainest call, in a line that can be pasted."""
        told = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) != f.default]
        return f"Case({', '.join(told)})"


def cases(forms: tuple[str | None, ...] = (None,), *, masks: bool = True, resets: bool = True) -> SearchStrategy[Case]:
    """A Hypothesis strategy of calls, for a test of your own: ``@given(cases(MyLayer.forms))``, then
    :func:`check_case`."""
    from hypothesis import strategies as st

    def flags(batch: int, time: int) -> SearchStrategy[tuple[int, ...]]:
        any_bits = st.integers(0, 2**time - 1)
        few = st.sets(st.integers(0, time - 1), max_size=3).map(lambda places: sum(1 << t for t in places))
        ahead = st.integers(0, time).map(lambda count: (1 << count) - 1)  # left padding
        behind = st.integers(0, time).map(lambda count: (1 << time) - (1 << (time - count)))
        return st.tuples(*[st.one_of(few, any_bits, ahead, behind)] * batch)

    @st.composite
    def draw_case(draw: Callable[[Any], Any]) -> Case:
        batch = draw(st.integers(1, 3))
        time = draw(st.one_of(st.integers(1, SHORT), st.integers(1, SHORT), st.sampled_from(LONGER)))
        cut = st.sets(st.integers(1, time - 1), max_size=4).map(lambda c: tuple(sorted(c))) if time > 1 else st.just(())
        single = st.just(tuple(range(1, time))) if time <= SHORT else cut
        dtype = draw(st.sampled_from(("float64", "float64", "float64", "float32", "bfloat16")))
        return Case(
            batch=batch,
            time=time,
            cuts=draw(st.one_of(cut, cut, single)),
            padding=draw(st.one_of(st.none(), flags(batch, time))) if masks else None,
            resets=draw(st.one_of(st.none(), flags(batch, time))) if resets else None,
            dtype=dtype,
            form=draw(st.sampled_from(forms)),
            start=draw(st.sampled_from(STARTS)),
            scale=draw(st.sampled_from((1.0, 0.0, 1e-3, 4.0, HUGE))),
            layout=draw(st.sampled_from(LAYOUTS)),
            gradients=dtype != "bfloat16" and draw(st.booleans()),
            seed=draw(st.integers(0, 999)),
        )

    return draw_case()


def check_case(subject: Subject, case: Case) -> float:
    """The error of one call, relative as everywhere; a Violation where it is beyond the bound."""
    dtype = getattr(torch, case.dtype)
    layer = subject.layer(dtype)
    call = _Call(subject, layer, case, dtype)
    with torch.set_grad_enabled(case.gradients):
        return call.check()


class _Call:
    """The tensors of a case."""

    def __init__(self, subject: Subject, layer: nn.Module, case: Case, dtype: torch.dtype) -> None:
        self.layer, self.case = layer, case
        self.one_by_one = case.time <= SHORT and subject.causal
        batch, time = case.batch, case.time
        generator = subject.generator(100_000 + case.seed)

        def noise(length: int) -> Tensor:
            drawn = torch.randn(batch, length, subject.width, generator=generator, dtype=torch.float64)
            return (case.scale * drawn).to(dtype)

        prefix, x, self.after = noise(PREFIX), noise(time), noise(AFTER)
        self.mask = None if case.padding is None else ~_bits(case.padding, time)
        self.reset = None if case.resets is None else _bits(case.resets, time)
        one_row = case.layout == "one row expanded"
        if self.mask is not None and not one_row:
            x = torch.where(self.mask[..., None], x, 1e3 + 10 * x)  # what leaks from padding is not to be missed
        self.prefix = prefix.requires_grad_(case.gradients)
        self.leaf = (x[:1].clone() if one_row else x).requires_grad_(case.gradients)
        self.x = self.leaf.expand(batch, -1, -1) if one_row else self.leaf
        edges = (0, *case.cuts, time) if subject.causal else (0, time)
        self.pieces = tuple(b - a for a, b in itertools.pairwise(edges))

    def check(self) -> float:
        case, bound = self.case, BOUNDS[self.case.dtype]
        start = self._start(self.prefix)
        watched = [(t, t.detach().clone()) for t in (self.x, *tensors(start))]
        y, state = run_pieces(
            self.layer, _laid_out(self.x, case.layout), start, self.pieces, mask=self.mask, reset=self.reset,
            form=case.form,
        )  # fmt: skip
        then, last = run(self.layer, self.after, state)
        self._require_whole(y, then, state, last)
        if any(not torch.equal(t, before) for t, before in watched if not bool(before.isnan().any())):
            raise Violation("x or the state that was given was changed in place")
        if case.gradients:
            self._require_finite_gradients(y if self.mask is None else y[self.mask], then)
        if case.dtype == "bfloat16" or case.scale == HUGE:
            return 0.0
        y_wanted, then_wanted = self._reference()
        y_real = y if self.mask is None else y[self.mask]
        for what, found, wanted in (("y", y_real, y_wanted), ("y of what is read next", then, then_wanted)):
            if (error := difference(found, wanted)) > bound:
                raise Violation(f"{what} differs by {error:.1e} from each row read alone", error, bound)
        worst = max(difference(y_real, y_wanted), difference(then, then_wanted))
        if case.gradients and case.dtype == "float64":
            self._compare_gradients((y_real, then), (y_wanted, then_wanted))
        return worst

    def _start(self, prefix: Tensor) -> State:
        """For the rows of ``prefix``."""
        if self.case.start == "used":
            return run(self.layer, prefix)[1]
        begin = getattr(self.layer, "initial_state", None)
        return begin(len(prefix)) if self.case.start == "initial" and callable(begin) else None

    def _reference(self) -> tuple[Tensor, Tensor]:
        """(y at real positions in the order of ``y[mask]``, or (batch, time, width) without a mask; y afterwards)."""
        ys, thens = [], []
        for row in range(self.case.batch):
            one = slice(row, row + 1)
            state, read = self._start(self.prefix[one]), [self.x[one, :0]]
            for document, fresh in self._documents(row):
                state = None if fresh else state
                for piece in document.split(1, dim=1) if self.one_by_one else (document,):
                    if piece.shape[1]:
                        y, state = run(self.layer, piece, state)
                        read.append(y)
            ys.append(torch.cat(read, dim=1)[0])
            thens.append(run(self.layer, self.after[one], state)[0])
        return torch.stack(ys) if self.mask is None else torch.cat(ys), torch.cat(thens)

    def _documents(self, row: int) -> list[tuple[Tensor, bool]]:
        """The row's real positions, (1, some, width), by documents; True: the memory is emptied before it."""
        begins = [] if self.reset is None else self.reset[row].nonzero().flatten().tolist()
        edges = [0, *begins, self.case.time]
        found = []
        for number, (a, b) in enumerate(itertools.pairwise(edges)):
            piece = self.x[row : row + 1, a:b]
            found.append((piece if self.mask is None else piece[:, self.mask[row, a:b]], number > 0))
        return found

    def _require_whole(self, y: Tensor, then: Tensor, state: State, last: State) -> None:
        for what, t in (("y", y), ("y of what is read next", then)):
            if not bool(torch.isfinite(t).all()):
                raise Violation(f"{what} is not finite")
            if t.dtype != self.x.dtype:
                raise Violation(f"{what} is {t.dtype}, expected that of x, {self.x.dtype}")
        for a, b in zip(tensors(state), tensors(last), strict=True):
            if a.dtype != b.dtype:
                raise Violation(f"a state tensor is {a.dtype}, and {b.dtype} after more was read")
            if bool(a.isnan().any()):
                raise Violation("the state holds a NaN")

    def _require_finite_gradients(self, *answers: Tensor) -> None:
        total = torch.stack([a.sum() for a in answers]).sum()
        if total.requires_grad:
            names, leaves = zip(*self._inputs().items(), strict=True)
            found = torch.autograd.grad(total, leaves, allow_unused=True, retain_graph=True)
            for name, gradient in zip(names, found, strict=True):
                if gradient is not None and not bool(torch.isfinite(gradient).all()):
                    raise Violation(f"the gradient of {name} is not finite, though y is")

    def _inputs(self) -> dict[str, Tensor]:
        weights = {name: p for name, p in self.layer.named_parameters() if p.requires_grad}
        return {"x": self.leaf, "what was read before": self.prefix, **weights}

    def _compare_gradients(self, found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> None:
        inputs = self._inputs()
        generator = torch.Generator().manual_seed(self.case.seed)
        along = [torch.randn(t.shape, generator=generator, dtype=t.dtype) / max(1, t.numel()) ** 0.5 for t in found]

        def gradients(answers: tuple[Tensor, Tensor]) -> tuple[Tensor | None, ...]:
            total = torch.stack([(a * p).sum() for a, p in zip(answers, along, strict=True)]).sum()
            if not total.requires_grad:
                return (None,) * len(inputs)
            return torch.autograd.grad(total, list(inputs.values()), allow_unused=True)

        for name, a, b in zip(inputs, gradients(found), gradients(wanted), strict=True):
            shape = inputs[name]
            error = difference(*(torch.zeros_like(shape) if g is None else g for g in (a, b)))
            if error > GRADIENT:
                raise Violation(
                    f"the gradient of {name} differs by {error:.1e} from that of each row read alone", error, GRADIENT
                )


def _bits(numbers: tuple[int, ...], time: int) -> Tensor:
    """(batch, time) bool."""
    return torch.tensor([[bool(number >> t & 1) for t in range(time)] for number in numbers])


def _laid_out(x: Tensor, layout: str) -> Tensor:
    """The same numbers, otherwise in memory."""
    if layout == "time first":
        return x.transpose(0, 1).contiguous().transpose(0, 1)
    if layout == "part of a wider tensor":
        return torch.cat([x, x], dim=-1)[..., : x.shape[-1]]
    return x  # "one row expanded" is so already


def require_hypothesis() -> None:
    """Raises InputError where it is not installed; it is no dependency of seqmem itself."""
    if importlib.util.find_spec("hypothesis") is None:
        raise InputError("drawn calls need Hypothesis, which is not installed; pip install hypothesis")


def drawn_calls(subject: Subject, examples: int) -> Measure:
    """``examples`` drawn calls; a Violation for the smallest that fails. The same calls every time for one seed."""
    import hypothesis

    layer = subject.layer()
    strategy = cases(subject.every_form(), masks=accepts(layer, "mask"), resets=accepts(layer, "reset"))
    worst, failing = 0.0, Case()

    @hypothesis.seed(zlib.crc32(f"{subject.label}, {subject.seed}".encode()))  # other calls for every layer
    @hypothesis.settings(
        max_examples=examples, database=None, deadline=None, report_multiple_bugs=False, print_blob=False,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink), verbosity=hypothesis.Verbosity.quiet,
    )  # fmt: skip
    @hypothesis.given(strategy)
    def every_call(case: Case) -> None:
        nonlocal worst, failing
        try:
            error = check_case(subject, case)
        except Exception:
            failing = case
            raise
        worst = max(worst, error if case.dtype == "float64" else 0.0)

    try:
        every_call()
    except Violation as violation:
        raise Violation(f"{violation}, in {failing}", violation.value, violation.bound) from violation
    return Measure(f"{worst:.1e} ≤ {EXACT:.0e} in {examples} drawn calls", worst, EXACT)


WIDTHS = (8, 16, 4, 24)  # one a round


def rounds(names: Sequence[str], seed: int, examples: int) -> Iterator[tuple[str, int, str]]:
    """(layer, width, what does not hold or ""), layer after layer, without end; every round has calls of its own."""
    count = 0
    while True:
        for name in names:
            width = WIDTHS[count % len(WIDTHS)]
            try:
                subject = Subject(name, width, seed + count)
            except InputError:  # a width that it does not take, said in a line
                continue
            fault = ""
            with torch.random.fork_rng(devices=[]):
                try:
                    drawn_calls(subject, examples)
                except Exception as error:
                    fault = f"{type(error).__name__}: {error}"
            yield name, width, fault
        count += 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what does not hold, and how much was tried; the exit code is 1 when something does not."""
    parser = argparse.ArgumentParser(prog="python -m seqmem.testing.drawn", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (default: %(default)s)")
    parser.add_argument("--examples", type=int, default=25, help="calls of a layer in a round (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first round (default: %(default)s)")
    parser.add_argument("--only", choices=tuple(MIXERS), action="append", metavar="LAYER", help="may be repeated")
    given = parser.parse_args(arguments)
    require_hypothesis()
    torch.set_num_threads(1)
    until, calls, broken = time.monotonic() + 60 * given.minutes, 0, 0
    for name, width, fault in rounds(given.only or list(MIXERS), given.seed, given.examples):
        calls += given.examples
        if fault:
            broken += 1
            print(f"{name}, width {width}: {fault}", flush=True)
        if time.monotonic() > until:
            break
    print(f"{calls:,} calls drawn; " + (f"{broken} broke the contract" if broken else "all keep the contract"))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
