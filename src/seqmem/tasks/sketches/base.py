"""What a drawing is: places of a few colours, of which some are coloured anew, each in its frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check, _draw

PAPER, INK, REACHED, START, END = range(5)
NEVER = 1_000_000


class Sketch(NamedTuple):
    """A batch of drawings, (batch, rows, columns) int64 each but the last.

    first: the colours of what is given. reached: the colour that each place has from frame ``arrival`` on; NEVER where
    it stays as it is. label: (batch,) int64, 1 where what is asked for is connected.
    """

    first: Tensor
    reached: Tensor
    arrival: Tensor
    label: Tensor

    def frame(self, number: int | Tensor) -> Tensor:
        """(batch, rows, columns): the drawing in this frame, one for all or (batch,) of them; 0 is what is given."""
        t = number if isinstance(number, int) else number[:, None, None]
        return torch.where(self.arrival <= t, self.reached, self.first)

    def frames(self, count: int) -> Tensor:
        """(batch, count + 1, rows, columns): frames 0 to ``count``. After the last nothing changes any more."""
        return torch.stack([self.frame(t) for t in range(count + 1)], 1)

    @property
    def last(self) -> Tensor:
        """(batch,): the frame in which all that can be reached is."""
        return torch.where(self.arrival < NEVER, self.arrival, 0).flatten(1).amax(1)


@dataclass(frozen=True)
class Sketches:
    """Base of the drawings: fields are options."""

    name: ClassVar[str] = ""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a drawing."""
        raise NotImplementedError

    @property
    def colours(self) -> int:
        """How many colours there are."""
        return END + 1

    def sample(self, batch_size: int, generator: torch.Generator) -> Sketch:
        """Fresh drawings, of which every second is connected."""
        raise NotImplementedError

    def _request(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """(batch,) labels, half of them 1, after a check of the arguments."""
        _check.request(self.name, batch_size, 1, generator, "train")
        return _draw.in_turn(batch_size, 2, generator)

    def _options(self, **least: int) -> None:
        """Every option named is a whole number of at least this."""
        for option, at_least in least.items():
            _check.integer(self.name, option, getattr(self, option), at_least=at_least)


def stroke(points: Tensor, arrival: Tensor, size: int) -> Tensor:
    """(batch, size, size) the frame in which each place is reached, of lines drawn as points.

    points: (batch, point, 2), row and column in places. arrival: (batch, point) int64. Where lines cross, the first to
    come counts; NEVER + 1 where there is no line, NEVER where there is one that is never reached.
    """
    place = points.round().long().clamp(0, size - 1)
    flat = place[..., 0] * size + place[..., 1]  # (batch, point)
    blank = torch.full((len(points), size * size), NEVER + 1)
    return blank.scatter_reduce(1, flat, arrival, "amin").view(-1, size, size)


def dot(radius: float) -> Tensor:
    """(place, 2): the offsets of the places of a disc."""
    reach = torch.arange(-int(radius), int(radius) + 1)
    offsets = torch.cartesian_prod(reach, reach)
    return offsets[offsets.square().sum(1) <= radius**2]


def put_dots(canvas: Tensor, centres: Tensor, values: Tensor, radius: float) -> Tensor:
    """``canvas``, (batch, size, size), with discs of ``values``, (batch, disc), around centres (batch, disc, 2)."""
    size = canvas.shape[-1]
    place = (centres.round().long()[:, :, None] + dot(radius)).clamp(0, size - 1)  # (batch, disc, place, 2)
    flat = (place[..., 0] * size + place[..., 1]).flatten(1)
    each = values[..., None].expand(place.shape[:-1]).flatten(1)
    return canvas.flatten(1).scatter(1, flat, each).view_as(canvas)


def inked(arrival: Tensor) -> tuple[Tensor, Tensor]:
    """First and reached colours of lines: ink, then REACHED."""
    line = arrival <= NEVER
    return torch.where(line, INK, PAPER), torch.where(line, REACHED, PAPER)


def even_nodes(name: str, nodes: int) -> int:
    """``nodes`` where it is even and at least 6: two cycles of three are the smallest."""
    _check.even(name, "nodes", nodes, "one cycle of all, or two of half each")
    if nodes < 6:
        raise InputError(f"task '{name}': nodes={nodes}, expected at least 6, two cycles of three")
    return nodes
