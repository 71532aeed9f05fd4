"""ablate_heads: the same as a zero in the output projection's weights."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from seqmem.errors import InputError
from seqmem.interp import ablate_heads, intervene, record, sites
from seqmem.interp.families import layers_of
from tests.interp.families import EVERY, draw, make

HEADED = [n for n in EVERY if not any(s.reason for s in sites(make(n)) if s.name.endswith("heads.out"))]
#: what is read out is also fed back, through the same weights: without them the memory is another one
FED_BACK = ("jordan",)


def _without(model: Any, layer: int, channels: slice) -> Any:
    other = copy.deepcopy(model)
    out: Any = layers_of(other)[layer].out
    with torch.no_grad():
        if type(out).__name__ == "Conv1D":  # GPT-2's, (in, out)
            out.weight[channels] = 0
        else:
            out.weight[:, channels] = 0
    return other


@pytest.mark.parametrize("name", [name for name in HEADED if name not in FED_BACK])
def test_a_head_taken_out_is_a_zero_in_the_projection(name: str) -> None:
    model, tokens = make(name), draw()
    with torch.no_grad(), record(model, "layers.1.heads.out") as trace:
        model(tokens)
    out = trace["layers.1.heads.out"]  # (batch, time, heads, size)
    size, head = out.shape[3], int(out.abs().sum((0, 1, 3)).argmax())  # one that does something
    with torch.no_grad(), ablate_heads(model, {1: [head]}):
        got = model(tokens).logits
    with torch.no_grad():
        plain = model(tokens).logits
        if isinstance(layers_of(model)[1].out, nn.Identity):  # then the channels are those that the mixer returns
            with intervene(model, {"layers.1.mixer.out": lambda x: x * (torch.arange(16) != head)}):
                wanted = model(tokens).logits
        else:
            wanted = _without(model, 1, slice(head * size, (head + 1) * size))(tokens).logits
    torch.testing.assert_close(got, wanted)
    assert (got - plain).abs().max() > 0


def test_the_mean_of_a_reference_and_of_the_call() -> None:
    model, tokens, reference = make("gpt2"), draw(), draw(4, 9, seed=3)
    with torch.no_grad(), record(model, "layers.0.heads.out") as trace:
        model(reference)
    mean = trace["layers.0.heads.out"].mean((0, 1))
    ablated = ablate_heads(model, {0: [1]}, "mean", reference=reference)
    with torch.no_grad(), ablated, record(model, "layers.0.heads.out") as seen:
        model(tokens)
    torch.testing.assert_close(seen["layers.0.heads.out"][:, :, 1], mean[1].expand(2, 11, 4))
    with torch.no_grad(), record(model, "layers.0.heads.out") as before:
        model(tokens)
    torch.testing.assert_close(seen["layers.0.heads.out"][:, :, 0], before["layers.0.heads.out"][:, :, 0])
    with torch.no_grad(), ablate_heads(model, {0: [1]}, "mean"), record(model, "layers.0.heads.out") as own:
        model(tokens)
    torch.testing.assert_close(own["layers.0.heads.out"][0, 0, 1], before["layers.0.heads.out"].mean((0, 1))[1])


def test_bad_input() -> None:
    model, tokens = make("gpt2"), draw()
    with pytest.raises(InputError, match="'zero' or 'mean'"), ablate_heads(model, {0: [0]}, "noise"):
        pass
    with pytest.raises(InputError, match="heads 0 to 3, head 4"), ablate_heads(model, {0: [4]}):
        model(tokens)
    with pytest.raises(InputError, match="layers 0 to 1"), ablate_heads(model, {5: [0]}):
        pass
    with pytest.raises(InputError, match="mode='mean'"), ablate_heads(model, {0: [0]}, reference=tokens):
        pass
