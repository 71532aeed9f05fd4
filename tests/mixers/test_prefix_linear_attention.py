"""Prefix linear attention against a loop over pairs of positions, and read on from its state."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.mixers.prefix_linear_attention import PrefixLinearAttention, taylor
from seqmem.models import SequenceConfig, SequenceLM


def layer(prefix: int = 4, features: int = 3) -> PrefixLinearAttention:
    torch.manual_seed(1)
    return PrefixLinearAttention(8, heads=2, features=features, prefix=prefix).double()


@torch.no_grad()
def loop(mixer: PrefixLinearAttention, x: Tensor, prefix: int) -> Tensor:
    """One text (time, width), pair by pair, with the kernel written as the polynomial that it is."""
    size, time = mixer.features, len(x)

    def heads(weight: Tensor, h: int, parts: tuple[int, ...]) -> tuple[Tensor, ...]:
        return (x @ weight.T).view(time, mixer.heads, -1)[:, h].split(parts, -1)

    outputs = []
    for h in range(mixer.heads):
        (q,) = heads(mixer.query.weight, h, (size,))
        k, v = heads(mixer.write.weight, h, (size, mixer.value))
        o = torch.zeros(time, mixer.value, dtype=x.dtype)
        for i in range(time):
            pairs = [(k[j], v[j]) for j in range(i + 1)]
            if mixer.encode is not None:
                ke, ve = heads(mixer.encode.weight, h, (size, mixer.value))
                pairs += [(ke[j], ve[j]) for j in range(min(prefix, time))]
            scores = [float(q[i] @ key) / math.sqrt(size) for key, _ in pairs]
            weights = [1 + s + s * s / 2 for s in scores]
            o[i] = sum(w * value for w, (_, value) in zip(weights, pairs, strict=True)) / sum(weights)
        outputs.append(o)
    return torch.cat(outputs, -1) @ mixer.out.weight.T


def test_the_features_are_the_polynomial(generator: torch.Generator) -> None:
    q, k = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
    s = (q * k).sum(-1) / 2
    torch.testing.assert_close((taylor(q) * taylor(k)).sum(-1), 1 + s + s**2 / 2)


@pytest.mark.parametrize("form", PrefixLinearAttention.forms)
@pytest.mark.parametrize("prefix", [0, 1, 4, 9, 20])
def test_it_is_the_equation(prefix: int, form: str, generator: torch.Generator) -> None:
    mixer = layer(prefix)
    x = torch.randn(2, 9, 8, generator=generator, dtype=torch.float64)
    expected = torch.stack([loop(mixer, row, prefix) for row in x])
    torch.testing.assert_close(mixer(x, form=form)[0], expected, rtol=1e-9, atol=1e-11)


def test_after_the_prefix_it_is_a_recurrence(generator: torch.Generator) -> None:
    mixer = layer(4)
    x = torch.randn(2, 9, 8, generator=generator, dtype=torch.float64)
    whole, last = mixer(x)
    y, state = mixer(x[:, :5])
    ys = [y]
    for t in range(5, 9):
        y, state = mixer(x[:, t : t + 1], state)
        ys.append(y)
    torch.testing.assert_close(torch.cat(ys, 1), whole, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(state.memory, last.memory, rtol=1e-10, atol=1e-12)


def test_the_prefix_is_seen_as_a_whole_and_nothing_beyond_it(generator: torch.Generator) -> None:
    mixer = layer(4)
    x = torch.randn(1, 9, 8, generator=generator, dtype=torch.float64)
    y = mixer(x)[0]
    for changed, seen_from in ((3, 0), (4, 4), (7, 7)):
        other = x.clone()
        other[:, changed] += 1
        same = (mixer(other)[0] == y).all(-1)[0]
        assert same.tolist() == [t < seen_from for t in range(9)]
    assert not mixer.causal
    assert layer(0).causal


def test_a_short_prompt_is_padded_on_the_left(generator: torch.Generator) -> None:
    mixer = layer(4)
    x = torch.randn(1, 7, 8, generator=generator, dtype=torch.float64)
    mask = torch.tensor([[False, False, True, True, True, True, True]])
    y, state = mixer(x, mask=mask)
    torch.testing.assert_close(y[:, 2:], torch.stack([loop(mixer_of(mixer, 2), x[0, 2:], 2)]), rtol=1e-9, atol=1e-11)
    only_padding = mixer(x[:, :3], mask=torch.zeros(1, 3, dtype=torch.bool))[1]
    assert not only_padding.begun.any()  # the text, and its prefix, is still to come
    assert state.begun.all()
    assert y.isfinite().all()


def mixer_of(mixer: PrefixLinearAttention, prefix: int) -> PrefixLinearAttention:
    """The same weights with another prefix."""
    made = PrefixLinearAttention(8, heads=2, features=mixer.features, prefix=prefix).double()
    made.load_state_dict(mixer.state_dict())
    return made


def test_a_new_document_sees_nothing_of_the_old_one(generator: torch.Generator) -> None:
    mixer = layer(4)
    x = torch.randn(1, 9, 8, generator=generator, dtype=torch.float64)
    reset = torch.zeros(1, 9, dtype=torch.bool)
    reset[:, 2] = True
    y, _ = mixer(x, reset=reset)
    torch.testing.assert_close(y[0, :2], loop(mixer, x[0, :2], 2), rtol=1e-9, atol=1e-11)
    causal = mixer_of(mixer, 1)
    causal.encode = None  # what begins within a call has no encoder
    torch.testing.assert_close(y[0, 2:], loop(causal, x[0, 2:], 0), rtol=1e-9, atol=1e-11)
    _, before = mixer(torch.randn(1, 5, 8, generator=generator, dtype=torch.float64))
    reset = torch.zeros(1, 9, dtype=torch.bool)
    reset[:, 0] = True
    torch.testing.assert_close(mixer(x, before, reset=reset)[0], mixer(x)[0], rtol=1e-10, atol=1e-12)


def test_gradients_reach_the_encoder(generator: torch.Generator) -> None:
    mixer = layer(4)
    x = torch.randn(1, 6, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: mixer(x)[0], (x,))
    mixer(x)[0].sum().backward()
    assert mixer.encode is not None
    assert mixer.encode.weight.grad is not None
    assert mixer.encode.weight.grad.abs().max() > 0


def test_a_model_made_of_it_generates(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    lm = SequenceLM(
        SequenceConfig(vocab_size=11, width=8, layers=[{"name": "prefix_linear_attention", "prefix": 6}] * 2)
    ).eval()
    prompt = torch.randint(11, (2, 6), generator=generator)
    said = lm.generate(prompt, max_new_tokens=4, do_sample=False, pad_token_id=0)
    for t in range(6, 10):  # with the cache it says what it says when it reads all at once
        assert torch.equal(lm.run(said[:, :t])[0][:, -1].argmax(-1), said[:, t])


def test_bad_sizes_say_so() -> None:
    for options, says in (
        ({"prefix": -1}, "prefix is -1, expected a whole number from 0 on"),
        ({"features": 0}, "features is 0, expected a whole number from 1 on"),
        ({"heads": 3}, "width 8 is not divisible by heads 3"),
    ):
        with pytest.raises(InputError, match=says):
            PrefixLinearAttention(8, **options)
    with pytest.raises(InputError, match="an attention matrix exists with 0 alone"):
        layer(2).attention(torch.zeros(1, 3, 8, dtype=torch.float64))
