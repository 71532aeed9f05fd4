"""Is there a way through? Mazes of square cells, and of rings and sectors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _draw
from seqmem.tasks.sketches.base import END, INK, NEVER, PAPER, REACHED, START, Sketch, Sketches
from seqmem.tasks.sketches.cycles import in_frames


class Plan(NamedTuple):
    """Where cells and walls are drawn. one, other: (wall,) int64, the cells on its two sides. cell: (rows, columns)
    int64, the cell that each place belongs to, or -1. wall: the same, the wall, which may be open."""

    cells: int
    one: Tensor
    other: Tensor
    cell: Tensor
    wall: Tensor


def tree(plan: Plan, rows: int, generator: torch.Generator) -> Tensor:
    """(rows, wall) bool: the open walls of random mazes in which exactly one way leads from any cell to any other.

    Walls are opened in random order where that joins two parts (Kruskal's algorithm).
    """
    order = _draw.shuffled(torch.arange(len(plan.one)).expand(rows, -1), generator)
    part = torch.arange(plan.cells).expand(rows, -1)
    opened = torch.zeros(order.shape, dtype=torch.bool)
    for wall in order.T:  # (rows,)
        a, b = (part.gather(1, side[wall][:, None]) for side in (plan.one, plan.other))
        opened.scatter_(1, wall[:, None], a != b)
        part = torch.where(part == b, a, part)
    return opened


def steps_from(plan: Plan, opened: Tensor, cell: Tensor) -> Tensor:
    """(rows, cell): how many steps each cell is from ``cell``, (rows,), through open walls; NEVER where none lead."""
    steps = torch.full((len(opened), plan.cells), NEVER).scatter(1, cell[:, None], 0)
    one, other = (side.expand(len(opened), -1) for side in (plan.one, plan.other))
    while True:
        onward = [torch.where(opened, steps.gather(1, side) + 1, NEVER) for side in (one, other)]
        new = steps.scatter_reduce(1, other, onward[0], "amin").scatter_reduce(1, one, onward[1], "amin")
        if torch.equal(new, steps):
            return steps
        steps = new


def draw(plan: Plan, start: Tensor, end: Tensor, label: Tensor, stride: int, generator: torch.Generator) -> Sketch:
    """Mazes with a way from ``start`` to ``end``, (batch,), where the label is 1. In all of them one wall of a tree is
    closed: one on the way, or one off it, so that their number tells nothing."""
    opened = tree(plan, len(label), generator)
    from_start, from_end = (steps_from(plan, opened, cell) for cell in (start, end))
    on_way = from_start + from_end == from_start.gather(1, end[:, None])  # (batch, cell)
    both = on_way[:, plan.one] & on_way[:, plan.other]
    closing = opened & (both == (label == 0)[:, None])
    closed = torch.zeros_like(opened).scatter(1, _draw.any_of(closing, generator)[:, None], True)
    opened = opened & ~(closed & closing)

    steps = steps_from(plan, opened, start)
    in_wall = torch.maximum(steps[:, plan.one], steps[:, plan.other])  # (batch, wall)
    cell, wall = plan.cell.clamp(min=0), plan.wall.clamp(min=0)
    arrival = torch.where(plan.cell >= 0, steps[:, cell], NEVER)
    through = (plan.wall >= 0) & opened[:, wall]
    arrival = torch.where(through, in_wall[:, wall], arrival)
    colour = torch.full((len(label), plan.cells), PAPER).scatter(1, start[:, None], START).scatter(1, end[:, None], END)
    first = torch.where(plan.cell >= 0, colour[:, cell], torch.where(through, PAPER, INK))
    reached = torch.where(first == START, START, torch.where(first == INK, INK, REACHED))
    return Sketch(first, reached, in_frames(arrival, stride), label)


@dataclass(frozen=True)
class RectangularMazes(Sketches):
    """Square cells; is there a way from the start to the end, two random cells?

    Options:
        rows: rows and columns of cells.
        size: rows and columns of the image; walls are one place thick.
        stride: steps per frame.
    """

    name: ClassVar[str] = "rectangular_mazes"

    rows: int = 7
    size: int = 48
    stride: int = 4

    def __post_init__(self) -> None:
        self._options(rows=2, size=12, stride=1)
        if self.size < 3 * self.rows + 1:
            raise InputError(
                f"task 'rectangular_mazes': size={self.size}, expected at least {3 * self.rows + 1} for "
                f"rows={self.rows}, two places for each cell"
            )

    @property
    def shape(self) -> tuple[int, int]:
        return self.size, self.size

    def sample(self, batch_size: int, generator: torch.Generator) -> Sketch:
        label = self._request(batch_size, generator)
        ends = _draw.shuffled(_draw.subsets(batch_size, 2, self.rows**2, generator), generator)
        return draw(_square(self.rows, self.size), ends[:, 0], ends[:, 1], label, self.stride, generator)


@dataclass(frozen=True)
class CircularMazes(Sketches):
    """Rings of cells around a centre; is there a way from the centre to the outside?

    Options:
        rings: how many rings of cells.
        sectors: cells in each ring.
        size: rows and columns of the image; walls are about one place thick.
        stride: steps per frame.
    """

    name: ClassVar[str] = "circular_mazes"

    rings: int = 3
    sectors: int = 8
    size: int = 48
    stride: int = 4

    def __post_init__(self) -> None:
        self._options(rings=1, sectors=3, size=16, stride=1)
        width = (self.size / 2 - 2) / (self.rings + 1)
        if width < 4 or 2 * math.pi * width < 3 * self.sectors:
            least = math.ceil(2 * (max(4, 3 * self.sectors / (2 * math.pi)) * (self.rings + 1) + 2))
            raise InputError(
                f"task 'circular_mazes': size={self.size}, expected at least {least} for rings={self.rings} and "
                f"sectors={self.sectors}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        return self.size, self.size

    def sample(self, batch_size: int, generator: torch.Generator) -> Sketch:
        label = self._request(batch_size, generator)
        plan = _round(self.rings, self.sectors, self.size)
        centre = torch.zeros(batch_size, dtype=torch.int64)
        return draw(plan, centre, centre + plan.cells - 1, label, self.stride, generator)


@lru_cache(16)
def _square(rows: int, size: int) -> Plan:
    """Cells row by row; walls between columns first, then between rows."""
    line = [round(i * (size - 1) / rows) for i in range(rows + 1)]  # where walls run
    number = torch.full((size,), -1)  # the row of cells that a row of places belongs to
    edge = torch.full((size,), -1)  # the wall that runs there: 1 between rows 0 and 1
    for i in range(rows):
        number[line[i] + 1 : line[i + 1]] = i
    edge[line] = torch.arange(rows + 1)
    cells = torch.arange(rows**2).view(rows, rows)
    one = torch.cat([cells[:, :-1].flatten(), cells[:-1].flatten()])
    other = torch.cat([cells[:, 1:].flatten(), cells[1:].flatten()])
    r, c = number[:, None], number[None]
    down, along = edge[:, None], edge[None]
    inner = (1, rows - 1)
    between = (r >= 0) & (along >= inner[0]) & (along <= inner[1])  # a wall between two columns
    below = (c >= 0) & (down >= inner[0]) & (down <= inner[1])
    wall = torch.where(between, r * (rows - 1) + along - 1, -1)
    wall = torch.where(below, rows * (rows - 1) + (down - 1) * rows + c, wall)
    return Plan(rows**2, one, other, torch.where((r >= 0) & (c >= 0), r * rows + c, -1), wall)


@lru_cache(16)
def _round(rings: int, sectors: int, size: int) -> Plan:
    """Cell 0 is the centre, then ring by ring, and the outside is the last. Walls: towards the centre from every cell
    and from the outside, ring by ring; then to the next sector."""
    width = (size / 2 - 2) / (rings + 1)
    y, x = torch.meshgrid(*[torch.arange(size, dtype=torch.float64) - (size - 1) / 2] * 2, indexing="ij")
    radius, turn = (x.square() + y.square()).sqrt(), torch.atan2(y, x) / (2 * math.pi) * sectors
    ring = (radius / width).floor().long().clamp(max=rings + 1)  # 0 is the centre, rings + 1 the outside
    sector = turn.floor().long() % sectors
    outside = 1 + rings * sectors
    cell = torch.where(ring == 0, 0, torch.where(ring > rings, outside, 1 + (ring - 1) * sectors + sector))

    circle = (radius / width).round().long()  # the nearest
    on_circle = ((radius - circle * width).abs() < 0.6) & (circle >= 1) & (circle <= rings + 1)
    ray = turn.round().long() % sectors  # the nearest, between sectors ray - 1 and ray
    off = (turn - turn.round()).abs() * (2 * math.pi / sectors)
    on_ray = (radius * off.sin() < 0.6) & (off < 1) & (ring >= 1) & (ring <= rings)
    wall = torch.where(on_circle, (circle - 1) * sectors + sector, -1)
    first_ray = (rings + 1) * sectors
    wall = torch.where(on_ray, first_ray + (ring - 1) * sectors + (ray - 1) % sectors, wall)
    wall = torch.where(on_ray & on_circle, -1, wall)
    cell = torch.where(on_circle | on_ray, -1, cell)

    grid = torch.arange(1, outside).view(rings, sectors)
    inside = torch.cat([torch.zeros(1, sectors, dtype=torch.int64), grid])
    beyond = torch.cat([grid, torch.full((1, sectors), outside)])
    one = torch.cat([inside.flatten(), grid.flatten()])
    other = torch.cat([beyond.flatten(), grid.roll(-1, 1).flatten()])
    return Plan(outside + 1, one, other, cell, wall)
