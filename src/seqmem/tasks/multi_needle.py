"""Several needles in a haystack, alike but for what they are about."""

from __future__ import annotations

from dataclasses import dataclass

from seqmem.tasks.needle import Needle


@dataclass(frozen=True)
class MultiNeedle(Needle):
    """:class:`~seqmem.tasks.needle.Needle` with eight sentences: the right one must be told from seven like it."""

    needles: int = 8
