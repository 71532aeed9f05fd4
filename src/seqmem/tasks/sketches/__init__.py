"""Drawings of which one asks whether something is connected, and how it is found out: coloured outward from a start,
frame by frame. Every kind of drawing by name; :func:`get_sketch` makes one from its name and options.

Visual Scratchpads: Enabling Global Reasoning in Vision (2024), arXiv 2410.08165, its cycles, strings and mazes.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from seqmem.errors import InputError, did_you_mean
from seqmem.tasks.sketches.base import Sketch, Sketches
from seqmem.tasks.sketches.cycles import Cycles, EdgeLists
from seqmem.tasks.sketches.mazes import CircularMazes, RectangularMazes
from seqmem.tasks.sketches.strings import Strings

SKETCHES: dict[str, type[Sketches]] = {
    "cycles": Cycles,
    "strings": Strings,
    "rectangular_mazes": RectangularMazes,
    "circular_mazes": CircularMazes,
    "edge_lists": EdgeLists,
}

__all__ = [
    "SKETCHES",
    "CircularMazes",
    "Cycles",
    "EdgeLists",
    "RectangularMazes",
    "Sketch",
    "Sketches",
    "Strings",
    "get_sketch",
]


def get_sketch(name: str, **options: Any) -> Sketches:
    """The drawings of this name. InputError for an unknown name or option, with the nearest known one."""
    if name not in SKETCHES:
        raise InputError(f"unknown drawings '{name}'.{did_you_mean(name, SKETCHES)} Known: {', '.join(SKETCHES)}")
    known = [field.name for field in fields(SKETCHES[name])]
    for option in options:
        if option not in known:
            raise InputError(
                f"'{name}' has no option '{option}'.{did_you_mean(option, known)} Known: {', '.join(known)}"
            )
    return SKETCHES[name](**options)
