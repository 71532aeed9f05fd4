"""Recurrent networks coupled so that the whole is stable, with the certificate. arXiv 2106.08928."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._shared import at_padding, resume
from seqmem.mixers._stepwise import Memory, step_by_step
from seqmem.mixers.assembly import Assembly, contraction, feedback, guaranteed_rate, step_factor
from seqmem.mixers.base import Mixer

GAIN = 0.9  # the largest singular value of a block at the start, or spectral radius of its |W|; 1 would not contract


class RNNOfRNNsState(NamedTuple):
    """potential: (batch, blocks * block), x of all networks."""

    potential: Tensor


class RNNOfRNNs(Mixer):
    """Networks that each forget their initial state, coupled by a feedback that keeps it so (RNNs of RNNs: Recursive
    Construction of Stable Assemblies of Recurrent Neural Networks, 2021, arXiv 2106.08928):

        dx/dt = -x + W phi(x) + L x + U u        phi = max(0, .)        y = V x
        x_t = x_{t-1} + dt dx/dt                 L = B - M^-1 B^T M     so that M L + L^T M = 0

    W is block-diagonal, ``blocks`` networks of ``block`` units. Each contracts in a diagonal metric M of its own, by
    ``constraint``: "sparse", W is random and fixed, ``density`` of its entries, scaled until |W| has spectral radius
    0.9 or less; "svd", W = P^-1 Q_1 S Q_2 P is learned, Q_1 and Q_2 exponentials of skew matrices, S between 0 and 1,
    P positive, M = P^2. B, strictly block-lower-triangular, is learned and may be of any size: dx/dt always contracts.
    What is learned is M^1/2 B M^-1/2, so that weights of one size couple all units alike; it starts as N(0, 1 / units)
    times ``coupling``; 0 leaves the networks apart until they learn.

    :meth:`guaranteed_rate` proves that for all slopes of phi; :meth:`certificate` is the largest eigenvalue of the
    symmetric part of M J over some of them, negative where dx/dt contracts. :meth:`assembly` is the network as a part
    of a larger one (:mod:`seqmem.mixers.assembly`). What is run is Euler's step, which follows dx/dt only for ``dt``
    small against the coupling: :meth:`step_certificate` says whether the step contracts.

    form: "recurrent", the only one, a loop over time in PyTorch (a rectifier and a product a step).
    """

    forms: ClassVar[tuple[str, ...]] = ("recurrent",)

    def __init__(
        self,
        width: int,
        *,
        blocks: int = 4,
        block: int = 16,
        constraint: Literal["sparse", "svd"] = "sparse",
        density: float = 0.2,
        coupling: float = 0.5,
        dt: float = 0.1,
    ) -> None:
        super().__init__(width)
        if min(blocks, block) < 1 or not 0 < density <= 1 or not 0 < dt <= 1:
            raise InputError(
                f"RNNOfRNNs: blocks {blocks}, block {block}, density {density}, dt {dt}; expected at least 1 and 1, "
                "and 0 < density <= 1, 0 < dt <= 1"
            )
        if constraint not in ("sparse", "svd"):
            raise InputError(f"RNNOfRNNs: constraint is {constraint!r}, expected 'sparse' or 'svd'")
        self.blocks, self.block, self.constraint, self.dt = blocks, block, constraint, dt
        self.units = blocks * block
        self.inputs = nn.Linear(width, self.units)  # U, and a bias
        self.out = nn.Linear(self.units, width)  # V
        self.coupling = nn.Parameter(torch.randn(self.units, self.units) * self.units**-0.5 * coupling)
        if constraint == "sparse":
            within = torch.stack([_sparse(block, density) for _ in range(blocks)])
            self.register_buffer("fixed_within", within)
            self.register_buffer("fixed_metric", torch.cat([_m_matrix_metric(w) for w in within]))
            self.fixed_within: Tensor
            self.fixed_metric: Tensor
        else:
            self.turns = nn.Parameter(torch.randn(2, blocks, block, block) * block**-0.5)  # their skew parts are used
            self.singular = nn.Parameter(torch.full((blocks, block), GAIN).logit())  # S = sigmoid
            self.log_scale = nn.Parameter(0.1 * torch.randn(blocks, block))  # log P

    def initial_state(self, batch_size: int) -> RNNOfRNNsState:
        """Zeros."""
        return RNNOfRNNsState(self.out.weight.new_zeros(batch_size, self.units))

    def metric(self) -> Tensor:
        """The diagonal of M: (units,), positive, of mean 1 in each block."""
        if self.constraint == "sparse":
            return self.fixed_metric
        scale = (2 * self.log_scale).exp()
        return (scale / scale.mean(1, keepdim=True)).flatten()

    def within(self) -> Tensor:
        """W, the networks on the diagonal: (units, units)."""
        if self.constraint == "sparse":
            return torch.block_diag(*self.fixed_within)
        left, right = torch.linalg.matrix_exp(self.turns - self.turns.mT)
        scale = self.log_scale.exp()
        weights = (left * torch.sigmoid(self.singular)[:, None]) @ right
        return torch.block_diag(*(weights * scale[:, None] / scale[:, :, None]))

    def between(self) -> Tensor:
        """L, the coupling of the networks: (units, units)."""
        root = self.metric().sqrt()
        coupling = self.coupling * root / root[:, None]  # M^-1/2 (M^1/2 B M^-1/2) M^1/2
        return feedback(coupling, self.metric(), [self.block] * self.blocks)

    def assembly(self) -> Assembly:
        """W, L and M as they are now; :func:`seqmem.mixers.assembly.assemble` makes it a part of a larger one."""
        return Assembly(self.within(), self.between(), self.metric())

    def guaranteed_rate(self) -> float:
        """The rate, negative, at which dx/dt shrinks differences at least, for all slopes of phi; not below 0: none."""
        return guaranteed_rate(self.assembly())

    @torch.no_grad()
    def certificate(self, samples: int = 100, generator: torch.Generator | None = None) -> float:
        """The largest eigenvalue of (M J + J^T M) / 2 with J = -I + W D + L, over D = I and ``samples`` random diagonal
        D of slopes 0 or 1: negative, or the assembly is not stable in the metric M.
        """
        return contraction(self.assembly(), self._slopes(samples, generator))

    @torch.no_grad()
    def step_certificate(self, samples: int = 100, generator: torch.Generator | None = None) -> float:
        """The largest factor by which Euler's step stretches a difference, measured in M, over the same slopes: below
        1, or ``dt`` is too large for this coupling.
        """
        return step_factor(self.assembly(), self.dt, self._slopes(samples, generator))

    def forward(
        self,
        x: Tensor,
        state: RNNOfRNNsState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, RNNOfRNNsState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        given = self.dt * self.inputs(at_padding(x, mask, 0)).to(self.out.weight.dtype)
        with torch.autocast(x.device.type, enabled=False):
            keep = (1 - self.dt) * torch.eye(self.units, dtype=given.dtype, device=given.device)
            weight = torch.cat([keep + self.dt * self.between(), self.dt * self.within()], 1).mT  # of x, of phi(x)

        def step(given: Memory, memory: Memory) -> tuple[Tensor, Memory]:
            potential = torch.addmm(given[0], torch.cat([memory[0], torch.relu(memory[0])], 1), weight)
            return potential, (potential,)

        potentials, last = step_by_step(step, (given,), state, self.initial_state(x.shape[0]), mask, reset)
        return self.out(potentials), RNNOfRNNsState(*last)

    def _slopes(self, samples: int, generator: torch.Generator | None) -> Tensor:
        ones = torch.ones(1, self.units)
        random = torch.rand(samples, self.units, generator=generator) < 0.5
        return torch.cat([ones, random.to(ones.dtype)]).to(self.coupling.dtype)


def _sparse(block: int, density: float) -> Tensor:
    """A random matrix (block, block), 0 on its diagonal, whose absolute values have spectral radius GAIN at most."""
    weight = torch.randn(block, block) * (torch.rand(block, block) < density) * (block * density) ** -0.5
    weight.fill_diagonal_(0)
    radius = torch.linalg.eigvals(weight.abs().double()).abs().max().item()
    return weight * (GAIN / max(radius, GAIN))


def _m_matrix_metric(weight: Tensor) -> Tensor:
    """m > 0 such that diag(m) (|W| - I) has a negative symmetric part, for |W| of spectral radius below 1; mean 1.

    With (I - |W|) r = 1 and (I - |W|)^T l = 1 it is l / r: the symmetric part, applied to r, is negative everywhere,
    and what it has off the diagonal is not.
    """
    rest = torch.eye(len(weight), dtype=torch.float64) - weight.abs().double()
    one = torch.ones(len(weight), dtype=torch.float64)
    metric = torch.linalg.solve(rest.mT, one) / torch.linalg.solve(rest, one)
    return (metric / metric.mean()).to(weight.dtype)
