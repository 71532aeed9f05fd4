"""Point 8: the (implicit) attention matrix that a layer offers is the one behind its y.

``attention(x)`` is ``(batch, heads, time, time)`` (heads may be channels): the reading position, then the one that is
read. How a matrix becomes y is the layer's affair; a layer that offers ``read(x, attention) -> y`` is held to it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seqmem.testing.subject import EXACT, Measure, Subject, Violation, difference, one_line, run

BATCH, TIME, SHORT = 2, 21, 13


@torch.no_grad()
def attention_reproduces(subject: Subject) -> Measure:
    layer = subject.layer()
    if not _offers(layer, "attention"):
        return Measure("not applicable: the layer has no attention(x)", applicable=False)
    x = subject.noise(BATCH, TIME, salt=70)
    weights = _call(layer, "attention", x)
    if weights.ndim != 4 or (weights.shape[0], *weights.shape[2:]) != (BATCH, TIME, TIME):
        raise Violation(f"attention(x) has shape {tuple(weights.shape)}, expected ({BATCH}, heads, {TIME}, {TIME})")
    if not bool(torch.isfinite(weights).all()):
        raise Violation("attention(x) is not finite")
    if subject.causal:
        ahead = difference(weights.triu(1), torch.zeros_like(weights))
        if ahead > EXACT:
            read, later = (weights.triu(1).abs().amax(dim=(0, 1)) > EXACT).nonzero()[0].tolist()
            raise Violation(
                f"attention(x) lets position {read} read position {later} ({ahead:.1e}): not zero above the diagonal",
                ahead,
                EXACT,
            )
        shorter = difference(_call(layer, "attention", x[:, :SHORT]), weights[:, :, :SHORT, :SHORT])
        if shorter > EXACT:
            raise Violation(
                f"attention of the first {SHORT} positions changes by {shorter:.1e} when more follow", shorter, EXACT
            )
    if not _offers(layer, "read"):
        return Measure(
            "attention(x) has its shape, is finite" + (" and causal" if subject.causal else "") + "; "
            "y was not compared, since the layer has no read(x, attention)"
        )
    y, _ = run(layer, x)
    error = difference(_call(layer, "read", x, weights), y)
    if error > EXACT:
        raise Violation(
            f"read(x, attention(x)) differs from y by {error:.1e}: it is not the matrix behind y", error, EXACT
        )
    if difference(_call(layer, "read", x, 2 * weights + torch.eye(TIME, dtype=weights.dtype)), y) <= EXACT:
        raise Violation("read(x, attention) gives y whatever matrix it is given: it does not read the matrix")
    return Measure(f"attention(x) gives y within {error:.1e} ≤ {EXACT:.0e}", error, EXACT)


def _offers(layer: nn.Module, name: str) -> bool:
    """A method of that name; a part of the layer that happens to be called so does not count."""
    value: Any = getattr(layer, name, None)
    return callable(value) and not isinstance(value, nn.Module)


def _call(layer: nn.Module, name: str, *arguments: Tensor) -> Tensor:
    try:
        value = getattr(layer, name)(*arguments)
    except Exception as error:
        raise Violation(f"{name}() raised {one_line(error)}") from error
    if not isinstance(value, Tensor):
        raise Violation(f"{name}() returned {type(value).__name__}, expected a tensor")
    return value
