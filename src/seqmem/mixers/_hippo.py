"""HiPPO matrices: states whose entries are the coefficients of the past in a basis of polynomials."""

from __future__ import annotations

import torch
from torch import Tensor

from seqmem.errors import InputError

MEASURES = ("legs", "legt", "laguerre")


def hippo(measure: str, size: int) -> tuple[Tensor, Tensor]:
    """A (size, size) and B (size,) of  x' = A x + B u  in float64 (HiPPO: Recurrent Memory with Optimal Polynomial
    Projections, 2020, arXiv 2008.07669).

    "legs": all the past, scaled to its length (Legendre); "legt": a sliding window (Legendre); "laguerre": the past
    with exponentially falling weight.
    """
    n = torch.arange(size, dtype=torch.float64)
    root = torch.sqrt(2 * n + 1)
    row, column = n[:, None], n[None]
    if measure == "legs":
        a = -torch.outer(root, root).tril(-1) - torch.diag(n + 1)
        return a, root
    if measure == "legt":
        sign = torch.where(row >= column, 1.0, (-1.0) ** (row - column))
        return -torch.outer(root, root) * sign, root
    if measure == "laguerre":
        return -torch.ones(size, size, dtype=torch.float64).tril(-1) - 0.5 * torch.eye(size, dtype=torch.float64), (
            torch.ones(size, dtype=torch.float64)
        )
    raise InputError(f"unknown measure {measure!r}; known: {', '.join(MEASURES)}")


def normal_eigenvalues(size: int) -> tuple[Tensor, Tensor]:
    """Eigenvalues (size / 2,) and eigenvectors (size, size / 2) of HiPPO-N = HiPPO-LegS + P P^T, P_n = sqrt(n + 1/2),
    a normal matrix: -1/2 plus a skew one. Of each conjugate pair the one above the real axis; complex128.
    """
    a, _ = hippo("legs", size)
    p = torch.sqrt(torch.arange(size, dtype=torch.float64) + 0.5)
    skew = a + torch.outer(p, p) + 0.5 * torch.eye(size, dtype=torch.float64)
    frequency, vectors = torch.linalg.eigh(-1j * skew.to(torch.complex128))  # ascending
    upper = slice(size - size // 2, size)
    return torch.complex(torch.full_like(frequency[upper], -0.5), frequency[upper]), vectors[:, upper]
