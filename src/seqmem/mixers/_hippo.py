"""HiPPO matrices: states whose entries are the coefficients of the past in a basis of polynomials."""

from __future__ import annotations

import numpy as np
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


def basis(measure: str, size: int, age: Tensor) -> Tensor:
    """The functions whose coefficients the state of ``hippo(measure, size)`` is: u(now - age) = sum_n x_n basis_n(age).

    age: (...) in units of time. Returns (..., size) float64. "legs", with its time-invariant A: sqrt(2n+1) P_n(2 e^-age
    - 1), orthonormal under the weight e^-age (How to Train Your HiPPO, 2022, arXiv 2206.12037); "legt": the same of
    1 - 2 age, for ages up to 1; "laguerre": e^(-age/2) L_n(age).
    """
    s = age.detach().double().cpu().numpy()
    root = np.sqrt(2 * np.arange(size) + 1)
    if measure == "legs":
        found = root * np.polynomial.legendre.legvander(2 * np.exp(-s) - 1, size - 1)
    elif measure == "legt":
        found = root * np.polynomial.legendre.legvander(1 - 2 * s, size - 1)
    elif measure == "laguerre":
        found = np.exp(-s / 2)[..., None] * np.polynomial.laguerre.lagvander(s, size - 1)
    else:
        raise InputError(f"unknown measure {measure!r}; known: {', '.join(MEASURES)}")
    return torch.from_numpy(found).to(age.device)


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
