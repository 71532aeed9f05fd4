"""Point 3: the rows of a batch do not see each other, and the same call gives the same answer at any time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from seqmem.mixers.state import select, tensors
from seqmem.testing.subject import EXACT, Measure, Subject, Violation, difference, run

BATCH, TIME = 3, 19


@torch.no_grad()
def rows_apart(subject: Subject) -> Measure:
    """One row changed, each row alone, and rows of a state picked out as beam search does."""
    x = subject.noise(BATCH, TIME, salt=20)
    more = subject.noise(BATCH, TIME, salt=21)
    changed = torch.cat([x[:1], x[1:] + 1.0])
    for mode in ("eval", "training"):  # batch statistics act in training only
        answers = []
        for version in (x, changed):
            layer = subject.layer().train(mode == "training")
            torch.manual_seed(subject.seed)  # the same dropout for both
            answers.append(_read_twice(layer, version, more))
        error = difference(answers[1][:1], answers[0][:1])
        if error > EXACT:
            raise Violation(
                f"row 0 changed when row 1 did (by {error:.1e}, {mode} mode): the layer mixes the rows of a batch",
                error,
                EXACT,
            )
    layer = subject.layer()
    together = _read_twice(layer, x, more)
    alone = torch.cat([_read_twice(layer, x[row : row + 1], more[row : row + 1]) for row in range(BATCH)])
    error = difference(alone, together)
    if error > EXACT:
        raise Violation(
            f"a row read alone differs by {error:.1e} from the same row in a batch of {BATCH}: the batch size matters",
            error,
            EXACT,
        )
    _, state = run(layer, x)
    for place, t in enumerate(tensors(state)):
        if t.ndim == 0 or t.shape[0] != BATCH:
            raise Violation(
                f"state tensor {place} has shape {tuple(t.shape)} at batch {BATCH}, expected the batch first"
            )
    rows = torch.tensor([2, 0])
    picked = difference(run(layer, more[rows], select(state, rows))[0], run(layer, more, state)[0][rows])
    if picked > EXACT:
        raise Violation(
            f"rows picked from the state continue differently (by {picked:.1e}): the state does not hold them apart",
            picked,
            EXACT,
        )
    return Measure(f"rows {max(error, picked):.1e} ≤ {EXACT:.0e} (eval and training mode)", max(error, picked), EXACT)


def _read_twice(layer: nn.Module, x: Tensor, more: Tensor) -> Tensor:
    """y of x and of what follows it: (batch, 2 time, width)."""
    y, state = run(layer, x)
    return torch.cat([y, run(layer, more, state)[0]], dim=1)


@torch.no_grad()
def repeatable(subject: Subject) -> Measure:
    """The same calls again after other things were read; nothing of what was read stays on the module."""
    layer = subject.layer()
    x, other, token = (subject.noise(BATCH, time, salt=22 + time) for time in (TIME, TIME + 1, 1))
    calls = {"a sequence": (x, None), "a single token": (token, None)}
    first = {name: run(layer, *call)[0].clone() for name, call in calls.items()}
    kept = {name: t.clone() for name, t in layer.named_buffers()}
    state = run(layer, x)[1]
    calls["a token after a state"] = (token, state)
    calls["a sequence after a state"] = (other, state)
    first |= {name: run(layer, *call)[0].clone() for name, call in calls.items() if name not in first}
    run(layer, other, run(layer, other + 1.0)[1])  # something else altogether
    worst = 0.0
    for name, call in calls.items():
        error = difference(run(layer, *call)[0], first[name])
        if error > EXACT:
            raise Violation(f"{name}, read again, gave another answer (by {error:.1e}): {_why(subject)}", error, EXACT)
        worst = max(worst, error)
    for name, t in layer.named_buffers():
        if name in kept and kept[name].shape == t.shape and not torch.equal(kept[name], t):
            raise Violation(
                f"buffer '{name}' changed while reading: memory belongs in the returned state, not on the module"
            )
    kept_one = _kept_attribute(subject)
    note = f"; note: attribute '{kept_one}' keeps something of what was read" if kept_one else ""
    return Measure(f"the same call again {worst:.1e}{note}", worst, EXACT)


def _why(subject: Subject) -> str:
    """Chance, or memory on the module: chance goes away with a fixed seed."""
    layer, x, answers = subject.layer(), subject.noise(BATCH, TIME, salt=22), []
    for _ in range(2):
        torch.manual_seed(subject.seed)
        answers.append(run(layer, x)[0])
    fresh = subject.layer()
    chance = difference(run(fresh, x)[0], run(fresh, x)[0]) > 0 and difference(*answers) == 0
    return "the layer draws random numbers in eval mode" if chance else "it remembers on the module, outside the state"


def _kept_attribute(subject: Subject) -> str | None:
    """A plain tensor attribute that differs after two inputs of the same shape, if there is one."""
    layer = subject.layer()
    run(layer, subject.noise(1, TIME, salt=24))
    before = {name: t.clone() for name, t in plain_tensors(layer)}
    run(layer, subject.noise(1, TIME, salt=25))
    for name, t in plain_tensors(layer):
        if name in before and t.shape == before[name].shape and not torch.equal(t, before[name]):
            return name
    return None


def plain_tensors(layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Tensors outside ``state_dict``: attributes of all parts, also in lists, dicts and unregistered modules."""

    def walk(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, nn.Module):
            for part, parameter in value.named_parameters():
                yield f"{name}.{part}", parameter
        elif isinstance(value, (list, tuple)):
            for place, part in enumerate(value):
                yield from walk(f"{name}[{place}]", part)
        elif isinstance(value, dict):
            for key, part in value.items():
                yield from walk(f"{name}[{key!r}]", part)

    for path, module in layer.named_modules():
        for name, value in vars(module).items():
            if name not in ("_parameters", "_buffers", "_modules"):
                yield from walk(f"{path}.{name}".lstrip("."), value)
        for name, value in module._buffers.items():
            if name in module._non_persistent_buffers_set and value is not None:
                yield f"{path}.{name}".lstrip("."), value
