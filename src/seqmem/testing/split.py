"""Point 1: any cut of the sequence gives the same y and final state, from an empty state or not, in every form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqmem.mixers.state import State, map_state
from seqmem.testing.subject import (
    EXACT,
    SINGLE,
    Measure,
    Subject,
    Violation,
    difference,
    first_gap,
    in_form,
    name_of,
    run,
    run_pieces,
    same_shapes,
    state_difference,
)

BATCH, TIME, LONG, PREFIX = 2, 67, 293, 5

# Halves, single tokens, and pieces that end just before, at and just after the usual chunk lengths.
CUTS: tuple[tuple[int, ...], ...] = (
    (1,) * 67, (33, 34), (1, 66), (66, 1), (63, 4), (64, 3), (65, 2), (16, 16, 35), (2, 3, 5, 7, 11, 13, 17, 9),
)  # fmt: skip
FEW_CUTS = (CUTS[0], CUTS[1], CUTS[-1])  # in float32
LONG_CUTS = ((128, 165), (7, 250, 36))  # crosses chunks of up to 256

SMALL = "equal to float32 precision only; is something inside computed in float32?"
CUT = "the answer depends on how the sequence is cut"


def split_invariance(subject: Subject) -> Measure:
    if not subject.causal:
        return Measure("not applicable: causal = False", applicable=False)
    if subject.forms and not subject.takes_form:
        raise Violation(f"the class declares forms = {subject.forms}, but forward() does not accept form")
    double = _worst(subject, torch.float64, EXACT, TIME, CUTS)
    long = _worst(subject, torch.float64, EXACT, LONG, LONG_CUTS)
    single = _worst(subject, torch.float32, SINGLE, TIME, FEW_CUTS)
    cuts = f"{len(CUTS) + len(LONG_CUTS)} cuts" + (f" × {len(subject.forms)} forms" if subject.forms else "")
    figures = f"{max(double, long):.1e} ≤ {EXACT:.0e} (float64), {single:.1e} ≤ {SINGLE:.0e} (float32)"
    return Measure(f"{figures}; {cuts}, empty and non-empty state", max(double, long), EXACT)


def _worst(subject: Subject, dtype: torch.dtype, bound: float, time: int, cuts: tuple[tuple[int, ...], ...]) -> float:
    """The largest error of any cut; a Violation at the first that exceeds ``bound``."""
    layer = subject.layer(dtype)
    x = subject.noise(BATCH, time, salt=1, dtype=dtype)
    prefix = subject.noise(BATCH, PREFIX, salt=2, dtype=dtype)
    after = subject.noise(BATCH, PREFIX, salt=3, dtype=dtype)
    with torch.no_grad():
        _, warm = run(layer, prefix)
    worst = 0.0
    for kind, start in (("an empty", None), ("a non-empty", warm)):
        whole, final = (
            map_state(Tensor.detach, part) for part in run(layer, x, start)
        )  # recorded for gradients, as in training
        with torch.no_grad():
            if start is None and callable(begin := getattr(layer, "initial_state", None)):
                y, _ = run(layer, x, begin(BATCH))
                if (error := difference(y, whole)) > bound:
                    text = f"y from initial_state() and y without a state differ by {error:.1e}: it is not empty"
                    raise Violation(text, error, bound)
            for form in subject.every_form():
                # Where forms are named the default is one of them: three cuts show whether it changes between them.
                for pieces in ((time,), *(cuts[:3] if form is None and subject.forms else cuts)):
                    y, state = run_pieces(layer, x, start, pieces, form=form)
                    in_y = difference(y, whole)
                    in_state = _state_error(layer, state, final, after)
                    error = max(in_y, in_state)
                    if error > bound:
                        at = first_gap(y, whole, bound) if in_y > bound else time  # time stands for the final state
                        where = _where(at, time, pieces)
                        small = dtype == torch.float64 and error < SINGLE
                        why = SMALL if small else _why(layer, x, start, pieces, at, warm)
                        which = f"{name_of(dtype)}{in_form(form)}, from {kind} state"
                        raise Violation(f"{where} by {error:.1e} > {bound:.0e} ({which}): {why}", error, bound)
                    worst = max(worst, error)
    return worst


def _state_error(layer: nn.Module, state: State, final: State, after: Tensor) -> float:
    """Directly where the shapes agree, else by what both states answer to the same continuation."""
    if same_shapes(state, final):
        return state_difference(state, final)
    return difference(run(layer, after, state)[0], run(layer, after, final)[0])


def _where(position: int, time: int, pieces: tuple[int, ...]) -> str:
    what = "the final state differs" if position == time else f"position {position} differs"
    if len(pieces) == 1:
        return f"on the whole sequence {what}"
    return f"read in {'single tokens' if set(pieces) == {1} else 'pieces of ' + ', '.join(map(str, pieces))}, {what}"


def _why(layer: nn.Module, x: Tensor, start: State, pieces: tuple[int, ...], position: int, warm: State) -> str:
    """What to look for, from a few more calls."""
    if len(pieces) == 1:
        if difference(run(layer, x, start)[0], run(layer, x, start)[0]) > 0:
            return "the same call does not give the same answer"
        return "the forms are not equal, or recording gradients changes the answer"
    if position < pieces[0]:
        return "it answers otherwise when more follows in the same call"
    try:
        empty = run(layer, x)[0]
        unread = difference(run(layer, x, warm)[0], empty) == 0
        strange = map_state(lambda t: t + 1 if t.is_floating_point() else t, warm)
        ignored = difference(run(layer, x, strange)[0], empty) == 0
    except Violation:
        return CUT
    if ignored:
        return "the state that is passed makes no difference; it is ignored"
    if unread:
        return "the state that is returned holds nothing of what was read; it is lost"
    return CUT
