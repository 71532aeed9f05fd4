"""The strings and answers of :mod:`seqmem.tasks.chomsky`, by name."""

from __future__ import annotations

from seqmem.tasks._chomsky import context_free, context_sensitive, regular
from seqmem.tasks._chomsky.kind import Kind

KINDS: dict[str, Kind] = regular.KINDS | context_free.KINDS | context_sensitive.KINDS
