"""The context maintenance and retrieval model: recall as a walk in which context both leads to items and follows them.

Studying a list leaves one matrix, M = (I - (1 - encoding) T)^-1 T with T_{i,i+1} = 1: from an item to what followed
it, weaker the longer after. Recall repeats: choose i with probability (M^T c)_i; retrieve c_in = (1 - gamma) f_i +
gamma M f_i (normalised); c <- (1 - drift) c + drift c_in (normalised).

Howard and Kahana, A Distributed Representation of Temporal Context (2002); Polyn, Norman and Kahana, A Context
Maintenance and Retrieval Model of Organizational Processes in Free Recall (2009); in this simplified form: Linking
In-context Learning in Transformers to Human Episodic Memory (2024), arXiv 2405.14992.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqmem.errors import InputError

Array = NDArray[np.float64]


def _associations(items: int, encoding: float) -> Array:
    """M: (items + 1, items + 1); the last is the end of recall, from which nothing leads on."""
    follows = np.eye(items + 1, k=1)
    return np.linalg.inv(np.eye(items + 1) - (1 - encoding) * follows) @ follows


def cmr_recall(
    items: int,
    *,
    encoding: float,
    drift: float,
    gamma: float,
    start: int,
    runs: int,
    rng: np.random.Generator,
    longest: int = 100,
) -> NDArray[np.int64]:
    """Recalls (runs, longest) of ``runs`` walks that begin with item ``start`` as context; -1 after the end.

    encoding, drift, gamma: in [0, 1], see the module; encoding above 0. An item may be recalled again.
    """
    for name, value in (("encoding", encoding), ("drift", drift), ("gamma", gamma)):
        if not 0 <= value <= 1 or (name == "encoding" and value == 0):
            raise InputError(
                f"{name} is {value!r}, expected a number from 0 to 1{' (not 0)' if name == 'encoding' else ''}"
            )
    if not 0 <= start < items:
        raise InputError(f"start is {start}, expected an item, 0 to {items - 1}")
    M = _associations(items, encoding)
    context = np.zeros((runs, items + 1))
    context[:, start] = 1
    recalls, alive = np.full((runs, longest), -1), np.ones(runs, dtype=bool)
    for step in range(longest):
        support = context @ M  # M^T c, row by row
        total = support.sum(1)
        alive &= total > 0
        if not alive.any():
            break
        edges = support[alive].cumsum(1)
        chosen = (rng.random((len(edges), 1)) * total[alive, None] >= edges).sum(1)
        chosen = np.minimum(chosen, items)
        rows = np.flatnonzero(alive)
        alive[rows[chosen == items]] = False
        rows, chosen = rows[chosen < items], chosen[chosen < items]
        recalls[rows, step] = chosen
        retrieved = gamma * M[:, chosen].T
        retrieved[np.arange(len(chosen)), chosen] += 1 - gamma
        retrieved /= np.maximum(np.linalg.norm(retrieved, axis=1, keepdims=True), 1e-300)
        moved = (1 - drift) * context[rows] + drift * retrieved
        context[rows] = moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-300)
    return recalls


def cmr_curve(recalls: NDArray[np.int64], largest: int = 8) -> tuple[NDArray[np.int64], Array]:
    """The normalised histogram of successive lags, |lag| <= ``largest``: (lags, shares)."""
    now, then = recalls[:, :-1], recalls[:, 1:]
    lag = (then - now)[(now >= 0) & (then >= 0)]
    lags = np.arange(-largest, largest + 1)
    count = np.array([(lag == n).sum() for n in lags], dtype=np.float64)
    return lags, count / max(count.sum(), 1)
