"""seqmem: a workbench for memory in sequence models.

Rooms: :mod:`seqmem.ops` (recurrences), :mod:`seqmem.mixers` (layers), :mod:`seqmem.models` (networks),
:mod:`seqmem.tasks` (data with a known answer), :mod:`seqmem.training` (experiments), :mod:`seqmem.report` (pages),
:mod:`seqmem.testing` (the contract, for your own layers). Nothing heavy is imported until a room is.
"""

__version__ = "0.1.0"
