"""A recurrent network without a nonlinearity: every input is a rotation of the state. arXiv 2208.05719."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._shared import at_padding, resume
from seqmem.mixers._stepwise import Memory, step_by_step
from seqmem.mixers.base import Mixer
from seqmem.ops._inputs import computed_in

WIDEST = 16  # the default size grows with the width up to here: a rotation costs size^3 at every position


class UnitaryRNNState(NamedTuple):
    """vector: (batch, size), of length 1."""

    vector: Tensor


class UnitaryRNN(Mixer):
    """Each input is a rotation, a sequence is their product (Assessing the Unitary RNN as an End-to-End Compositional
    Model of Syntax, 2022, arXiv 2208.05719):

        Q(x) = exp(A - A^T)        s_t = Q(x_t) s_{t-1}        s_0 = e_1        y_t = W s_t + b

    A is strictly upper triangular; its entries, row by row, are v(x), here a linear map of x (the paper's embedding of
    a word). ``rank``: how many of the size (size - 1) / 2 entries there are, by default all; the others are 0 (the
    truncated embedding). ``size``: of s, default the smaller of ``width`` and 16 (at least 2). The length of s is
    always 1, and nothing is ever lost: s_0 is Q^T s_t, :meth:`undo`. :meth:`rotations` gives Q at every position,
    :meth:`phrase` the one matrix Q(x_T) ... Q(x_1) that a whole string is, :func:`effect` how much a rotation moves,
    :func:`similarity` how alike two are.

    ``rotation="cascade"``, the paper's other parametrisation: Q is ``size`` layers of plane rotations, of the pairs of
    axes (1, 2), (3, 4), ... and (2, 3), (4, 5), ... in turn, whose angles are v(x), layer by layer.

    form: "parallel", the product of matrices is associative: all prefixes in log2(time) rounds of matrix products;
    "recurrent", a loop of products of matrix and vector, ``size`` times less arithmetic. "auto" is "recurrent" on a
    CPU, "parallel" on any other device. The exponentials, which cost most, are taken for all positions at once in both.
    """

    def __init__(
        self,
        width: int,
        *,
        size: int | None = None,
        rank: int | None = None,
        rotation: Literal["exponential", "cascade"] = "exponential",
    ) -> None:
        super().__init__(width)
        if rotation not in ("exponential", "cascade"):
            raise InputError(f"UnitaryRNN: rotation is {rotation!r}, expected 'exponential' or 'cascade'")
        self.rotation = rotation
        self.size = max(2, min(width, WIDEST)) if size is None else size
        if self.size < 2:
            raise InputError(f"UnitaryRNN: size is {size}, expected at least 2; there is no rotation in one dimension")
        most = self.size * (self.size - 1) // 2
        self.rank = most if rank is None else rank
        if not 1 <= self.rank <= most:
            raise InputError(f"UnitaryRNN: rank is {rank}, expected from 1 to size (size - 1) / 2 = {most}")
        self.angles = nn.Linear(width, self.rank)  # v(x)
        self.out = nn.Linear(self.size, width)
        nn.init.normal_(self.angles.weight, std=(width * self.size) ** -0.5)  # Q(x) turns s by an angle of order one
        nn.init.zeros_(self.angles.bias)
        row, column = torch.triu_indices(self.size, self.size, 1)[:, : self.rank]
        self.register_buffer("place", row * self.size + column, persistent=False)  # (rank,), in the flattened A
        self.place: Tensor

    def initial_state(self, batch_size: int) -> UnitaryRNNState:
        """e_1."""
        vector = self.out.weight.new_zeros(batch_size, self.size)
        vector[:, 0] = 1
        return UnitaryRNNState(vector)

    def forward(
        self,
        x: Tensor,
        state: UnitaryRNNState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, UnitaryRNNState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        s, state = self.turn(self.rotations(x, mask=mask), state, reset=reset, form=form)
        return self.out(s.to(self.out.weight.dtype)), state

    def turn(
        self, turns: Tensor, state: UnitaryRNNState | None = None, *, reset: Tensor | None = None, form: str = "auto"
    ) -> tuple[Tensor, UnitaryRNNState]:
        """(s after every one of these rotations (batch, time, size, size), state): s is (batch, time, size)."""
        empty = self.initial_state(turns.shape[0])
        state = empty if state is None else state
        if form == "recurrent" or (form == "auto" and turns.device.type == "cpu"):
            s, (last,) = step_by_step(_turn, (turns,), state, empty, None, reset)
        else:
            with torch.autocast(turns.device.type, enabled=False):
                s = _prefix_products(turns, state.vector.to(turns.dtype), empty.vector.to(turns.dtype), reset)
            last = s[:, -1].clone()
        return s, UnitaryRNNState(last)

    def undo(self, x: Tensor, state: UnitaryRNNState, *, mask: Tensor | None = None) -> UnitaryRNNState:
        """The state before x (batch, time, width) was read, from the state after it."""
        phrase = self.phrase(x, mask=mask)
        return UnitaryRNNState((phrase.mT @ state.vector.to(phrase.dtype)[..., None])[..., 0])

    def rotations(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Q(x) for x (batch, time, width): (batch, time, size, size), the identity at padding; in float32 at least."""
        dtype = computed_in(self.out.weight.dtype)  # a rotation is none in half precision
        angles = at_padding(self.angles(at_padding(x, mask, 0)), mask, 0).to(dtype)
        with torch.autocast(x.device.type, enabled=False):
            if self.rotation == "cascade":
                return _cascade(F.pad(angles, (0, self.size * (self.size - 1) // 2 - self.rank)), self.size)
            upper = angles.new_zeros(*x.shape[:2], self.size * self.size).index_copy(2, self.place, angles)
            a = upper.unflatten(-1, (self.size, self.size))
            q = torch.linalg.matrix_exp(a - a.mT)
            # In float32 torch's exponential is 1e-7 too small, always; a step of Newton's makes it orthogonal.
            return q + 0.5 * q @ (torch.eye(self.size, dtype=q.dtype, device=q.device) - q.mT @ q)

    def phrase(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Q(x_T) ... Q(x_1) for x (batch, time, width): (batch, size, size); the order of words is that of factors."""
        turns = self.rotations(x, mask=mask)
        while turns.shape[1] > 1:  # neighbours two by two, the later on the left
            pairs = turns[:, 1::2] @ turns[:, : turns.shape[1] // 2 * 2 : 2]
            turns = pairs if turns.shape[1] % 2 == 0 else torch.cat([pairs, turns[:, -1:]], 1)
        return turns[:, 0]


def effect(rotation: Tensor) -> Tensor:
    """How much a word does, whatever stands before it: the distance of its rotation (..., size, size) from the
    identity, |Q - I|; from 0 to 2 sqrt(size).
    """
    return torch.linalg.matrix_norm(rotation - torch.eye(rotation.shape[-1], dtype=rotation.dtype))


def similarity(a: Tensor, b: Tensor) -> Tensor:
    """<Q, Q'> / size of rotations (..., size, size): the mean cosine of where they take a state; 1 if equal."""
    return (a * b).sum((-2, -1)) / a.shape[-1]


def _cascade(angles: Tensor, size: int) -> Tensor:
    """The product of ``size`` layers of plane rotations: angles (..., size (size - 1) / 2) to (..., size, size)."""
    q = torch.eye(size, dtype=angles.dtype, device=angles.device).expand(*angles.shape[:-1], size, size)
    for layer, turned in enumerate(angles.split([(size - layer % 2) // 2 for layer in range(size)], -1)):
        first, pairs = layer % 2, turned.shape[-1]
        cos, sin = turned.cos()[..., None], turned.sin()[..., None]
        middle = q[..., first : first + 2 * pairs, :].unflatten(-2, (pairs, 2))
        a, b = middle.unbind(-2)  # (..., pairs, size)
        both = torch.stack([cos * a - sin * b, sin * a + cos * b], -2).flatten(-3, -2)
        q = torch.cat([q[..., :first, :], both, q[..., first + 2 * pairs :, :]], -2)
    return q


def _turn(given: Memory, memory: Memory) -> tuple[Tensor, Memory]:
    s = torch.bmm(given[0], memory[0][..., None])[..., 0]  # (batch, size)
    return s, (s,)


def _prefix_products(turns: Tensor, start: Tensor, empty: Tensor, reset: Tensor | None) -> Tensor:
    """s after every position, (batch, time, size), from the products of all rotations of its document so far."""
    fresh = turns.new_zeros(turns.shape[:2], dtype=torch.bool) if reset is None else reset  # begun since the first one
    step = 1
    while step < turns.shape[1]:
        longer = turns[:, step:] @ turns[:, :-step]
        if reset is not None:
            longer = torch.where(fresh[:, step:, None, None], turns[:, step:], longer)
            fresh = torch.cat([fresh[:, :step], fresh[:, step:] | fresh[:, :-step]], 1)
        turns = torch.cat([turns[:, :step], longer], 1)
        step *= 2
    begin = torch.where(fresh[..., None], empty[:, None], start[:, None])  # (batch, time, size)
    return (turns @ begin[..., None])[..., 0]
