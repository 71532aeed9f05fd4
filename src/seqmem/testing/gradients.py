"""Point 6: gradients agree with finite differences in float64, also through the state; finite at 4096 positions.

A derivative along a random direction is compared with central differences at steps of 1e-5, 1e-6 and 1e-7; the nearest
counts, so that a kink (of a ReLU, say) between the two sides of one step is no failure. The sequence is read as two
pieces, so that the second piece answers to the first one only through the state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn

from seqmem.mixers.state import State, map_state, tensors
from seqmem.testing.subject import Measure, Subject, Violation, in_form, run

BATCH, PREFIX, FIRST, SECOND = 2, 5, 70, 6
DIRECTIONS, STEPS, BOUND = 2, (1e-5, 1e-6, 1e-7), 1e-6
LENGTH, EARLY, GROWTH = 4096, 64, 1e6


def finite_differences(subject: Subject) -> Measure:
    worst, note = 0.0, ""
    for form in subject.every_form():
        layer = subject.layer()
        generator = subject.generator(50)
        first, second = subject.noise(BATCH, FIRST, salt=51), subject.noise(BATCH, SECOND, salt=52)
        with torch.no_grad():
            _, start = run(layer, subject.noise(BATCH, PREFIX, salt=53))
        start = map_state(lambda t: t.detach().clone(), start)  # moved in place below
        moving = [t for t in tensors(start) if t.is_floating_point() or t.is_complex()]
        weights: dict[str, Tensor] = {
            name: p
            for name, p in layer.named_parameters()
            if p.requires_grad and (p.is_floating_point() or p.is_complex())
        }

        both = partial(_read_both, layer, first, second, start, form)

        for what, answers, inputs in (
            ("x", slice(0, 1), [first]),
            ("x through the state", slice(1, 2), [first]),
            ("the weights", slice(0, 2), list(weights.values())),
        ):
            error, slope, numeric = _disagreement(both, inputs, generator, answers)
            if error > BOUND:
                if what == "the weights":
                    what = _culprit(both, weights, generator)
                figures = f"{slope:.3g} along a direction in which y moves by {numeric:.3g}{in_form(form)}"
                why = _why(layer, what, first, start, slope, form)
                raise Violation(f"the gradient with respect to {what} is {figures}: {why}", error, BOUND)
            worst = max(worst, error)
        error, slope, numeric = _disagreement(both, moving, generator)
        if error > BOUND:
            note = ", though not for each tensor of the initial state alone (is a stabiliser detached?)"
    return Measure(f"finite differences {worst:.1e} ≤ {BOUND:.0e}, also through the state{note}", worst, BOUND)


def _read_both(layer: nn.Module, first: Tensor, second: Tensor, start: State, form: str | None) -> list[Tensor]:
    y, state = run(layer, first, start, form=form)
    return [y, run(layer, second, state, form=form)[0]]


def _disagreement(
    function: Callable[[], list[Tensor]], inputs: list[Tensor], generator: torch.Generator, answers: slice = slice(None)
) -> tuple[float, float, float]:
    """The worst direction's error ``|analytic - numeric| / max(1, |numeric|)``, and both slopes.

    ``answers`` are the ones of ``function`` that count; ``inputs`` are moved in place and put back.
    """
    worst = (0.0, 0.0, 0.0)
    if not inputs:
        return worst
    wanted = [t.requires_grad for t in inputs]
    for t in inputs:
        t.requires_grad_()
    outputs = function()[answers]
    scale = sum(y.numel() for y in outputs) ** -0.5
    projections = [torch.randn(y.shape, generator=generator, dtype=y.dtype) * scale for y in outputs]

    def project(ys: Iterable[Tensor]) -> Tensor:
        return torch.stack([(y * p).sum() for y, p in zip(ys, projections, strict=True)]).sum()

    total = project(outputs)
    found = torch.autograd.grad(total, inputs, allow_unused=True) if total.requires_grad else [None] * len(inputs)
    for t, flag in zip(inputs, wanted, strict=True):
        t.requires_grad_(flag)
    saved = [t.detach().clone() for t in inputs]
    with torch.no_grad():
        for _ in range(DIRECTIONS):
            directions = [torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in inputs]
            slope = sum(
                float((g.conj() * d).sum().real) for g, d in zip(found, directions, strict=True) if g is not None
            )
            best = (float("inf"), slope, float("nan"))
            for step in STEPS:
                sides = []
                for sign in (1, -1):
                    for t, s, d in zip(inputs, saved, directions, strict=True):
                        t.copy_(s + sign * step * d)
                    sides.append(float(project(function()[answers])))
                for t, s in zip(inputs, saved, strict=True):
                    t.copy_(s)
                numeric = (sides[0] - sides[1]) / (2 * step)
                error = abs(slope - numeric) / max(1.0, abs(numeric))
                best = min(best, (error if error == error else float("inf"), slope, numeric))
                if best[0] <= BOUND / 10:
                    break
            worst = max(worst, best)
    return worst


def _culprit(function: Callable[[], list[Tensor]], weights: dict[str, Tensor], generator: torch.Generator) -> str:
    """The weight whose own gradient is furthest off."""
    return "weight " + repr(max(weights, key=lambda name: _disagreement(function, [weights[name]], generator)[0]))


def _why(layer: nn.Module, what: str, first: Tensor, start: State, slope: float, form: str | None) -> str:
    with torch.no_grad():
        if torch.equal(run(layer, first + 1e-11, start, form=form)[0], run(layer, first, start, form=form)[0]):
            return "y does not answer to changes below float32 precision; not all inside is computed in float64"
    if what != "x through the state":
        return "the backward pass is wrong"
    if slope != 0.0:
        return "part of the state is detached, or the backward pass through it is wrong"
    _, state = run(layer, first.clone().requires_grad_(), start, form=form)
    if any(t.requires_grad for t in tensors(state)):
        return "no gradient passes the initial state; it is detached when it is read"
    return "no gradient passes the final state; it is detached before it is returned"


def finite_at_length(subject: Subject) -> Measure:
    """One row of 4096 positions, float32, weights as constructed: y, the state, what follows, and the gradients."""
    layer = subject.layer(torch.float32, noise=False)
    x = subject.noise(1, LENGTH, salt=54, dtype=torch.float32).requires_grad_()
    y, state = run(layer, x)
    finite = torch.isfinite(y).all(dim=-1)[0]  # (time,)
    if not bool(finite.all()):
        position = int((~finite).nonzero()[0])
        raise Violation(
            f"y is not finite from position {position} of {LENGTH} on: something overflows or divides by zero",
            float("inf"),
            GROWTH,
        )
    with torch.no_grad():
        _, young = run(layer, x[:, :1])
        # An infinity that is there from the first token on is meant, such as the logarithm of an empty memory.
        may_be_infinite = any(bool(torch.isinf(t).any()) for t in tensors(young))
        for place, t in enumerate(tensors(state)):
            if bool(torch.isnan(t).any()) or (not may_be_infinite and bool(torch.isinf(t).any())):
                raise Violation(f"state tensor {place} is not finite after {LENGTH} positions", float("inf"), GROWTH)
        after, _ = run(layer, x[:, :8], state)
        if not bool(torch.isfinite(after).all()):
            raise Violation(f"y is not finite when reading goes on after {LENGTH} positions", float("inf"), GROWTH)
        early, late = y[:, :EARLY].abs().max().item(), y.abs().max().item()
        ratio = late / max(1.0, early)
    if ratio > GROWTH:
        figures = f"from {early:.1e} in the first {EARLY} positions to {late:.1e} by position {LENGTH}"
        raise Violation(f"|y| grows {figures}: the recurrence is unstable", ratio, GROWTH)
    if y.requires_grad:
        names = ["x", *(repr(name) for name, p in layer.named_parameters() if p.requires_grad)]
        leaves = [x, *(p for p in layer.parameters() if p.requires_grad)]
        for name, gradient in zip(names, torch.autograd.grad(y.mean(), leaves, allow_unused=True), strict=True):
            if gradient is not None and not bool(torch.isfinite(gradient).all()):
                raise Violation(
                    f"the gradient of {name} is not finite over {LENGTH} positions, though y is", float("inf"), GROWTH
                )
    return Measure(f"finite at {LENGTH} positions (|y| ≤ {late:.2g})", ratio, GROWTH)
