"""How far back a gradient reaches: |d loss(T) / d s_t| against T - t, s the state that a recurrence carries.

Bengio, Simard and Frasconi, Learning Long-Term Dependencies with Gradient Descent is Difficult (1994), gave the
analysis; A Critical Review of Recurrent Neural Networks for Sequence Learning (2015), arXiv 1506.00019, reviews it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.mixers.state import map_state, tensors
from seqmem.ops.lstm import LSTMState, Switches, lstm_reference

Step = Callable[[Tensor, Any], tuple[Tensor, Any]]  # x (batch, time = 1, ...), state -> y, new state


def gradient_horizon(step: Step, xs: Tensor, state: Any, *, carried: int | None = None) -> Tensor:
    """Norms of the gradient of a random projection of the last state with respect to the state after every step.

    step: ``y, state = step(x, state)``, a mixer's call on one position. xs: (batch, time, ...). state: what to begin
    with. carried: the index of the state's tensor that is looked at (LSTM: the cell); None: all together. The
    projection is fixed (cosines). Returns (time,), entry t about the state after t + 1 steps; the last is the
    projection's own norm.
    """
    if xs.shape[1] < 2:
        raise InputError(f"gradient_horizon: xs has {xs.shape[1]} steps, expected at least 2")
    states = []
    for t in range(xs.shape[1]):
        _, state = step(xs[:, t : t + 1], state)
        state = map_state(lambda x: x if not x.is_floating_point() or x.requires_grad else x.requires_grad_(), state)
        states.append([x for x in tensors(state) if x.is_floating_point()])
    chosen = [parts if carried is None else [parts[carried]] for parts in states]
    loss = sum((x * torch.cos(torch.arange(x.numel(), dtype=x.dtype)).view_as(x)).sum() for x in chosen[-1])
    norms = []
    for parts in chosen:
        slopes = torch.autograd.grad(loss, parts, retain_graph=True, allow_unused=True)  # type: ignore[arg-type]
        norms.append(sum(float(g.square().sum()) for g in slopes if g is not None) ** 0.5)
    return torch.tensor(norms, dtype=torch.float64)


def decay_per_step(norms: Tensor, skip: int = 5) -> float:
    """Nats that the gradient loses per step: minus the slope of log norm against distance, without the last ``skip``
    steps, in which the projection turns; entries of 0 (underflow) are left out. NaN with fewer than two left."""
    logs = norms.log()[: len(norms) - skip]
    distance = torch.arange(len(norms) - 1, -1, -1, dtype=torch.float64)[: len(logs)]
    seen = logs.isfinite()
    if int(seen.sum()) < 2:
        return float("nan")
    return -float(np.polyfit(distance[seen].numpy(), logs[seen].numpy(), 1)[0])


def classic_cells(hidden: int, generator: torch.Generator) -> dict[str, tuple[Step, Any, int]]:
    """The cells of the textbooks on inputs of ``hidden`` numbers, in float64: name -> (step, empty state, index of the
    carried tensor). All weights are uniform in +-1/sqrt(hidden); biases are 0, but for the LSTM's forget gate where the
    name says so."""

    def draw(*sizes: int) -> Tensor:
        return (2 * torch.rand(*sizes, generator=generator, dtype=torch.float64) - 1) * hidden**-0.5

    def elman(w: Tensor, u: Tensor) -> Step:
        def step(x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            h = torch.tanh(x[:, 0] @ w.mT + h @ u.mT)
            return h[:, None], h

        return step

    def gru(w: Tensor, u: Tensor) -> Step:
        from seqmem.ops.gru import gru_reference

        return lambda x, h: gru_reference(x @ w.mT, u, h, None, True)

    def lstm(w: Tensor, u: Tensor, bias: float, forget: bool) -> Step:
        added = torch.zeros(4 * hidden, dtype=torch.float64)
        added[hidden : 2 * hidden] = bias
        switches = Switches(1.0, float(forget), 0.0, 1.0, 1.0, 1.0)
        return lambda x, state: lstm_reference(x @ w.mT + added, u, LSTMState(*state), None, switches)

    empty = torch.zeros(1, hidden, dtype=torch.float64)
    two = LSTMState(empty, empty)
    cells: dict[str, tuple[Step, Any, int]] = {
        "elman": (elman(draw(hidden, hidden), draw(hidden, hidden)), empty, 0),
        "gru": (gru(draw(3 * hidden, hidden), draw(3 * hidden, hidden)), empty, 0),
        "lstm 1997": (lstm(draw(4 * hidden, hidden), draw(4 * hidden, hidden), 0.0, False), two, 1),
    }
    for bias in (0, 1, 3, 5):
        step = lstm(draw(4 * hidden, hidden), draw(4 * hidden, hidden), float(bias), True)
        cells[f"lstm, forget bias {bias}"] = (step, two, 1)
    return cells
