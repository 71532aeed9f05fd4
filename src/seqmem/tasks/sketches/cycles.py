"""One cycle or two? Points joined by straight lines; and the same graphs as lists of edges, a drawing in text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check, _draw
from seqmem.tasks.sketches import base
from seqmem.tasks.sketches.base import NEVER, START, Sketch, Sketches


class Rings(NamedTuple):
    """Nodes 0, 1, ... as one ring (label 1), or as two of half each. after: (batch, node) the node that each is joined
    to. steps: (batch, node) how far each is from node 0, NEVER in the other ring."""

    after: Tensor
    steps: Tensor


def rings(nodes: int, label: Tensor) -> Rings:
    """The two graphs of this many nodes, by ``label``, (batch,)."""
    i, half = torch.arange(nodes), nodes // 2
    whole = label[:, None] == 1
    split = torch.where(i < half, (i + 1) % half, half + (i - half + 1) % half)
    in_half = torch.where(i < half, torch.minimum(i, half - i), NEVER)
    return Rings(torch.where(whole, (i + 1) % nodes, split), torch.where(whole, torch.minimum(i, nodes - i), in_half))


def in_frames(steps: Tensor, stride: int) -> Tensor:
    """The frame in which something so many steps away is reached, ``stride`` steps a frame."""
    return torch.where(steps < NEVER, -(-steps // stride), NEVER)


@dataclass(frozen=True)
class Cycles(Sketches):
    """Points on a circle, joined by chords into one cycle (label 1) or two of half the length each. One point is
    marked; from it colour spreads, one point on in both directions every step.

    Options:
        nodes: how many points, an even number; at most ``slots``.
        slots: places on the circle, evenly spaced, of which a random choice has a point. With more than 12 in 48 places
            a line to the next point but one touches the point between.
        size: rows and columns of the image.
        stride: steps per frame.
        lines: the line to a point is coloured with it; False: points alone are coloured.
    """

    name: ClassVar[str] = "cycles"

    nodes: int = 8
    slots: int = 12
    size: int = 48
    stride: int = 1
    lines: bool = True

    def __post_init__(self) -> None:
        self._options(slots=6, size=16, stride=1)
        _check.boolean(self.name, "lines", self.lines)
        if base.even_nodes(self.name, self.nodes) > self.slots:
            raise InputError(f"task 'cycles': nodes={self.nodes}, expected at most slots={self.slots}")

    @property
    def shape(self) -> tuple[int, int]:
        return self.size, self.size

    def sample(self, batch_size: int, generator: torch.Generator) -> Sketch:
        label = self._request(batch_size, generator)
        after, steps = rings(self.nodes, label)
        slot = _draw.shuffled(_draw.subsets(batch_size, self.nodes, self.slots, generator), generator)
        angle = slot * (2 * math.pi / self.slots)
        centre = torch.stack([angle.sin(), angle.cos()], -1) * (0.42 * self.size) + (self.size - 1) / 2
        end = centre.gather(1, after[..., None].expand(-1, -1, 2))  # (batch, node, 2)
        along = torch.linspace(0, 1, 2 * self.size)[:, None]
        lines = centre[:, :, None] * (1 - along) + end[:, :, None] * along  # (batch, node, point, 2)
        near = torch.minimum(steps, steps.gather(1, after))
        when = in_frames(
            torch.where(near < NEVER, near + 1, NEVER) if self.lines else torch.full_like(near, NEVER), self.stride
        )
        arrival = base.stroke(lines.flatten(1, 2), when[..., None].expand(lines.shape[:-1]).flatten(1), self.size)
        arrival = base.put_dots(arrival, centre, in_frames(steps, self.stride), self.size / 32)
        first, reached = base.inked(arrival)
        marked = torch.full((batch_size, 1), START)
        first, reached = (base.put_dots(x, centre[:, :1], marked, self.size / 32) for x in (first, reached))
        return Sketch(first, reached, arrival.clamp(max=NEVER), label)


@dataclass(frozen=True)
class EdgeLists(Sketches):
    """The graphs of :class:`Cycles` in words: every row an edge, the names of two nodes, in random order. Reached are
    all mentions of a node, beginning with those of the start; a reached name is another token, ``names`` further on.

    Options:
        nodes: how many nodes, an even number; at most ``names`` and ``room``.
        names: how many names there are; token 0 is blank.
        room: rows; those that are left over are blank.
        stride: steps per frame.
    """

    name: ClassVar[str] = "edge_lists"

    nodes: int = 8
    names: int = 16
    room: int = 12
    stride: int = 1

    def __post_init__(self) -> None:
        self._options(names=6, room=6, stride=1)
        if base.even_nodes(self.name, self.nodes) > min(self.names, self.room):
            raise InputError(
                f"task 'edge_lists': nodes={self.nodes}, expected at most names={self.names} and room={self.room}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        return self.room, 2

    @property
    def colours(self) -> int:
        return 1 + 2 * self.names

    def sample(self, batch_size: int, generator: torch.Generator) -> Sketch:
        label = self._request(batch_size, generator)
        after, steps = rings(self.nodes, label)
        name = 1 + _draw.shuffled(_draw.subsets(batch_size, self.nodes, self.names, generator), generator)
        node = torch.stack([torch.arange(self.nodes).expand_as(after), after], -1)  # (batch, edge, 2)
        turned = torch.randint(2, node.shape[:2], generator=generator)[..., None] == 1
        node = torch.where(turned, node.flip(-1), node)
        order = _draw.shuffled(torch.arange(self.nodes).expand(batch_size, -1), generator)
        node = node.gather(1, order[..., None].expand_as(node))
        first, arrival = torch.zeros(batch_size, self.room, 2, dtype=torch.int64), torch.full((), NEVER)
        arrival = arrival.expand(first.shape).clone()
        flat = node.flatten(1)
        first[:, : self.nodes] = name.gather(1, flat).view_as(node)
        arrival[:, : self.nodes] = in_frames(steps, self.stride).gather(1, flat).view_as(node)
        reached = torch.where(first > 0, first + self.names, 0)
        return Sketch(torch.where(arrival == 0, reached, first), reached, arrival, label)
