"""Which settings matter: the variance of a random forest over the trials, taken apart into settings and pairs of them.

An Efficient Approach for Assessing Hyperparameter Importance (2014), ICML. A tree is constant on boxes; all its means
over some settings, the others held, are sums over boxes, so that nothing is sampled.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqmem.errors import InputError
from seqmem.training.random_search import Space, Trial, check_space

Array = NDArray[np.float64]


class Boxes(NamedTuple):
    """A tree's leaves: low, high: (leaf, setting), within the unit cube; value: (leaf,)."""

    low: Array
    high: Array
    value: Array


def importance(
    trials: Sequence[Trial], space: Space, *, trees: int = 100, seed: int = 0
) -> dict[tuple[str, ...], float]:
    """The share of the score's variance over ``space``, as a random forest predicts it from ``trials``, that each
    setting alone explains, ``(name,)``, and that each pair explains beyond its two, ``(name, other)``. What is left to
    1 is due to three and more together. NaN where the forest predicts a constant.

    Every setting varies evenly over its range, on its scale (logarithmic, or not). Shares are means over trees of equal
    weight, of those that vary.
    """
    from sklearn.ensemble import RandomForestRegressor

    check_space(space, "importance")
    missing = {name for trial in trials for name in space if name not in trial.settings}
    if len(trials) < 2 or missing:
        raise InputError(
            f"importance: {len(trials)} trials, without {sorted(missing) or 'nothing'}; expected at least 2, each with "
            f"all of {', '.join(space)}"
        )
    x = np.array([[one.share(trial.settings[name]) for name, one in space.items()] for trial in trials])
    scores = np.array([trial.score for trial in trials])
    if not np.isfinite(scores).all():
        raise InputError("importance: some scores are not finite, expected numbers; give failed trials a worst score")
    forest = RandomForestRegressor(trees, max_features=max(1, round(len(space) * 2 / 3)), random_state=seed)
    forest.fit(x.clip(0, 1), scores)
    parts = [variances(boxes_of(tree.tree_, len(space))) for tree in forest.estimators_]
    names = list(space)
    return {
        tuple(names[n] for n in subset): float(np.mean([p[subset] for p in parts if p] or [np.nan]))
        for size in (1, 2)
        for subset in itertools.combinations(range(len(names)), size)
    }


def boxes_of(tree: Any, settings: int) -> Boxes:
    """The leaves of scikit-learn's ``tree_`` over the unit cube."""
    found: list[tuple[Array, Array, float]] = []
    waiting = [(0, np.zeros(settings), np.ones(settings))]
    while waiting:
        node, low, high = waiting.pop()
        if tree.children_left[node] < 0:
            found.append((low, high, float(tree.value[node].item())))
            continue
        feature, threshold = tree.feature[node], tree.threshold[node]
        below, above = high.copy(), low.copy()
        below[feature] = above[feature] = threshold
        waiting += [(tree.children_left[node], low, below), (tree.children_right[node], above, high)]
    return Boxes(*(np.array(part) for part in zip(*found, strict=True)))


def variances(boxes: Boxes) -> dict[tuple[int, ...], float]:
    """The share of the variance over the cube that each setting, and each pair beyond its two, explains; {} where there
    is no variance."""
    widths = boxes.high - boxes.low  # (leaf, setting)
    volume = widths.prod(1)
    mean = float(volume @ boxes.value)
    total = float(volume @ (boxes.value - mean) ** 2)
    if total <= 1e-12 * max(1.0, mean**2):
        return {}
    settings = range(widths.shape[1])
    cells, covers = zip(*(_cells(boxes, n) for n in settings), strict=True)
    found: dict[tuple[int, ...], float] = {}
    for n in settings:
        others = np.delete(widths, n, 1).prod(1)
        marginal = covers[n].T @ (others * (boxes.value - mean))  # (cell,), the mean over all other settings
        found[(n,)] = float(cells[n] @ marginal**2) / total
    for n, m in itertools.combinations(settings, 2):
        others = np.delete(widths, (n, m), 1).prod(1) * (boxes.value - mean)
        marginal = (covers[n] * others[:, None]).T @ covers[m]  # (cell of n, cell of m)
        both = float(cells[n] @ marginal**2 @ cells[m]) / total
        found[(n, m)] = both - found[(n,)] - found[(m,)]
    return found


def _cells(boxes: Boxes, setting: int) -> tuple[Array, Array]:
    """Widths (cell,) of the intervals between all bounds of a setting; 1 where a leaf covers one, (leaf, cell)."""
    low, high = boxes.low[:, setting], boxes.high[:, setting]
    edges = np.unique(np.concatenate([low, high]))
    middle = (edges[1:] + edges[:-1]) / 2
    return np.diff(edges), ((low[:, None] < middle) & (middle < high[:, None])).astype(np.float64)
