"""The families of models that can be looked into, in one table; one file says where a family keeps what."""

from __future__ import annotations

import importlib
from typing import Any

from seqmem.errors import InputError
from seqmem.interp.families.layer import Call, Layer, Memory

__all__ = ["FAMILIES", "Call", "Layer", "Memory", "layers_of", "memory_of"]

FAMILIES: dict[str, tuple[str, str]] = {  # model_type -> file, function that lists the layers
    "seqmem": ("sequence_lm", "layers"),
    "gpt2": ("transformer", "gpt2_layers"),
    "llama": ("transformer", "llama_layers"),
    "mamba": ("mamba", "mamba_layers"),
    "mamba2": ("mamba", "mamba2_layers"),
    "rwkv": ("rwkv", "layers"),
    "recurrent_gemma": ("recurrent_gemma", "layers"),
}
_ROOTS = {
    "seqmem": "layers",
    "gpt2": "transformer",
    "mamba": "backbone",
    "mamba2": "backbone",
    "rwkv": "rwkv",
}


def layers_of(model: Any) -> list[Layer]:
    """The layers of a causal language model, bottom first. InputError for a family that is not in the table."""
    file, function = _family(model)
    return getattr(importlib.import_module(f"seqmem.interp.families.{file}"), function)(model)


def memory_of(model: Any, batch: int) -> Memory:
    """An empty memory for ``batch`` rows."""
    file, _ = _family(model)
    return importlib.import_module(f"seqmem.interp.families.{file}").Memory(model, batch)


def _family(model: Any) -> tuple[str, str]:
    kind = getattr(getattr(model, "config", None), "model_type", None)
    if kind not in FAMILIES:
        raise InputError(
            f"cannot look inside a {type(model).__name__} (model type {kind!r}); known families: {', '.join(FAMILIES)}"
        )
    if not hasattr(model, _ROOTS.get(kind, "model")):
        raise InputError(
            f"{type(model).__name__} is a bare backbone; give the causal language model with its head around it"
        )
    return FAMILIES[kind]
