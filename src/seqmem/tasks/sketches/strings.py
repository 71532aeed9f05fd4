"""One string or two? Smooth closed curves through random points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _draw
from seqmem.tasks.sketches import base
from seqmem.tasks.sketches.base import NEVER, START, Sketch, Sketches
from seqmem.tasks.sketches.cycles import rings


@dataclass(frozen=True)
class Strings(Sketches):
    """A closed curve through all points (label 1), or two through half of them each; a marked point, from which colour
    spreads along the curve in both directions. Curves are Catmull-Rom splines, and may cross. The points lie in
    different cells of a square grid, anywhere in the inner half of the cell.

    Options:
        nodes: how many points, an even number.
        size: rows and columns of the image.
        pace: places of the curve that are coloured in a frame, in each direction.
    """

    name: ClassVar[str] = "strings"

    nodes: int = 8
    size: int = 48
    pace: int = 16

    def __post_init__(self) -> None:
        self._options(size=16, pace=1)
        base.even_nodes(self.name, self.nodes)
        if self.nodes > (self.size // 6) ** 2:
            raise InputError(
                f"task 'strings': nodes={self.nodes} are too many for size={self.size}, expected at most "
                f"{(self.size // 6) ** 2}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        return self.size, self.size

    def sample(self, batch_size: int, generator: torch.Generator) -> Sketch:
        label = self._request(batch_size, generator)
        cells = max(4, int(-(-(self.nodes**0.5) // 1)))
        cell = _draw.shuffled(_draw.subsets(batch_size, self.nodes, cells**2, generator), generator)
        jitter = torch.rand(batch_size, self.nodes, 2, generator=generator, dtype=torch.float64)
        corner = torch.stack([cell // cells, cell % cells], -1)
        point = 2 + (corner + 0.25 + 0.5 * jitter) * ((self.size - 5) / cells)  # (batch, node, 2)
        after, steps = rings(self.nodes, label)
        curve = spline(point, after, 2 * self.size)  # (batch, node, sample, 2)
        arrival = base.stroke(curve.flatten(1, 2), self._arrival(curve, after, steps < NEVER).flatten(1), self.size)
        arrival = base.put_dots(arrival, point[:, :1], torch.zeros(batch_size, 1, dtype=torch.int64), self.size / 24)
        first, reached = base.inked(arrival)
        marked = torch.full((batch_size, 1), START)
        first, reached = (base.put_dots(x, point[:, :1], marked, self.size / 24) for x in (first, reached))
        return Sketch(first, reached, arrival.clamp(max=NEVER), label)

    def _arrival(self, curve: Tensor, after: Tensor, mine: Tensor) -> Tensor:
        """(batch, node, sample): the frame in which each sample of the curve is reached from node 0."""
        step = (curve[:, :, 1:] - curve[:, :, :-1]).norm(dim=-1)  # (batch, node, sample - 1)
        step = torch.where(mine[..., None], step, 0)  # node 0's ring is nodes 0, 1, ... in order
        length = step.flatten(1).cumsum(1).view_as(step)
        before = torch.cat([torch.zeros_like(length[:, :1, -1]), length[:, :-1, -1]], 1)
        so_far = torch.cat([before[..., None], length], 2)
        whole = length[:, -1, -1, None, None]
        away = torch.minimum(so_far, whole - so_far).clamp(min=0)
        return torch.where(mine[..., None], (away / self.pace - 1e-9).ceil().long(), NEVER)


def spline(point: Tensor, after: Tensor, samples: int) -> Tensor:
    """(batch, node, samples, 2): the Catmull-Rom curve from each node to the one after it, both ends among them.

    point: (batch, node, 2). after: (batch, node), a permutation. At every node the curve runs parallel to the line
    from the node before to the one after.
    """
    before = after.argsort(1)

    def at(node: Tensor) -> Tensor:
        return point.gather(1, node[..., None].expand_as(point))

    p0, p1, p2, p3 = (x[:, :, None] for x in (at(before), point, at(after), at(after.gather(1, after))))
    t = torch.linspace(0, 1, samples, dtype=point.dtype)[:, None]
    bend = 2 * p0 - 5 * p1 + 4 * p2 - p3
    return p1 + 0.5 * t * ((p2 - p0) + t * (bend + t * (3 * (p1 - p2) + p3 - p0)))
