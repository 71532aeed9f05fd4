"""LightNet on a grid:  o_n = q_n sum_m softmax_m(x)_m v_m^T,  one sum over all positions m, whatever their order."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._rotary import half_frequencies, rotate
from seqmem.mixers.base import split_heads
from seqmem.ops import linear_scan


class LightNetGrid(nn.Module):
    """The layer of LightNet for images and other grids, without a direction (You Only Scan Once: Efficient
    Multi-dimension Sequential Modeling with LightNet, 2024, arXiv 2405.21022).

    x: (batch, n_1, ..., n_axes, width) to the same; (batch, n, width) with ``axes=1``. Each channel's logits are a
    softmax over all positions, so that one sum replaces the scans in several directions that a decay needs. q passes
    SiLU; behind the read-out an RMSNorm, a SiLU gate through ``gate_rank`` channels (default a quarter of ``width``),
    and a projection, as in :class:`seqmem.mixers.lightnet.LightNet`.

    Positions come from ``tpe`` (:class:`ToeplitzPositions`, added to the input) and ``lrpe``: q and k are turned by the
    angle sum_d theta_d n_d, so that what they share depends on the offset along each axis alone. Frequencies theta are
    learned; they begin as rotary ones, each pair of channels for one axis. Without both the positions are a set.
    """

    causal = False

    def __init__(
        self,
        width: int,
        *,
        axes: int = 2,
        heads: int = 2,
        gate_rank: int | None = None,
        tpe: bool = True,
        lrpe: bool = True,
    ) -> None:
        super().__init__()
        if axes < 1:
            raise InputError(f"LightNetGrid: axes is {axes}, expected at least 1")
        self.width, self.axes, self.heads = width, axes, heads
        self.key = split_heads(width, heads, "LightNetGrid")
        if lrpe and self.key % 2:
            raise InputError(f"LightNetGrid: heads of size {self.key}, expected an even size, or lrpe=False")
        self.positions = ToeplitzPositions(width, axes=axes, heads=heads) if tpe else None
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        rank = max(1, width // 4) if gate_rank is None else gate_rank
        self.gate = nn.Sequential(nn.Linear(width, rank, bias=False), nn.Linear(rank, width))
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.out = nn.Linear(width, width, bias=False)
        self.theta: nn.Parameter | None = None
        if lrpe:
            frequency = torch.tensor(half_frequencies(self.key, 100.0))
            own = torch.arange(self.key // 2) % axes == torch.arange(axes)[:, None]  # (axes, key / 2)
            self.theta = nn.Parameter((own * frequency)[:, None].repeat(1, heads, 1))  # (axes, heads, key / 2)

    def forward(self, x: Tensor) -> Tensor:
        """y, of the shape of x (batch, n_1, ..., n_axes, width)."""
        if x.ndim != self.axes + 2 or x.shape[-1] != self.width:
            raise InputError(
                f"LightNetGrid: x has shape {tuple(x.shape)}, expected (batch, {self.axes} axes, width {self.width})"
            )
        x = x if self.positions is None else x + self.positions(x)
        q, logits, v = self.qkv(x).chunk(3, -1)
        k = logits.flatten(1, -2).softmax(1).view_as(logits)  # over all positions
        q, k, v = (part.unflatten(-1, (self.heads, self.key)) for part in (F.silu(q), k, v))
        if self.theta is not None:
            tables = self._tables(x)
            q, k = rotate(q, tables), rotate(k, tables)
        memory = torch.einsum("bnhk,bnhv->bhkv", k.flatten(1, -3), v.flatten(1, -3))
        o = torch.einsum("bnhk,bhkv->bnhv", q.flatten(1, -3), memory).reshape(x.shape)
        return self.out(self.norm(o) * F.silu(self.gate(x)))

    def _tables(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines of every position's angles, (n_1, ..., n_axes, heads, key)."""
        assert self.theta is not None
        sizes = x.shape[1:-1]
        places = torch.stack(torch.meshgrid(*(torch.arange(n, device=x.device) for n in sizes), indexing="ij"), -1)
        angle = torch.einsum("...a,ahc->...hc", places.to(self.theta.dtype), self.theta)
        return torch.cat([angle.cos()] * 2, -1), torch.cat([-angle.sin(), angle.sin()], -1)


class ToeplitzPositions(nn.Module):
    """What says where a position stands: sum over axes of q * scan(k * x), each scan a running sum along one axis that
    forgets at a fixed rate sigmoid(p_h); then an RMSNorm and a projection (MD-TPE of LightNet).

    x: (batch, n_1, ..., n_axes, width) to the same.
    """

    def __init__(self, width: int, *, axes: int = 2, heads: int = 2) -> None:
        super().__init__()
        size = split_heads(width, heads, "ToeplitzPositions")
        self.axes, self.size = axes, size
        self.query = nn.Parameter(torch.randn(width) * size**-0.5)
        self.key = nn.Parameter(torch.randn(width))
        self.rate = nn.Parameter(torch.linspace(0.0, 3.0, heads))  # p: decays from 0.5 to 0.95
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """y, of the shape of x."""
        decay = torch.sigmoid(self.rate).repeat_interleave(self.size)  # (width,)
        written = self.key * x
        total = torch.zeros_like(written)
        for axis in range(1, self.axes + 1):
            lines = written.movedim(axis, -2)  # (batch, other axes, n_axis, width)
            flat = lines.flatten(0, -3)
            scanned, _ = linear_scan(decay.expand_as(flat), flat)
            total = total + scanned.view_as(lines).movedim(-2, axis)
        return self.out(self.norm(self.query * total))
