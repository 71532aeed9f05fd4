"""Matrices with a decay per channel: the forms, GLA and HGRN2 against loops and flash-linear-attention."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import layer_norm, logsigmoid, normalize, rms_norm, silu

from seqmem.errors import InputError
from seqmem.mixers._channel_memory import explicit_channel_attention, write_and_read_channels
from seqmem.mixers.gla import GLA
from seqmem.mixers.hgrn2 import HGRN2
from seqmem.ops.gated_linear_attention import gated_linear_attention_reference
from seqmem.ops.generalized_delta_rule import generalized_delta_rule_reference
from tests.mixers.oracles import fla


def numbers(time: int, generator: torch.Generator) -> dict[str, Tensor]:
    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    removed = normalize(normal(2, time, 2, 4), dim=-1)
    return {
        "q": normal(2, time, 2, 4),
        "k": normal(2, time, 2, 4),
        "v": normal(2, time, 2, 3),
        "g": -2 * normal(2, time, 2, 4).abs(),
        "a": -removed,
        "b": removed * torch.rand(2, time, 2, 1, dtype=torch.float64, generator=generator),
        "s0": normal(2, 2, 4, 3),
        "bonus": normal(2, 4),
    }


@pytest.mark.parametrize("form", ["parallel", "chunk", "recurrent"])
@pytest.mark.parametrize("rule", ["plain", "bonus", "delta"])
@pytest.mark.parametrize("time", [1, 16, 41])
def test_forms_equal_the_loop(time: int, rule: str, form: str, generator: torch.Generator) -> None:
    x = numbers(time, generator)
    reset = torch.rand(2, time, generator=generator) < 0.1
    reset[0, 0] = True
    given = {"plain": {}, "bonus": {"bonus": x["bonus"]}, "delta": {"a": x["a"], "b": x["b"]}}[rule]
    four = x["q"], x["k"], x["v"], x["g"]
    o, s = write_and_read_channels(*four, x["s0"], reset=reset, form=form, **given)
    if rule == "delta":
        q, k, v, g = four
        expected, last = generalized_delta_rule_reference(q, k, v, x["a"], x["b"], g, x["s0"], reset)
    else:
        expected, last = gated_linear_attention_reference(*four, x["s0"], reset, given.get("bonus"))
    torch.testing.assert_close(o, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(s, last, rtol=1e-9, atol=1e-9)


def test_weights_of_strong_decay_are_exact(generator: torch.Generator) -> None:
    """Where products of decays would underflow when divided by one another, the chunk form still is right."""
    x = numbers(32, generator)
    g = x["g"] * 200
    o, _ = write_and_read_channels(x["q"], x["k"], x["v"], g, x["s0"], reset=None, form="chunk")
    expected, _ = gated_linear_attention_reference(x["q"], x["k"], x["v"], g, x["s0"])
    torch.testing.assert_close(o, expected, rtol=1e-9, atol=1e-9)
    attention = explicit_channel_attention(x["q"], x["k"], g, None)
    torch.testing.assert_close(attention.diagonal(dim1=2, dim2=3), (x["q"] * x["k"]).sum(-1).mT, rtol=1e-9, atol=1e-9)


def test_gla_is_its_equation(generator: torch.Generator) -> None:
    """One row, one head after the other, one position after the other."""
    torch.manual_seed(0)
    mixer = GLA(8, heads=2, expand_key=0.5, expand_value=1.5, gate_rank=3).double()
    x = torch.randn(1, 7, 8, dtype=torch.float64, generator=generator)
    q, k, v = (x[0] @ w.T for w in mixer.qkv.weight.split([4, 4, 12]))
    first, second = mixer.decay
    alpha = torch.sigmoid(x[0] @ first.weight.T @ second.weight.T + second.bias) ** (1 / 16)
    outputs = []
    for h in range(2):
        keys, values = slice(2 * h, 2 * h + 2), slice(6 * h, 6 * h + 6)
        s, rows = torch.zeros(2, 6, dtype=torch.float64), []
        for t in range(7):
            s = alpha[t, keys, None] * s + torch.outer(k[t, keys], v[t, values])
            rows.append(q[t, keys] @ s / 2**0.5)
        outputs.append(layer_norm(torch.stack(rows), (6,), mixer.norm.weight, mixer.norm.bias))
    expected = mixer.out(torch.cat(outputs, -1) * silu(mixer.gate(x[0])))
    torch.testing.assert_close(mixer(x)[0][0], expected, rtol=1e-9, atol=1e-9)


def test_gla_around_another_recurrence(generator: torch.Generator) -> None:
    naive = fla("ops/gla/naive.py")
    torch.manual_seed(0)
    mixer = GLA(8, heads=2)
    x = torch.randn(2, 33, 8, generator=generator)
    q, k, v = (part.unflatten(-1, (2, 4)) for part in mixer.qkv(x).chunk(3, -1))
    o, last = naive.naive_recurrent_gla(
        q, k, v, logsigmoid(mixer.decay(x)).unflatten(-1, (2, 4)) / 16, output_final_state=True
    )
    y, state = mixer(x)
    torch.testing.assert_close(y, mixer.out(mixer.norm(o).flatten(-2) * silu(mixer.gate(x))), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state.memory, last, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bound", [0.0, 0.3])
def test_hgrn2_is_its_equation(bound: float, generator: torch.Generator) -> None:
    torch.manual_seed(0)
    mixer = HGRN2(6, heads=2, lower_bound=bound).double()
    x = torch.randn(1, 7, 6, dtype=torch.float64, generator=generator)
    o, f, i = (x[0] @ w.T for w in mixer.ofi.weight.chunk(3))
    f, o = bound + (1 - bound) * torch.sigmoid(f), o * torch.sigmoid(o)
    y = torch.zeros(7, 6, dtype=torch.float64)
    for head in (slice(0, 3), slice(3, 6)):
        s = torch.zeros(3, 3, dtype=torch.float64)
        for t in range(7):
            s = f[t, head, None] * s + torch.outer(1 - f[t, head], i[t, head])
            y[t, head] = o[t, head] @ s
    expected = mixer.out(rms_norm(y, (6,), mixer.norm.weight, 1e-5))
    torch.testing.assert_close(mixer(x)[0][0], expected, rtol=1e-9, atol=1e-9)


def test_hgrn2_around_another_recurrence(generator: torch.Generator) -> None:
    naive = fla("ops/gla/naive.py")
    torch.manual_seed(0)
    mixer = HGRN2(8, heads=2)
    x = torch.randn(2, 33, 8, generator=generator)
    o, f, i = (part.unflatten(-1, (2, 4)) for part in mixer.ofi(x).chunk(3, -1))
    y, last = naive.naive_recurrent_gla(silu(o), 1 - f.sigmoid(), i, logsigmoid(f), output_final_state=True)
    expected = mixer.out(rms_norm((2 * y).flatten(-2), (8,), mixer.norm.weight, 1e-5))  # theirs divides o by sqrt(4)
    found, state = mixer(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state.memory, last, rtol=1e-4, atol=1e-5)


def test_hgrn2_never_forgets_faster_than_its_bound(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    mixer = HGRN2(6, heads=2, lower_bound=0.9)
    x = 1e3 * torch.randn(1, 2, 6, generator=generator)
    _, one = mixer(x[:, :1])
    _, two = mixer(x[:, 1:], one)
    _, alone = mixer(x[:, 1:])
    kept = (two.memory - alone.memory) / one.memory
    assert 0.899 < kept[one.memory != 0].min() < 0.901
    with pytest.raises(InputError, match="lower_bound is 1"):
        HGRN2(6, lower_bound=1)
