"""Attention as recall: how it falls off around an earlier occurrence of the present token, beside curves of CMR.

Linking In-context Learning in Transformers to Human Episodic Memory (2024), arXiv 2405.14992.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqmem.cognition.cmr import cmr_curve, cmr_recall
from seqmem.errors import InputError
from seqmem.interp.attention import reduced_attention
from seqmem.interp.scores import make_probe, normalised

Array = NDArray[np.float64]

ENCODING = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
DRIFT = GAMMA = (0.0, 0.25, 0.5, 0.75, 1.0)
ITEMS, RUNS, STARTS = 40, 20, range(5, 35, 3)


class LagProfile(NamedTuple):
    """profile: (2 * largest + 1,) attention from a token to the places at lag -largest .. largest around its earlier
    occurrence; lag 1 is the induction score. distance, encoding, drift, gamma: of the CMR curve that fits best.
    gaussian: the distance of the best bell around lag 0. Below 0.5 a head is called CMR-like."""

    layer: int
    head: int
    profile: Array
    distance: float
    encoding: float
    drift: float
    gamma: float
    gaussian: float

    @property
    def score(self) -> float:
        """The induction score: attention at lag 1."""
        return float(self.profile[len(self.profile) // 2 + 1])


def lag_profiles(
    model: nn.Module,
    *,
    length: int = 32,
    largest: int = 5,
    batch_size: int = 4,
    layers: Iterable[int] | None = None,
    generator: torch.Generator | None = None,
) -> list[LagProfile]:
    """One :class:`LagProfile` per head, on ``length`` random tokens read twice (none occurs otherwise).

    Works for every layer with an exact attention, explicit or implicit (|weight|, rows summing to 1). Positions nearer
    than ``largest`` to the ends are left out. InputError for a length below 3 * largest, and as
    :func:`seqmem.interp.score_heads`.
    """
    if largest < 1 or length < 3 * largest:
        raise InputError(f"length is {length} and largest {largest}, expected at least 1 and three times that")
    plan = make_probe(
        model, "duplicate-token", length, batch_size, generator or torch.Generator().manual_seed(0)
    )  # rows: the second copy; columns: where the same token stood before
    inner = slice(largest, length - largest)
    rows, columns = plan.rows[inner], plan.columns[inner]
    lags = torch.arange(-largest, largest + 1, device=rows.device)

    def measure(weights: Tensor) -> Tensor:
        """(batch, heads, time, time) -> (heads, lags)."""
        chosen = normalised(weights[:, :, rows])  # (batch, heads, rows, time)
        at = (columns[:, None] + lags).expand(*chosen.shape[:2], -1, -1)
        return chosen.gather(-1, at).mean((0, 2))

    found = reduced_attention(model, plan.tokens, measure, 0, layers=layers)
    return [
        _fitted(layer, head, profile.double().numpy())
        for layer, profiles in found.items()
        for head, profile in enumerate(profiles.cpu())
    ]


def cmr_distance(profile: Array) -> tuple[float, tuple[float, float, float]]:
    """(smallest distance, (encoding, drift, gamma)) of a profile (2 * largest + 1,) to the curves of CMR.

    Both are shifted to a least value of 0 and the curve is scaled to the profile's largest; distance: the mean squared
    difference over the profile's variance. A flat profile has no distance (inf).
    """
    if profile.ndim != 1 or profile.size % 2 == 0 or profile.size < 3:
        raise InputError(f"profile has shape {profile.shape}, expected (2 * largest + 1,) lags around 0")
    parameters, curves = cmr_table(profile.size // 2)
    distances = _distances(profile, curves)
    best = int(distances.argmin())
    return float(distances[best]), parameters[best]


def gaussian_distance(profile: Array) -> float:
    """The same with the best of a family of bells around lag 0, of width 0.25 to 8 lags."""
    lags = np.arange(profile.size) - profile.size // 2
    widths = np.geomspace(0.25, 8, 40)[:, None]
    return float(_distances(profile, np.exp(-0.5 * (lags / widths) ** 2)).min())


@functools.cache
def cmr_table(largest: int) -> tuple[list[tuple[float, float, float]], Array]:
    """((encoding, drift, gamma), ...) and their curves (settings, 2 * largest + 1): the share of each lag among
    successive recalls, simulated with a fixed seed."""
    rng = np.random.default_rng(0)
    parameters = [(e, d, g) for e in ENCODING for d in DRIFT for g in GAMMA]
    curves = []
    for encoding, drift, gamma in parameters:
        walks = [
            cmr_recall(ITEMS, encoding=encoding, drift=drift, gamma=gamma, start=start, runs=RUNS, rng=rng)
            for start in STARTS
        ]
        curves.append(cmr_curve(np.concatenate(walks), largest)[1])
    return parameters, np.array(curves)


def _distances(profile: Array, curves: Array) -> Array:
    shape = profile - profile.min()
    variance = shape.var()
    if variance == 0:
        return np.full(len(curves), np.inf)
    curves = curves - curves.min(1, keepdims=True)
    curves = curves * (shape.max() / np.maximum(curves.max(1, keepdims=True), 1e-300))
    return ((curves - shape) ** 2).mean(1) / variance


def _fitted(layer: int, head: int, profile: Array) -> LagProfile:
    distance, (encoding, drift, gamma) = cmr_distance(profile)
    return LagProfile(layer, head, profile, distance, encoding, drift, gamma, gaussian_distance(profile))
