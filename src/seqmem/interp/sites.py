"""The sites of a model: one vocabulary for every family.

| site | value |
| --- | --- |
| ``layers.3.resid.in``, ``layers.3.resid.out`` | the residual stream before and after the layer, (batch, time, width) |
| ``layers.3.mixer.in``, ``layers.3.mixer.out`` | what the sequence mixer reads and returns, (batch, time, width) |
| ``layers.3.mlp.out`` | what the MLP returns, (batch, time, width) |
| ``layers.3.heads.out`` | before the output projection, (batch, time, heads, head); of a recurrence, channels |
| ``layers.3.attention`` | explicit or exact implicit attention, (batch, heads, time, time) |
| ``layers.3.state`` | what the layer remembers at the end of the call; read only, see ``patch_state`` |

``*`` in place of the number means every layer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from torch import nn

from seqmem.errors import InputError, did_you_mean
from seqmem.interp.families import Layer, layers_of

NAMES = {
    "resid.in": "(batch, time, width)",
    "resid.out": "(batch, time, width)",
    "mixer.in": "(batch, time, width)",
    "mixer.out": "(batch, time, width)",
    "mlp.out": "(batch, time, width)",
    "heads.out": "(batch, time, heads, head)",
    "attention": "(batch, heads, time, time)",
    "state": "a tensor or a tuple of tensors, batch first",
}


class Site(NamedTuple):
    """One line of :func:`sites`: ``reason`` says why a site is missing, and is empty where it is there."""

    name: str
    shape: str
    reason: str


def sites(model: nn.Module) -> list[Site]:
    """Every site of every layer, with its shape, and the reason where a layer lacks it."""
    return [
        Site(f"layers.{layer.index}.{name}", shape, layer.lacks.get(name, ""))
        for layer in layers_of(model)
        for name, shape in NAMES.items()
    ]


def resolve(model: nn.Module, patterns: Iterable[str]) -> list[tuple[str, Layer, str]]:
    """(full name, layer, site) for every layer that a pattern names."""
    layers, found = layers_of(model), []
    for pattern in patterns:
        root, _, rest = pattern.partition(".")
        number, _, site = rest.partition(".")
        if root != "layers" or site not in NAMES or not (number == "*" or number.isdecimal()):
            near = did_you_mean(site, NAMES)
            raise InputError(f"unknown site '{pattern}'.{near} Sites: layers.N or layers.*, then {', '.join(NAMES)}")
        if number != "*" and int(number) >= len(layers):
            raise InputError(f"'{pattern}': the model has layers 0 to {len(layers) - 1}")
        for layer in layers if number == "*" else [layers[int(number)]]:
            if site in layer.lacks:
                raise InputError(f"layers.{layer.index}.{site} does not exist: {layer.lacks[site]}")
            found.append((f"layers.{layer.index}.{site}", layer, site))
    return found
