"""The relational memory core against torch's multi-head attention and the gates written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seqmem.errors import InputError
from seqmem.mixers.relational_memory_core import RelationalMemoryCore


@pytest.mark.parametrize("gate", ["unit", "memory"])
def test_equal_to_multi_head_attention_and_gates(gate: Any, generator: torch.Generator) -> None:
    mixer = RelationalMemoryCore(5, slots=3, heads=2, head=4, gate=gate).double()
    attention = nn.MultiheadAttention(8, 2, bias=False, batch_first=True).double()
    with torch.no_grad():
        for weight in mixer.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
        attention.in_proj_weight.copy_(mixer.query_key_value.weight)
        attention.out_proj.weight.copy_(torch.eye(8))
    x = torch.randn(2, 6, 5, generator=generator, dtype=torch.float64)
    y, state = mixer(x)
    m = torch.eye(8, dtype=torch.float64)[:3].expand(2, 3, 8)
    size = 8 if gate == "unit" else 1
    for t in range(6):
        row = mixer.inputs(x[:, t : t + 1])
        everything = torch.cat([m, row], 1)
        # all rows ask, as in the authors' code; the input's own answer is dropped
        new = everything + attention(everything, everything, everything, need_weights=False)[0]
        new = F.layer_norm(new, (8,), mixer.attended_norm.weight, mixer.attended_norm.bias)
        first, _, second = mixer.mlp
        new = F.layer_norm(new + second(first(new).relu()), (8,), mixer.mlp_norm.weight, mixer.mlp_norm.bias)[:, :3]
        gates = row @ mixer.input_gates.weight.T + mixer.input_gates.bias + m.tanh() @ mixer.memory_gates.weight.T
        m = gates[..., size:].sigmoid() * m + gates[..., :size].sigmoid() * new.tanh()
        torch.testing.assert_close(y[:, t], mixer.out(m.flatten(1)), rtol=0, atol=1e-12)
    torch.testing.assert_close(state.memory, m, rtol=0, atol=1e-12)


def test_begins_as_in_its_paper() -> None:
    mixer = RelationalMemoryCore(8, slots=4, heads=2, head=3)
    assert torch.equal(mixer.initial_state(2).memory[1], torch.eye(6)[:4])
    assert mixer.input_gates.bias.tolist() == [0] * 6 + [1] * 6
    assert RelationalMemoryCore(8, slots=7, heads=1, head=2).initial_state(1).memory.sum() == 2


def test_impossible_memories_are_refused() -> None:
    with pytest.raises(InputError, match="slots 0"):
        RelationalMemoryCore(8, slots=0)
    with pytest.raises(InputError, match="'slot'"):
        RelationalMemoryCore(8, gate="slot")  # type: ignore[arg-type]
