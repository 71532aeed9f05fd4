"""Attention that can compare and copy without having learned what:

score_tj = q_t . k_j / sqrt(head) + a x_t . x_j,    y_t = W_o [sum_j A_tj v_j]_heads + sum_heads b sum_j A_tj x_j.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqmem.mixers._entries import Entries, Seen, no_entries
from seqmem.mixers._scored import ScoredAttention, dot_products


class TemplateAttention(ScoredAttention):
    """Softmax attention with two trained numbers per head, which begin at 0: a adds the identity to W_q W_k^T, so that
    a head matches what is equal, b adds it to W_v W_o, so that it hands on what it read as it is (When can transformers
    reason with abstract symbols?, 2023, arXiv 2310.09753). Both also do so for inputs that no training had.

    on_scores, on_values: False leaves a or b out; without both it is plain attention. multiplier: what stands in the
    equations is ``multiplier`` times the trained number, for a larger step of learning. No positions: add them to the
    input. x is what the layer is given, in a block the normed stream. The state holds keys, values and x of every
    token, linear in the tokens read.

    form: "parallel" is the whole call at once, "recurrent" one position at a time; "auto" is "parallel".
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int = 4,
        on_scores: bool = True,
        on_values: bool = True,
        multiplier: float = 1.0,
    ) -> None:
        super().__init__(width, heads)
        self.multiplier = multiplier
        self.a = nn.Parameter(torch.zeros(heads)) if on_scores else None
        self.b = nn.Parameter(torch.zeros(heads)) if on_values else None

    def empty(self, batch_size: int, count: int) -> Entries:
        """One entry's value holds v of all heads, then x."""
        return no_entries(batch_size, count, 1, self.width, 2 * self.width, self.out.weight)

    def score(self, query: Tensor, seen: Seen) -> Tensor:
        """The dot products, and a times those of the inputs; ``query`` holds q of all heads, then x."""
        query, x = query[:, :, 0].split(self.width, -1)
        key = seen.entries.key[:, :, 0]
        score = dot_products(self._in_heads(query), self._in_heads(key))
        if self.a is None:
            return score
        alike = torch.einsum("btw,bjw->btj", x, seen.entries.value[:, :, 0, self.width :].to(x.dtype))
        return score + self._scale(self.a, x)[:, None, None] * alike[:, None]

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[q; x], k and [v; x], each (batch, time, 1, size)."""
        query, key, value = self.qkv(x).chunk(3, -1)
        query, value = (torch.cat([part, x.to(part.dtype)], -1) for part in (query, value))
        return query[:, :, None], key[:, :, None], value[:, :, None]

    def _merged(self, weights: Tensor, value: Tensor) -> Tensor:
        value, x = value[:, :, 0].to(weights.dtype).split(self.width, -1)
        read = torch.einsum("bhtj,bjhv->bthv", weights, self._in_heads(value)).flatten(2)
        if self.b is None:
            return self.out(read)
        return self.out(read) + torch.einsum("bhtj,h->btj", weights, self._scale(self.b, weights)) @ x

    def _in_heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, self.head))

    def _scale(self, number: Tensor, like: Tensor) -> Tensor:
        return self.multiplier * number.to(like.dtype)
