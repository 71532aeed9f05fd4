"""Equal parameters: how wide a mixer's model is, so that it has as many parameters as the attention stack of the
study's width.

The rule. The reference is a stack of ``attention`` at the study's width with the default SwiGLU (8/3 of the width).
Every other mixer keeps the width, and its MLP makes up the difference: parameters are linear in the MLP's width, so two
counts give it. Only where the mixer is so large that its MLP would be narrower than a quarter of the width is the width
reduced, to the largest that the mixer's constructor accepts and that leaves room for such an MLP. The count is that of
the whole model, embedding included.
"""

from __future__ import annotations

import functools
import json
from typing import Any, NamedTuple

from seqmem.errors import InputError

TOLERANCE = 0.05  # the largest relative difference of parameters that still counts as equal
LEAST_MLP = 4  # the MLP is at least width / LEAST_MLP wide


class Size(NamedTuple):
    """A model's width, its MLP's width and its number of trainable parameters."""

    width: int
    mlp_width: int
    parameters: int


def size(mixer: str, options: dict[str, Any], vocab_size: int, width: int, layers: int, short_conv: int = 0) -> Size:
    """The size at which ``mixer`` matches the attention stack of ``width`` within 5 %.

    Raises InputError when its constructor refuses the width or its options, or when no width down to an eighth gives a
    match.
    """
    return _size(mixer, json.dumps(options, sort_keys=True), vocab_size, width, layers, short_conv)


@functools.cache
def _size(mixer: str, options: str, vocab_size: int, width: int, layers: int, short_conv: int) -> Size:
    layer = {"name": mixer, **json.loads(options)}
    target = _reference(vocab_size, width, layers, short_conv)
    if layer == {"name": "attention"}:
        count = _count(layer, vocab_size, width, layers, short_conv, target.mlp_width)  # of its own number of heads
        return Size(width, target.mlp_width, count)
    nearest: Size | None = None
    for smaller in range(width, max(1, width // 8) - 1, -1):
        try:
            found = _match(layer, vocab_size, smaller, layers, short_conv, target.parameters)
        except InputError:
            if smaller == width:
                raise  # a width that was asked for is never changed because a layer refuses it
            continue
        if found.mlp_width >= smaller / LEAST_MLP and _difference(found, target) <= TOLERANCE:
            return found
        if nearest is None or _difference(found, target) < _difference(nearest, target):
            nearest = found
    assert nearest is not None
    raise InputError(
        f"mixer '{mixer}' cannot match the {target.parameters:,} parameters of attention at width {width}: "
        f"the nearest is {nearest.parameters:,} at width {nearest.width} with an MLP of {nearest.mlp_width}; "
        "choose a larger width or options that make the layer smaller"
    )


def _match(layer: dict[str, Any], vocab_size: int, width: int, layers: int, short_conv: int, target: int) -> Size:
    """The MLP's width nearest to the target at this width, which is at least 1."""
    one, two = (_count(layer, vocab_size, width, layers, short_conv, mlp_width) for mlp_width in (1, 2))
    mlp_width = max(1, 1 + round((target - one) / (two - one)))
    return Size(width, mlp_width, one + (mlp_width - 1) * (two - one))


@functools.cache
def _reference(vocab_size: int, width: int, layers: int, short_conv: int) -> Size:
    """One head, which divides every even width (an odd one is rounded up): the number of parameters hardly depends on
    it."""
    from seqmem.models import SequenceConfig, parameter_count

    width += width % 2
    config = SequenceConfig(
        vocab_size, width, layers=[{"name": "attention", "heads": 1}] * layers, short_conv=short_conv
    )
    return Size(width, config.mlp_width or 0, parameter_count(config))


def _count(layer: dict[str, Any], vocab_size: int, width: int, layers: int, short_conv: int, mlp_width: int) -> int:
    from seqmem.models import SequenceConfig, parameter_count

    return parameter_count(
        SequenceConfig(vocab_size, width, layers=[layer] * layers, mlp_width=mlp_width, short_conv=short_conv)
    )


def _difference(found: Size, target: Size) -> float:
    return abs(found.parameters - target.parameters) / target.parameters
