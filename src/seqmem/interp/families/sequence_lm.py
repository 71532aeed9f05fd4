"""seqmem's own :class:`seqmem.models.SequenceLM`: the mixers offer ``attention(x)`` and ``read(x, attention)``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seqmem.interp.families.layer import Call, Layer
from seqmem.mixers.state import State, map_state

HEADED = (
    "Attention",
    "LocalAttention",
    "LinearAttention",
    "Retention",
    "DeltaNet",
    "GatedDeltaNet",
    "Mamba2",
    "ForgetfulMamba2",
    "MLSTM",
    "PrefixLinearAttention",
)


def layers(model: Any) -> list[Layer]:
    """One :class:`Layer` per block."""
    return [_layer(index, block) for index, block in enumerate(model.layers)]


def _layer(index: int, block: Any) -> Layer:
    mixer = block.mixer
    kind = type(mixer).__name__
    lacks = {}
    offers = callable(getattr(mixer, "attention", None)) and callable(getattr(mixer, "read", None))
    if not offers:
        lacks["attention"] = f"{kind} has no exact attention matrix: its memory is not linear in what is written"
    if block.mlp is None:
        lacks["mlp.out"] = "the model was built with mlp_width = 0"
    out = getattr(mixer, "out", None)
    if not isinstance(out, nn.Module):
        lacks["heads.out"] = f"{kind} has no output projection named `out`"
    headed = kind in HEADED
    return Layer(
        index,
        block,
        mixer,
        block.mlp,
        out if isinstance(out, nn.Module) else nn.Identity(),
        mixer.heads if headed else 0,  # 0: as many as there are channels
        not headed,
        _attention if offers else None,
        _read if offers else None,
        lambda args, kwargs: len(args) > 1 and args[1] is not None,
        lambda call: call.output[1],
        lacks,
    )


def _documents(call: Call) -> dict[str, Tensor]:
    """mask and reset, where they were given."""
    return {name: call.kwargs[name] for name in ("mask", "reset") if call.kwargs.get(name) is not None}


def _attention(call: Call, channels: slice) -> Tensor:
    mixer = call.kwargs["mixer"]
    return mixer.attention(call.x, **_documents(call))[:, channels]


def _read(call: Call, attention: Tensor) -> Tensor:
    mixer = call.kwargs["mixer"]
    if type(mixer).__name__ in ("Attention", "LocalAttention"):  # values do not depend on the documents
        return mixer.read(call.x, attention)
    return mixer.read(call.x, attention, **_documents(call))


class Memory:
    """The states of ``model.run``."""

    def __init__(self, model: Any, batch: int) -> None:
        self.model = model
        self.states: tuple[State, ...] | None = None

    def feed(self, tokens: Tensor) -> Tensor:
        logits, self.states = self.model.run(tokens, self.states)
        return logits

    def get(self, layer: int) -> State:
        assert self.states is not None  # feed() comes first
        return map_state(torch.clone, self.states[layer])

    def put(self, layer: int, state: State) -> None:
        assert self.states is not None
        self.states = (*self.states[:layer], state, *self.states[layer + 1 :])
