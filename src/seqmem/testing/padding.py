"""Point 4: padding neither writes nor is read, and a reset empties the memory.

The reference for a row is that row alone with its padded positions taken out, and its documents read one by one from an
empty state. What became of the state is judged by its answer to a common continuation: its shape may differ.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from seqmem.mixers.state import State
from seqmem.testing.subject import EXACT, Measure, Subject, Violation, accepts, difference, in_form, run, run_pieces

TIME, PREFIX, AFTER = 21, 5, 6
PIECES = ((TIME,), (7, 1, 1, 12), (1,) * TIME)


MASKS = {
    "left padding": "....xxxxxxxxxxxxxxxxx",
    "right padding": "xxxxxxxxxxxxxx.......",
    "holes": "xxx..xxxxxx.xx...xxxx",
    "no padding": "xxxxxxxxxxxxxxxxxxxxx",
    "all padding": ".....................",
    "padding at every other position": ".x.x.x.x.x.x.x.x.x.x.",
}
RESETS = {
    "no reset": ".....................",
    "reset at 0": "x....................",
    "reset at 9": ".........x...........",
    "resets at 4, 5 and 15": "....xx.........x.....",
    "reset at the last position": "....................x",
    "reset everywhere": "xxxxxxxxxxxxxxxxxxxxx",
}
BOTH = {  # the mask, then the resets
    "reset on a padded position": ("xxxxxxx...xxxxxxxxxxx", "........x............"),
    "reset in left padding": ("....xxxxxxxxxxxxxxxxx", "..x.................."),
    "reset in right padding": ("xxxxxxxxxxxxxx.......", "................x...."),
    "reset beside a hole": ("xxxx..xxxxxxxxxxxxxxx", "......x...........x.."),
}


def _flags(rows: Iterable[str]) -> Tensor:
    """(batch, time) bool, one row per string: '.' is False."""
    return torch.tensor([[sign != "." for sign in row] for row in rows])


def padding(subject: Subject) -> Measure:
    layer = subject.layer()
    if not accepts(layer, "mask"):
        raise Violation("forward() does not accept mask")
    mask = _flags(MASKS.values())
    worst = _compare(subject, layer, mask, None, tuple(MASKS))
    x = subject.noise(len(MASKS), TIME, salt=30).requires_grad_()
    y, _ = run(layer, x, mask=mask)
    leaves = [x, *(p for p in layer.parameters() if p.requires_grad)]
    if y.requires_grad:
        for gradient in torch.autograd.grad(y[mask].sum(), leaves, allow_unused=True):
            if gradient is not None and not bool(torch.isfinite(gradient).all()):
                raise Violation("gradients are not finite where there is padding, though y is")
    return Measure(f"padding {worst:.1e} ≤ {EXACT:.0e} (left, right, holes, all)", worst, EXACT)


def resets(subject: Subject) -> Measure:
    layer = subject.layer()
    if not accepts(layer, "reset"):
        raise Violation("forward() does not accept reset")
    worst = _compare(subject, layer, None, _flags(RESETS.values()), tuple(RESETS))
    if not accepts(layer, "mask"):
        return Measure(f"resets {worst:.1e} ≤ {EXACT:.0e}", worst, EXACT)
    mask, reset = (_flags(rows) for rows in zip(*BOTH.values(), strict=True))
    worst = max(worst, _compare(subject, layer, mask, reset, tuple(BOTH)))
    return Measure(f"resets {worst:.1e} ≤ {EXACT:.0e}, also in padding", worst, EXACT)


@torch.no_grad()
def _compare(
    subject: Subject, layer: nn.Module, mask: Tensor | None, reset: Tensor | None, rows: tuple[str, ...]
) -> float:
    """The largest error of any row, form and cut; a Violation at the first beyond the bound."""
    x = subject.noise(len(rows), TIME, salt=30)
    if mask is not None:
        x = torch.where(mask[..., None], x, 10 * x)  # what leaks from padding is not to be missed
    prefix = subject.noise(len(rows), PREFIX, salt=31)
    after = subject.noise(len(rows), AFTER, salt=32)
    worst = 0.0
    for kind in ("an empty", "a non-empty"):
        start = None if kind == "an empty" else run(layer, prefix)[1]
        wanted = []
        for row in range(len(rows)):
            one = slice(row, row + 1)
            own_start = None if kind == "an empty" else run(layer, prefix[one])[1]
            own_mask, own_reset = (None if flags is None else flags[row] for flags in (mask, reset))
            wanted.append(_alone(layer, x[one], own_start, own_mask, own_reset, after[one]))
        for form in subject.every_form():
            for pieces in PIECES:
                y, state = run_pieces(layer, x, start, pieces, mask=mask, reset=reset, form=form)
                if not bool(torch.isfinite(y).all()):
                    raise Violation(
                        f"y is not finite with {'padding' if mask is not None else 'resets'}{in_form(form)}"
                    )
                then, _ = run(layer, after, state)
                for row, name in enumerate(rows):
                    valid = y[row : row + 1] if mask is None else y[row : row + 1, mask[row]]
                    in_y, in_then = difference(valid, wanted[row][0]), difference(then[row : row + 1], wanted[row][1])
                    error = max(in_y, in_then)
                    if error > EXACT:
                        what = "y at real positions differs" if in_y > EXACT else "what is read afterwards differs"
                        cut = "" if len(pieces) == 1 else ", read in pieces"
                        why = _why(layer, x, start, mask, reset, after, form)
                        raise Violation(
                            f"{name}: {what} by {error:.1e}{in_form(form)} (from {kind} state{cut}): {why}",
                            error,
                            EXACT,
                        )
                    worst = max(worst, error)
    return worst


def _alone(
    layer: nn.Module, x: Tensor, state: State, mask: Tensor | None, reset: Tensor | None, after: Tensor
) -> tuple[Tensor, Tensor]:
    """One row (1, time, width) by documents and without its padding: y at real positions, and y of the continuation."""
    begins = [0] if reset is None else sorted({0, *reset.nonzero().flatten().tolist()})
    ys = [x[:, :0]]
    for begin, end in zip(begins, [*begins[1:], TIME], strict=True):
        if reset is not None and bool(reset[begin]):
            state = None
        piece = x[:, begin:end] if mask is None else x[:, begin:end][:, mask[begin:end]]
        if piece.shape[1]:
            y, state = run(layer, piece, state)
            ys.append(y)
    return torch.cat(ys, dim=1), run(layer, after, state)[0]


def _why(
    layer: nn.Module,
    x: Tensor,
    start: State,
    mask: Tensor | None,
    reset: Tensor | None,
    after: Tensor,
    form: str | None,
) -> str:
    """What to look for: flags without effect, content that leaks, or padding that takes up time."""

    def answer(x: Tensor, mask: Tensor | None, reset: Tensor | None) -> Tensor:
        y, state = run(layer, x, start, mask=mask, reset=reset, form=form)
        y = y if mask is None else y * mask[..., None]
        return torch.cat([y, run(layer, after, state)[0]], dim=1)

    if reset is not None:
        none = torch.zeros_like(reset)
        if difference(answer(x, mask, reset), answer(x, mask, none)) == 0:
            return "resets are ignored"
        return "a reset does not leave the memory empty" if mask is None else "padding and resets do not work together"
    if mask is None:
        return "rows of a batch are not read as they are alone"
    plain = run(layer, x, start, form=form)[0]
    ignored = difference(run(layer, x, start, mask=mask, form=form)[0], plain) == 0
    changed = torch.where(mask[..., None], x, x + 1.0)
    leaks = difference(answer(changed, mask, None), answer(x, mask, None)) > EXACT
    if leaks and ignored:
        return "the mask is ignored"
    if leaks:
        return "what stands at padded positions is written to the memory or read from it"
    return "nothing leaks from padding, but it takes up time (decay, positions or a window move on)"
