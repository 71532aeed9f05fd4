"""Point 5: the state grows as the class declares, and what was passed to the layer stays as it was."""

from __future__ import annotations

import torch
from torch import Tensor

from seqmem.mixers.state import State, state_bytes, tensors
from seqmem.testing.subject import Measure, Subject, Violation, in_form, run

TIME = 512  # a state that is still filling a longer window counts as growing
STEPS = 8


@torch.no_grad()
def growth(subject: Subject) -> Measure:
    """Bytes of the state of one row after T and 4 T positions, and after a few single tokens more."""
    if subject.memory not in ("constant", "linear"):
        raise Violation(f'the class declares memory = {subject.memory!r}, expected memory = "constant" or "linear"')
    layer = subject.layer(torch.float32, noise=False)
    x = subject.noise(1, 4 * TIME, salt=40, dtype=torch.float32)
    short = state_bytes(run(layer, x[:, :TIME])[1])
    _, state = run(layer, x)
    long, held = state_bytes(state), _held(state)
    for _ in range(STEPS):
        _, state = run(layer, x[:, :1], state)
    stepped = state_bytes(state)
    ratio = long / short if short else float(long > 0) + 1.0
    measured = f"{short:,} bytes after {TIME} positions, {long:,} after {4 * TIME}"
    if subject.memory == "constant":
        if long > short:
            raise Violation(f"declared constant, but {measured}: the state grows with what was read", ratio, 1.0)
        if stepped > long:
            raise Violation(
                f"declared constant, but {stepped - long:,} bytes more after {STEPS} tokens: it grows with every call",
                stepped / long,
                1.0,
            )
    elif long == short:
        raise Violation(f'declared linear, but {measured}: say memory = "constant"', ratio, 4.0)
    elif ratio > 4.4:
        raise Violation(f"declared linear, but {measured}: the state grows faster than that", ratio, 4.0)
    note = f"; note: the state is a view that keeps {held:,} bytes alive, clone() it" if held > 2 * long else ""
    return Measure(f"{subject.memory}: {measured}{note}", ratio, 1.0 if subject.memory == "constant" else 4.0)


def _held(state: State) -> int:
    """Bytes of the storages behind a state, which a view keeps alive whole."""
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors(state)}.values())


@torch.no_grad()
def not_mutated(subject: Subject) -> Measure:
    """What went in or came out of a call is the same after later calls, also when two of them start from one state."""
    calls = 0
    for form in subject.every_form():
        layer = subject.layer()
        watched: list[tuple[str, list[Tensor], State]] = []

        def watch(name: str, value: State, watched: list[tuple[str, list[Tensor], State]] = watched) -> None:
            watched.append((name, [t.clone() for t in tensors(value)], value))

        x = subject.noise(2, 9, salt=41)
        watch("its input x", x)
        y, state = run(layer, x, form=form)
        watch("the y it returned earlier", y)
        for time in (1, 4, 1):
            watch("the state it was given", state)
            left, right = (subject.noise(2, time, salt=salt) for salt in (42, 43))
            watch("its input x", left)
            _, branch = run(layer, left, state, form=form)
            watch("the state it returned earlier", branch)
            _, state = run(layer, right, state, form=form)
            calls += 2
            for name, before, value in watched:
                after = list(tensors(value))
                if len(after) != len(before) or any(not _same(a, b) for a, b in zip(after, before, strict=True)):
                    raise Violation(f"reading {time} position{'s' * (time > 1)}{in_form(form)} changed {name} in place")
    return Measure(f"nothing changed in place in {calls} calls")


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())
