"""Grouped-query attention: :class:`~seqmem.mixers.attention.Attention` whose heads share keys and values in groups."""

from __future__ import annotations

from seqmem.errors import InputError
from seqmem.mixers.attention import Attention


class GroupedQueryAttention(Attention):
    """Softmax attention with fewer keys and values than queries (GQA: Training Generalized Multi-Query Transformer
    Models from Multi-Head Checkpoints, 2023, arXiv 2305.13245).

    ``groups``: how many sets of keys and values there are, a divisor of ``heads``; 1 is multi-query attention. The
    state is smaller by ``heads`` / ``groups``. Everything else is Attention's.
    """

    def __init__(
        self, width: int, *, heads: int = 4, groups: int = 2, rope_base: float = 10_000.0, qk_norm: bool = True
    ) -> None:
        if groups < 1 or heads % groups:
            raise InputError(f"GroupedQueryAttention: groups is {groups}, expected a divisor of heads {heads}")
        super().__init__(width, heads=heads, kv_heads=groups, rope_base=rope_base, qk_norm=qk_norm)
