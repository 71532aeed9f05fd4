"""Assemblies of recurrent networks that are stable because of how they are coupled, and the proof of it.

RNNs of RNNs: Recursive Construction of Stable Assemblies of Recurrent Neural Networks (2021), arXiv 2106.08928.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError


class Assembly(NamedTuple):
    """dx/dt = -x + W phi(x) + L x + u, phi with slopes from 0 to 1, in the metric |v|^2 = v^T M v.

    within: W (units, units). between: L (units, units), with M L + L^T M = 0. metric: the diagonal of M (units,), > 0.
    One network is an assembly without L.
    """

    within: Tensor
    between: Tensor
    metric: Tensor


def assemble(parts: Sequence[Assembly], coupling: Tensor) -> Assembly:
    """One assembly of several: L = B - M^-1 B^T M joins them, B being what ``coupling`` (units, units) has below the
    parts on the diagonal. If each part contracts, so does the whole, whatever the coupling; and the whole may be a part
    again: joined level by level or all at once, the same L are possible.

    Raises InputError unless the coupling has the size of all parts together.
    """
    sizes = [len(part.metric) for part in parts]
    if not parts or coupling.shape != (sum(sizes), sum(sizes)):
        raise InputError(
            f"assemble: parts of {sizes} units and a coupling {tuple(coupling.shape)}, expected one or more parts and "
            "a square matrix of all their units"
        )
    within, between = (torch.block_diag(*(part[n] for part in parts)) for n in range(2))
    metric = torch.cat([part.metric for part in parts])
    return Assembly(within, between + feedback(coupling, metric, sizes), metric)


def feedback(coupling: Tensor, metric: Tensor, sizes: Sequence[int]) -> Tensor:
    """L = B - M^-1 B^T M, B the entries of ``coupling`` strictly below diagonal blocks of these sizes."""
    part = torch.arange(len(sizes), device=coupling.device).repeat_interleave(
        torch.tensor(sizes, device=coupling.device)
    )
    lower = coupling * (part[:, None] > part)
    return lower - lower.mT * metric / metric[:, None]


@torch.no_grad()
def guaranteed_rate(assembly: Assembly) -> float:
    """How fast differences must shrink at least: their length in M falls like exp(rate t), for all slopes, inputs and
    times, if the rate is negative; if not, nothing is guaranteed.

    For every group of units that W connects the smaller of two bounds, |M^1/2 W M^-1/2| - 1 and the same with the
    symmetric part of the absolute values; the slowest group counts. L takes no part in it where it is balanced; else
    what it does to the length is added.
    """
    root = assembly.metric.sqrt()
    weights = root[:, None] * assembly.within / root
    drift = root[:, None] * assembly.between / root
    work = float(torch.linalg.eigvalsh((drift + drift.mT) / 2).max())  # 0 where M L + L^T M = 0
    bounds = []
    for group in _connected(weights):
        part = weights[group][:, group]
        absolute = part.abs()
        norm, alike = torch.linalg.matrix_norm(part, 2), torch.linalg.eigvalsh((absolute + absolute.mT) / 2).max()
        bounds.append(min(float(norm), float(alike)))
    return max(bounds) - 1 + work


def _connected(weights: Tensor) -> list[Tensor]:
    """Groups of units between which there is no weight: the indices of each."""
    joined = (weights != 0) | (weights != 0).mT | torch.eye(len(weights), dtype=torch.bool, device=weights.device)
    label = torch.arange(len(weights), device=weights.device)
    while True:  # the smallest number that a unit is joined to
        lower = torch.where(joined, label, len(label)).min(1).values
        if torch.equal(lower, label):
            return [(label == one).nonzero()[:, 0] for one in label.unique()]
        label = lower


@torch.no_grad()
def contraction(assembly: Assembly, slopes: Tensor) -> float:
    """The largest eigenvalue of the symmetric part of M J, J = -I + W D + L, over diagonals D of ``slopes`` (samples,
    units): negative, or the assembly is not stable in the metric M.
    """
    eye = torch.eye(len(assembly.metric), dtype=slopes.dtype, device=slopes.device)
    form = assembly.metric[:, None] * (assembly.within * slopes[:, None] + assembly.between - eye)
    return float(torch.linalg.eigvalsh((form + form.mT) / 2).max())


@torch.no_grad()
def step_factor(assembly: Assembly, dt: float, slopes: Tensor) -> float:
    """The largest factor by which Euler's step of ``dt`` stretches a difference, measured in M, over these slopes."""
    eye, root = torch.eye(len(assembly.metric), dtype=slopes.dtype, device=slopes.device), assembly.metric.sqrt()
    step = (1 - dt) * eye + dt * (assembly.within * slopes[:, None] + assembly.between)
    return float(torch.linalg.matrix_norm(root[:, None] * step / root, 2).max())
