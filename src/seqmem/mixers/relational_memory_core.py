"""A memory whose slots attend to each other. Relational recurrent neural networks (2018), arXiv 1806.01822."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._shared import at_padding, resume
from seqmem.mixers._stepwise import Memory, step_by_step
from seqmem.mixers.base import Mixer


class RelationalMemoryCoreState(NamedTuple):
    """memory: (batch, slots, heads * head)."""

    memory: Tensor


class RelationalMemoryCore(Mixer):
    """A matrix of memories that attends to itself and the input, and is written through gates (Relational recurrent
    neural networks, 2018, arXiv 1806.01822):

        M~ = softmax(M W_q ([M; x] W_k)^T / sqrt(head)) [M; x] W_v        for each head, x = W_x x_t
        M~ = norm(M + M~)        M~ = norm(M~ + MLP(M~))                  MLP: two layers, the same for every row
        i = sigmoid(x W_i + tanh(M) U_i + b_i)        f = sigmoid(x W_f + tanh(M) U_f + b_f)
        M' = f * M + i * tanh(M~)        y_t = W_o M'

    M: ``slots`` rows of ``heads`` times ``head`` numbers; all of M' is read out. ``gate``: "unit", one for every
    number, or "memory", one for a row. ``heads``, ``head``: of the attention. M starts as the first rows of the
    identity, b_f as 1, b_i as 0; weights as torch's linear maps do. (The authors' code also normalises queries, keys
    and values, of which the paper does not speak.)

    form: "recurrent", the only one, a loop over time in PyTorch; what the input gives to keys, values and gates is
    computed beforehand for all positions.
    """

    forms: ClassVar[tuple[str, ...]] = ("recurrent",)

    def __init__(
        self,
        width: int,
        *,
        slots: int = 4,
        heads: int = 2,
        head: int = 16,
        gate: Literal["unit", "memory"] = "unit",
    ) -> None:
        super().__init__(width)
        if min(slots, heads, head) < 1:
            raise InputError(
                f"RelationalMemoryCore: slots {slots}, heads {heads}, head {head}; expected at least 1 of each"
            )
        if gate not in ("unit", "memory"):
            raise InputError(f"RelationalMemoryCore: gate is {gate!r}, expected 'unit' or 'memory'")
        self.slots, self.heads, self.head = slots, heads, head
        row = heads * head
        self.gate_size = row if gate == "unit" else 1
        self.inputs = nn.Linear(width, row)  # W_x
        self.query_key_value = nn.Linear(row, 3 * row, bias=False)
        self.attended_norm, self.mlp_norm = nn.LayerNorm(row), nn.LayerNorm(row)
        self.mlp = nn.Sequential(nn.Linear(row, row), nn.ReLU(), nn.Linear(row, row))
        self.input_gates = nn.Linear(row, 2 * self.gate_size)  # W_i, W_f and the biases
        self.memory_gates = nn.Linear(row, 2 * self.gate_size, bias=False)  # U_i, U_f
        self.out = nn.Linear(slots * row, width)
        with torch.no_grad():
            self.input_gates.bias[: self.gate_size] = 0
            self.input_gates.bias[self.gate_size :] = 1

    def initial_state(self, batch_size: int) -> RelationalMemoryCoreState:
        """The first rows of the identity: slots that can be told apart."""
        weight = self.out.weight
        memory = torch.eye(self.slots, self.heads * self.head, dtype=weight.dtype, device=weight.device)
        return RelationalMemoryCoreState(memory.expand(batch_size, -1, -1).clone())

    def forward(
        self,
        x: Tensor,
        state: RelationalMemoryCoreState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, RelationalMemoryCoreState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        state = resume(self, state, x)
        row = self.inputs(at_padding(x, mask, 0))  # (batch, time, heads * head)
        key_value = F.linear(row, self.query_key_value.weight[self.heads * self.head :])
        given = [part[:, :, None].to(self.out.weight.dtype) for part in (key_value, self.input_gates(row))]
        memory, last = step_by_step(self._step, given, state, self.initial_state(x.shape[0]), mask, reset)
        return self.out(memory.flatten(2)), RelationalMemoryCoreState(*last)

    def _step(self, given: Memory, memory: Memory) -> tuple[Tensor, Memory]:
        (key_value, gates), (m,) = given, memory  # (batch, 1, 2 row), (batch, 1, 2 gates), (batch, slots, row)
        row = m.shape[2]
        query, own = F.linear(m, self.query_key_value.weight).split((row, 2 * row), 2)
        query = query.view(-1, self.slots, self.heads, self.head).transpose(1, 2)
        both = torch.cat([own, key_value], 1).view(-1, self.slots + 1, 2, self.heads, self.head)
        key, value = both.permute(2, 0, 3, 1, 4).unbind(0)  # (batch, heads, slots + 1, head)
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        new = self.attended_norm(m + attended)
        new = self.mlp_norm(new + self.mlp(new))
        i, f = torch.sigmoid(gates + self.memory_gates(torch.tanh(m))).chunk(2, -1)
        m = f * m + i * torch.tanh(new)
        return m, (m,)
