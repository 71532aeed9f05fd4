"""The neural Turing machine against its equations, one head and one row at a time."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.errors import InputError
from seqmem.mixers.ntm import NTM
from seqmem.testing import check_mixer


def address(mixer: NTM, m: Tensor, before: Tensor, asked: dict[str, Tensor]) -> Tensor:
    """One head of one row of the batch: m (slots, cell), before (slots,) -> (slots,)."""
    n = mixer.slots
    alike = torch.stack([F.cosine_similarity(asked["k"], m[i], dim=0) for i in range(n)])
    content = (F.softplus(asked["beta"]) * alike).softmax(0)
    g, s = asked["g"].sigmoid(), asked["s"].softmax(0)
    w = g * content + (1 - g) * before
    shifted = [sum(w[(i - j) % n] * s[j + 1] for j in (-1, 0, 1)) for i in range(n)]
    sharp = torch.stack([torch.as_tensor(v) for v in shifted]) ** (1 + F.softplus(asked["gamma"]))
    return sharp / sharp.sum()


@pytest.mark.parametrize("heads", [1, 2])
def test_equal_to_the_equations(heads: int, generator: torch.Generator) -> None:
    mixer = NTM(5, hidden=4, slots=5, cell=3, heads=heads).double()
    with torch.no_grad():
        for weight in mixer.parameters():
            weight.add_(0.5 * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    x = torch.randn(2, 6, 5, generator=generator, dtype=torch.float64)
    y, state = mixer(x)
    every = heads + 1
    for row in range(2):
        answer, c = x.new_zeros(4 + heads * 3), x.new_zeros(4)
        m, weights = x.new_full((5, 3), 0.01), F.one_hot(torch.zeros(every, dtype=torch.long), 5).double()
        for t in range(6):
            i, f, o, g = (mixer.inputs(x[row, t]) + answer @ mixer.recurrent).chunk(4)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            ask = mixer.interface(h)
            k, rest = ask[: every * 3].view(every, 3), ask[every * 3 :]
            a, rest = rest[:3], rest[3:]
            s, rest = rest[: 3 * every].view(every, 3), rest[3 * every :]
            gates, e, strengths = rest[:every], rest[every : every + 3].sigmoid(), rest[every + 3 :].view(2, every)
            places = []
            for number in range(every):
                asked = {"k": k[number], "s": s[number], "g": gates[number]}
                asked |= {"beta": strengths[0, number], "gamma": strengths[1, number]}
                places.append(address(mixer, m, weights[number], asked))
            weights = torch.stack(places)
            write = weights[-1]
            m = torch.stack([m[i] * (1 - write[i] * e) + write[i] * a for i in range(5)])
            answer = torch.cat([h, *(weights[number] @ m for number in range(heads))])
            torch.testing.assert_close(y[row, t], mixer.out(answer), rtol=0, atol=1e-7)  # the cosine's epsilon
        torch.testing.assert_close(state.memory[row], m, rtol=0, atol=1e-7)
        torch.testing.assert_close(state.weights[row], weights, rtol=0, atol=1e-7)


def test_a_head_that_is_told_to_steps_round_the_ring() -> None:
    mixer = NTM(4, slots=6, cell=2)
    with torch.no_grad():
        mixer.interface.weight.zero_()
        mixer.interface.bias.zero_()
        _, _, shifts, squashed, _ = mixer.interface.bias.split(mixer.parts)
        shifts.copy_(torch.tensor([-50.0, -50.0, 50.0, 50.0, -50.0, -50.0]))  # reading goes up, writing goes down
        squashed[:2] = -50.0  # neither looks at contents
    state = None
    for t in range(1, 9):
        _, state = mixer(torch.randn(1, 1, 4), state)
        assert state.weights[0].argmax(1).tolist() == [t % 6, -t % 6]
        assert state.weights[0].amax(1).min() > 0.999


def test_more_heads_hold_the_contract() -> None:
    check_mixer(lambda width: NTM(width, heads=3, slots=4, cell=2, hidden=6), width=8, points=[3, 4])
    with pytest.raises(InputError, match="slots 0"):
        NTM(8, slots=0)
