"""patch_state: another memory, and the model reads on from there; a read-out that is patched leaves it alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seqmem.errors import InputError
from seqmem.interp import intervene, patch_state, state_at
from seqmem.mixers.state import map_state
from tests.interp.families import EVERY, draw, make


def _states(model: Any, tokens: torch.Tensor, position: int) -> list[Any]:
    layers = len(model.layers) if hasattr(model, "layers") else model.config.num_hidden_layers
    return [state_at(model, tokens, layer, position) for layer in range(layers)]


@pytest.mark.parametrize("name", EVERY)
def test_its_own_state_changes_nothing(name: str) -> None:
    model, tokens = make(name), draw()
    with torch.no_grad():
        plain = model(tokens).logits
    for layer in (0, 1):
        state = state_at(model, tokens, layer, 5)
        torch.testing.assert_close(patch_state(model, tokens, layer, 5, state), plain, rtol=1e-3, atol=2e-4)
        same = patch_state(model, tokens, layer, 5, lambda state: state)
        torch.testing.assert_close(same, plain, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("name", EVERY)
def test_another_texts_state_in_every_layer_is_that_text(name: str) -> None:
    """With the memory of another beginning in the only layer, what comes is what comes after that beginning."""
    model, one, other = make(name), draw(seed=0), draw(seed=1)
    other[:, 6:] = one[:, 6:]
    with torch.no_grad():
        plain, wanted = model(one).logits, model(other).logits
    patched = patch_state(model, one, 1, 5, state_at(model, other, 1, 5))
    torch.testing.assert_close(patched[:, :6], plain[:, :6], rtol=1e-3, atol=2e-4)
    assert (patched[:, 6:] - plain[:, 6:]).abs().max() > 1e-4
    from seqmem.interp.families import memory_of

    with torch.no_grad():
        memory = memory_of(model, 2)
        memory.feed(one[:, :6])
        for layer, state in enumerate(_states(model, other, 5)):
            memory = _replaced(model, memory, one, other, layer, state)
        after = memory.feed(one[:, 6:])
    torch.testing.assert_close(after, wanted[:, 6:], rtol=1e-3, atol=2e-4)


def _replaced(model: Any, memory: Any, one: Any, other: Any, layer: int, state: Any) -> Any:
    memory.put(layer, state)
    return memory


@pytest.mark.parametrize("name", EVERY)
def test_a_read_out_is_another_operation_than_a_write(name: str) -> None:
    model, tokens = make(name), draw()
    before = state_at(model, tokens, 1, 10)

    def silence(value: torch.Tensor) -> torch.Tensor:
        value[:, 5] = 0
        return value

    with intervene(model, {"layers.1.mixer.out": silence}):
        kept = state_at(model, tokens, 1, 10)
    for one, other in zip(_flat(before), _flat(kept), strict=True):
        if name == "rwkv":  # its MLP remembers its own input of the step before
            continue
        torch.testing.assert_close(one, other)
    with torch.no_grad():
        plain = model(tokens).logits
        with intervene(model, {"layers.1.mixer.out": silence}):
            read_out = model(tokens).logits
    moved = (read_out - plain).abs().amax((0, 2)) > 1e-5
    wrote = patch_state(model, tokens, 1, 5, lambda state: map_state(torch.zeros_like, state))
    forgot = (wrote - plain).abs().amax((0, 2)) > 1e-5
    assert moved[5]
    assert not moved[:5].any()
    if name != "rwkv":
        assert not moved[6:].any()  # only this step, as the layer is the last one
    assert not forgot[:6].any()
    assert forgot[6]


def _flat(state: Any) -> list[torch.Tensor]:
    from seqmem.mixers.state import tensors

    return list(tensors(state))


def test_bad_input() -> None:
    model, tokens = make("gru"), draw()
    with pytest.raises(InputError, match="expected 0 to 10"):
        state_at(model, tokens, 0, 11)
    with pytest.raises(InputError, match="expected 0 to 1"):
        state_at(model, tokens, 2, 3)
    with pytest.raises(InputError, match="take it from"):
        patch_state(model, tokens, 0, 3, state_at(model, tokens[:1], 0, 3))
    with pytest.raises(InputError, match="not made of tensors"):
        patch_state(model, tokens, 0, 3, "state")  # type: ignore[arg-type]
