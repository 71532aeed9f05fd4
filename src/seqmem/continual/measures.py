"""Measures on the accuracy matrix: ``R[i][j]`` is the accuracy on task j after learning task i (tasks, tasks).

Definitions: Gradient Episodic Memory for Continual Learning (2017), arXiv 1706.08840; forgetting: Riemannian Walk for
Incremental Learning (2018), arXiv 1801.10112.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqmem.errors import InputError


def _matrix(R: ArrayLike, least: int = 1) -> NDArray[np.float64]:
    matrix = np.asarray(R, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < least:
        raise InputError(f"the accuracy matrix has shape {matrix.shape}, expected (tasks, tasks) with tasks >= {least}")
    return matrix


def average_accuracy(R: ArrayLike) -> float:
    """Mean accuracy over all tasks after the last."""
    return float(_matrix(R)[-1].mean())


def forgetting(R: ArrayLike) -> float:
    """Mean over all tasks but the last of: the best accuracy before the end, minus that at the end."""
    matrix = _matrix(R, 2)
    return float((matrix[:-1, :-1].max(0) - matrix[-1, :-1]).mean())


def backward_transfer(R: ArrayLike) -> float:
    """Mean over all tasks but the last of: accuracy at the end, minus that just after learning it."""
    matrix = _matrix(R, 2)
    return float((matrix[-1] - np.diag(matrix))[:-1].mean())


def forward_transfer(R: ArrayLike, untrained: ArrayLike) -> float:
    """Mean over all tasks but the first of: accuracy just before learning it, minus ``untrained`` (tasks,), that of the
    untrained model."""
    matrix, start = _matrix(R, 2), np.asarray(untrained, dtype=np.float64)
    if start.shape != (len(matrix),):
        raise InputError(f"untrained has shape {start.shape}, expected (tasks,) = ({len(matrix)},)")
    return float((np.diag(matrix, 1) - start[1:]).mean())


def spurious_share(first: float, after: float, recovered: float) -> float:
    """Of what was lost between ``first`` and ``after``, the share that comes back (``recovered``) without having been
    taught again: (recovered - after) / (first - after). Spurious Forgetting in Continual Learning of Language Models
    (2025), arXiv 2501.13453. NaN where nothing was lost."""
    return (recovered - after) / (first - after) if first > after else float("nan")
