"""Several needles in a haystack, alike but for what they are about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seqmem.tasks.base import Changes
from seqmem.tasks.needle import Needle


@dataclass(frozen=True)
class MultiNeedle(Needle):
    """:class:`~seqmem.tasks.needle.Needle` with eight sentences: the right one must be told from seven like it."""

    changes: ClassVar[Changes] = {"needles": (4, 12), "length": (512, 1024)}

    needles: int = 8
