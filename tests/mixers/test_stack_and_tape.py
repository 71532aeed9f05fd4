"""Stack and tape against loops over single cells, and against a stack and a tape of plain Python."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.mixers.stack_rnn import KEEP, POP, PUSH, StackRNN, StackRNNState
from seqmem.mixers.tape_rnn import TapeRNN, TapeRNNState
from seqmem.testing import check_mixer


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("stacks", [1, 2])
def test_stack_cell_by_cell(stacks: int, nonlinearity: Any, generator: torch.Generator) -> None:
    depth, cell = 5, 3
    mixer = StackRNN(6, hidden=4, stacks=stacks, depth=depth, cell=cell, nonlinearity=nonlinearity).double()
    x = torch.randn(2, 8, 6, generator=generator, dtype=torch.float64)
    h = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    stack = torch.randn(2, stacks, depth, cell, generator=generator, dtype=torch.float64)
    y, state = mixer(x, StackRNNState(h, stack))
    for t in range(8):
        seen = torch.cat([h, *(stack[:, k, 0] for k in range(stacks))], 1)
        h = mixer.inputs(x[:, t]) + seen @ mixer.recurrent.weight.T
        h = h.tanh() if nonlinearity == "tanh" else h.relu()
        after = torch.empty_like(stack)
        for k, part in enumerate(mixer.interface(h).chunk(stacks, 1)):
            a = part[:, :3].softmax(1)[..., None]  # (batch, 3, 1)
            for i in range(depth):
                above = part[:, 3:] if i == 0 else stack[:, k, i - 1]
                below = stack[:, k, i + 1] if i + 1 < depth else torch.zeros_like(above)
                after[:, k, i] = a[:, PUSH] * above + a[:, KEEP] * stack[:, k, i] + a[:, POP] * below
        stack = after
        torch.testing.assert_close(y[:, t], h @ mixer.out.weight.T, rtol=0, atol=1e-12)
    torch.testing.assert_close(state.stack, stack, rtol=0, atol=1e-12)
    torch.testing.assert_close(state.hidden, h, rtol=0, atol=1e-12)


def test_with_decided_actions_it_is_a_stack(generator: torch.Generator) -> None:
    """The first inputs say which action, the last what to push: the hidden layer hands both on."""
    mixer = StackRNN(4, depth=6, cell=1).double()
    with torch.no_grad():
        for weight in mixer.parameters():
            weight.zero_()
        mixer.inputs.weight.copy_(torch.eye(4))
        mixer.interface.weight[:3, :3] = 1e4 * torch.eye(3)  # one of the three is far ahead
        mixer.interface.weight[3, 3] = 1
    wanted: list[float] = []
    state, actions = None, [PUSH, PUSH, KEEP, PUSH, POP, PUSH, POP, POP, POP, POP, PUSH]
    for number, action in enumerate(actions):
        x = torch.zeros(1, 1, 4, dtype=torch.float64)
        x[..., action], x[..., 3] = 1, number / 10
        _, state = mixer(x, state)
        if action == PUSH:
            wanted.insert(0, torch.tensor(number / 10, dtype=torch.float64).tanh().item())
        elif action == POP and wanted:
            wanted.pop(0)
        assert state.stack[0, 0, :, 0].tolist() == pytest.approx([*wanted, *[0.0] * (6 - len(wanted))])


@pytest.mark.parametrize("jump", [0, 3])
@pytest.mark.parametrize("layers", [(), (5,), (4, 5)])
def test_tape_cell_by_cell(layers: tuple[int, ...], jump: int, generator: torch.Generator) -> None:
    mixer = TapeRNN(6, hidden=4, length=7, cell=3, jump=jump, write_layers=layers).double()
    x = torch.randn(2, 8, 6, generator=generator, dtype=torch.float64)
    h = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    tape = torch.randn(2, 7, 3, generator=generator, dtype=torch.float64)
    y, state = mixer(x, TapeRNNState(h, tape))
    linear = [part for part in mixer.write if isinstance(part, torch.nn.Linear)]
    for t in range(8):
        h = (mixer.inputs(x[:, t]) + torch.cat([h, tape[:, 0]], 1) @ mixer.recurrent.weight.T).tanh()
        value: Tensor = h
        for number, part in enumerate(linear):
            value = part(value if number == 0 else value.relu())
        tape = torch.cat([value[:, None], tape[:, 1:]], 1)
        moves = mixer.actions(h).softmax(1)
        shifts = [0, -1, 1, -jump, jump][: moves.shape[1]]
        tape = sum(moves[:, k, None, None] * tape.roll(by, 1) for k, by in enumerate(shifts))  # type: ignore[assignment]
        torch.testing.assert_close(y[:, t], h @ mixer.out.weight.T, rtol=0, atol=1e-12)
    torch.testing.assert_close(state.tape, tape, rtol=0, atol=1e-12)
    assert moves.shape[1] == (5 if jump else 3)


def test_options_hold_the_contract() -> None:
    check_mixer(lambda w: StackRNN(w, stacks=2, depth=3, cell=2, nonlinearity="relu"), width=8, points=[4, 5])
    check_mixer(lambda w: TapeRNN(w, length=5, cell=2, jump=2, hidden=6, write_layers=()), width=8, points=[4, 5])


def test_impossible_memories_are_refused() -> None:
    with pytest.raises(InputError, match="depth 0"):
        StackRNN(8, depth=0)
    with pytest.raises(InputError, match="jump 64"):
        TapeRNN(8, jump=64)
    with pytest.raises(InputError, match="'sigmoid'"):
        TapeRNN(8, nonlinearity="sigmoid")  # type: ignore[arg-type]
