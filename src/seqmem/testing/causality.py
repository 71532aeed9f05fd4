"""Point 2: what comes later does not change what was answered before."""

from __future__ import annotations

import torch

from seqmem.testing.subject import EXACT, Measure, Subject, Violation, difference, first_gap, in_form, run

TIME = 72
# From each of these positions on the input is changed: densely at first, then around the usual chunk lengths.
CHANGED = (*range(1, 10), 12, 15, 16, 17, 23, 24, 31, 32, 33, 40, 47, 48, 49, 55, 56, 63, 64, 65, 71)


@torch.no_grad()
def causality(subject: Subject) -> Measure:
    if not subject.causal:
        return Measure("not applicable: causal = False", applicable=False)
    layer = subject.layer()
    x = subject.noise(1, TIME, salt=10)
    other = subject.noise(1, TIME, salt=11)
    worst = 0.0
    for form in subject.every_form():
        y, _ = run(layer, x, form=form)
        for position in CHANGED:
            changed = torch.cat([x[:, :position], x[:, position:] + other[:, position:]], dim=1)
            y_changed, _ = run(layer, changed, form=form)
            error = difference(y_changed[:, :position], y[:, :position])
            if error > EXACT:
                early = first_gap(y_changed[:, :position], y[:, :position], EXACT)
                raise Violation(_name_one(subject, early, position, error, form), error, EXACT)
            worst = max(worst, error)
    return Measure(f"{worst:.1e} ≤ {EXACT:.0e}; the input changed from {len(CHANGED)} positions on", worst, EXACT)


def _name_one(subject: Subject, early: int, position: int, error: float, form: str | None) -> str:
    """Which single later position ``early`` answers to."""
    layer, x, other = subject.layer(), subject.noise(1, TIME, salt=10), subject.noise(1, TIME, salt=11)
    y, _ = run(layer, x, form=form)
    how = in_form(form) + "): the layer looks ahead"
    for later in range(position, TIME):
        changed = x.clone()
        changed[:, later] += other[:, later]
        gap = difference(run(layer, changed, form=form)[0][:, early], y[:, early])
        if gap > EXACT:
            return f"position {early} changed when position {later} did (by {gap:.1e}{how}"
    return f"position {early} changed when positions {position} and later did (by {error:.1e}{how}"
