"""Causal softmax attention with rotary positions: the layer that forgets nothing and pays for it by a state that grows.

Attention Is All You Need (2017), arXiv 1706.03762. Rotary positions: RoFormer (2021), arXiv 2104.09864. Shared keys and
values: GQA (2023), arXiv 2305.13245.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers import _softmax as softmax
from seqmem.mixers._packing import check_state, one_at_a_time, pack, to_front, to_place
from seqmem.mixers._softmax import AttentionState
from seqmem.mixers.base import Mixer


class Attention(Mixer):
    """y_t = W_o [ sum_{s <= t} softmax_s( q_t . k_s / sqrt(head) ) v_s ]_heads, with q and k turned by their positions.

    width: divisible by ``heads`` into heads of even size. kv_heads: groups of query heads that share keys and values;
    default ``heads``. head: the size of one, default ``width / heads``. rope_base: the longest wavelength is about
    2 pi rope_base positions; None: q and k are not turned. frequencies: in place of rope_base, radians per position of
    the channels 0 to head / 2 - 1; 0 leaves a pair as it is. sinusoidal: q and k are of x + s instead, s_t the sines
    and cosines of the position t (2017), which every layer adds anew; goes with rope_base=None and an even width.
    qk_norm: queries and keys are normed in every head before they are turned (Query-Key Normalization, 2020, arXiv
    2010.04245), which lets small models find a sharp match early; norm_eps is these norms'. bias, out_bias: of the
    projections to q, k, v and of W_o. gated: what the heads read is multiplied by sigmoid(W_g x) before W_o (Gated
    Attention for Large Language Models, 2025, arXiv 2505.06708).

    Form "auto" is "parallel", for any time: the whole call at once through ``scaled_dot_product_attention``. From an
    empty state and without resets nothing of size time^2 is held (padding is moved out of the way first); else a
    boolean matrix (batch, time, read + time) is. "recurrent": one position at a time.

    State: :class:`AttentionState`, linear in the tokens read. Padding is not stored, and a reset drops what came before
    it: ``read`` is the longest current document among the rows. One decoded token copies the state once, since states
    are never changed in place.
    """

    memory: ClassVar[str] = "linear"

    def __init__(
        self,
        width: int,
        *,
        heads: int = 4,
        kv_heads: int | None = None,
        head: int | None = None,
        rope_base: float | None = 10_000.0,
        frequencies: Sequence[float] | None = None,
        sinusoidal: bool = False,
        qk_norm: bool = True,
        norm_eps: float = 1e-6,
        bias: bool = False,
        out_bias: bool = False,
        gated: bool = False,
    ) -> None:
        super().__init__(width)
        self.kv_heads, self.head = softmax.check_heads(width, heads, kv_heads, head, rope_base, "Attention")
        self.heads = heads
        self.rope_base = rope_base
        self.turning = softmax.check_turning(rope_base, frequencies, self.head, "Attention")
        if sinusoidal and (self.turning is not None or width % 2):
            raise InputError(
                f"Attention: sinusoidal=True with rope_base {rope_base!r} and width {width}, expected rope_base=None "
                f"and an even width; turn or add positions, not both"
            )
        self.sinusoidal = sinusoidal
        self.qkv = nn.Linear(width, (heads + 2 * self.kv_heads) * self.head, bias=bias)
        self.norms = softmax.HeadNorms(self.head, norm_eps) if qk_norm else None
        self.gate = nn.Linear(width, heads * self.head, bias=bias) if gated else None
        self.out = nn.Linear(heads * self.head, width, bias=out_bias)

    def initial_state(self, batch_size: int) -> AttentionState:
        """Nothing read: key and value are (batch_size, kv_heads, 0, head)."""
        return softmax.empty_state(batch_size, self.kv_heads, 0, self.head, self.out.weight)

    def forward(
        self,
        x: Tensor,
        state: AttentionState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, AttentionState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        check_state(state, x, "Attention")
        if form == "recurrent":
            return one_at_a_time(self, x, state, mask, reset)

        packing = pack(mask, reset)
        x = to_front(packing, x)
        position, after = softmax.positions(packing, None if state is None else state.position, x)
        query, new_key, new_value = softmax.project(
            self.qkv, self.norms, x, position, self.heads, self.head, self.turning, self.sinusoidal
        )
        key, value, valid = softmax.extended(packing, state, new_key, new_value, self.out.weight)
        if softmax.is_decoding(packing, state, x):
            allowed = valid[:, None, None]
        elif state is not None or packing.document is not None:
            allowed = _allowed(softmax.tags(packing, state, x), x.shape[1])
        else:
            allowed = None
        y = softmax.attend(query, key, value, allowed)  # (batch, heads, time, head)
        state = softmax.updated(packing, key, value, valid, after, None)
        return to_place(packing, softmax.merge(y, self.out, self.gate, x)), state

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """The softmax weights A (batch, heads, time, time) from an empty state.

        Row t sums to 1, or is 0 where nothing may be seen.
        """
        self.check_input(x, mask, reset, "auto")
        allowed, position = softmax.explicit_allowed(x, mask, reset, None)
        query, key, _ = softmax.project(
            self.qkv, self.norms, x, position, self.heads, self.head, self.turning, self.sinusoidal
        )
        return softmax.explicit_weights(query, key, allowed)

    def read(self, x: Tensor, attention: Tensor) -> Tensor:
        """y = out(concat_h A_h V_h): what is read through the weights A (batch, heads, time, time), values from x.

        ``read(x, attention(x))`` is the y of ``forward``.
        """
        return softmax.read_values(self.qkv, self.out, self.gate, x, attention, self.head)


def _allowed(tag: Tensor, time: int) -> Tensor:
    """(batch or 1, 1, time, read + time) bool from the tags of all entries: not later, and of the same tag."""
    read = tag.shape[1] - time
    return (tag[:, read:, None] == tag[:, None, :]).tril(read)[:, None]
