"""Point 4: padding neither writes nor is read, and a reset empties the memory.

The reference for a row is that row alone with its padded positions taken out, and its documents read one by one from an empty state. What
became of the state is judged by what it answers to a common continuation, since it may be written in another shape.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqmem.mixers.state import State
from seqmem.testing.subject import EXACT, Measure, Subject, Violation, accepts, difference, in_form, run, run_pieces

TIME, PREFIX, AFTER = 21, 5, 6
PIECES = ((TIME,), (7, 1, 1, 12), (1,) * TIME)


def _flags(*rows: str) -> Tensor:
    """One row per string: '.' is False, anything else True."""
    return torch.tensor([[sign != "." for sign in row] for row in rows])


MASK_ROWS = ("left padding", "right padding", "holes", "no padding", "all padding", "padding at every other position")
MASK = _flags(
    "....xxxxxxxxxxxxxxxxx", "xxxxxxxxxxxxxx.......", "xxx..xxxxxx.xx...xxxx", "xxxxxxxxxxxxxxxxxxxxx", ".....................", ".x.x.x.x.x.x.x.x.x.x."
)  # fmt: skip
RESET_ROWS = (
    "no reset",
    "reset at 0",
    "reset at 9",
    "resets at 4, 5 and 15",
    "reset at the last position",
    "reset everywhere",
)
RESET = _flags(
    ".....................", "x....................", ".........x...........", "....xx.........x.....", "....................x", "xxxxxxxxxxxxxxxxxxxxx"
)  # fmt: skip
BOTH_ROWS = ("reset on a padded position", "reset in left padding", "reset in right padding", "reset beside a hole")
BOTH_MASK = _flags("xxxxxxx...xxxxxxxxxxx", "....xxxxxxxxxxxxxxxxx", "xxxxxxxxxxxxxx.......", "xxxx..xxxxxxxxxxxxxxx")
BOTH_RESET = _flags("........x............", "..x..................", "................x....", "......x...........x..")


def padding(subject: Subject) -> Measure:
    layer = subject.layer()
    if not accepts(layer, "mask"):
        raise Violation("forward() does not accept mask")
    worst = _compare(subject, layer, MASK, None, MASK_ROWS)
    x = subject.noise(len(MASK), TIME, salt=30).requires_grad_()
    y, _ = run(layer, x, mask=MASK)
    leaves = [x, *(p for p in layer.parameters() if p.requires_grad)]
    if y.requires_grad:
        for gradient in torch.autograd.grad(y[MASK].sum(), leaves, allow_unused=True):
            if gradient is not None and not bool(torch.isfinite(gradient).all()):
                raise Violation("gradients are not finite where there is padding, though y is")
    return Measure(f"padding {worst:.1e} ≤ {EXACT:.0e} (left, right, holes, all)", worst, EXACT)


def resets(subject: Subject) -> Measure:
    layer = subject.layer()
    if not accepts(layer, "reset"):
        raise Violation("forward() does not accept reset")
    worst = _compare(subject, layer, None, RESET, RESET_ROWS)
    if not accepts(layer, "mask"):
        return Measure(f"resets {worst:.1e} ≤ {EXACT:.0e}", worst, EXACT)
    worst = max(worst, _compare(subject, layer, BOTH_MASK, BOTH_RESET, BOTH_ROWS))
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
    for kind in ("empty", "non-empty"):
        start = None if kind == "empty" else run(layer, prefix)[1]
        wanted = []
        for row in range(len(rows)):
            one = slice(row, row + 1)
            own_start = None if kind == "empty" else run(layer, prefix[one])[1]
            wanted.append(
                _alone(
                    layer,
                    x[one],
                    own_start,
                    None if mask is None else mask[row],
                    None if reset is None else reset[row],
                    after[one],
                )
            )
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
                        why = _why(subject, layer, x, start, mask, reset, after, form)
                        raise Violation(
                            f"{name}: {what} by {error:.1e}{in_form(form)} (from an {kind} state{cut}): {why}",
                            error,
                            EXACT,
                        )
                    worst = max(worst, error)
    return worst


def _alone(
    layer: nn.Module, x: Tensor, state: State, mask: Tensor | None, reset: Tensor | None, after: Tensor
) -> tuple[Tensor, Tensor]:
    """One row (1, time, width) document by document without its padding: y at real positions, and y of the continuation."""
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
    subject: Subject,
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
    if difference(answer(changed, mask, None), answer(x, mask, None)) > EXACT:
        return (
            "the mask is ignored"
            if ignored
            else "what stands at padded positions is written to the memory or read from it"
        )
    return "nothing leaks from padding, but it takes up time (decay, positions or a window move on)"
