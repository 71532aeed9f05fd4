"""One layer of a language model: a mixer, then an MLP, each on a residual stream."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from seqmem.errors import InputError, did_you_mean, line_of
from seqmem.mixers import get_mixer
from seqmem.mixers._decoding import linear, norm_step, parts_decode, silu_product
from seqmem.mixers._shared import ShortConv
from seqmem.mixers.rwkv_channel_mix import RWKVChannelMix
from seqmem.mixers.state import State
from seqmem.models.config import SequenceConfig
from seqmem.models.fan import FANMLP
from seqmem.models.feed_forward import FeedForward


class SwiGLU(FeedForward):
    """``down(silu(gate(x)) * up(x))``. GLU Variants Improve Transformer (2020), arXiv 2002.05202.

    depth: layers of the stack; the output begins smaller by ``sqrt(2 depth)``, so that the stream does not grow with
    depth.
    """

    gate: nn.Linear

    def __init__(self, width: int, hidden: int, depth: int = 1) -> None:
        super().__init__(width, hidden, depth, "silu", gated=True, bias=False)

    def step(self, x: Tensor) -> Tensor:
        """The same for one token without gradients, x (batch, width); see :mod:`seqmem.mixers._decoding`."""
        return linear(self.down, silu_product(linear(self.gate, x), linear(self.up, x)))


class BlockState(NamedTuple):
    """What a layer with a short convolution, or with an MLP that remembers, keeps; None for what it has not."""

    conv: Tensor | None  # (batch, short_conv - 1, width)
    mixer: State
    mlp: State = None


class Block(GradientCheckpointingLayer):
    """One layer: ``x + mixer(norm(x))``, then ``x + mlp(norm(x))``; with ``short_conv``, ``x + mixer(conv(norm(x)))``.

    Its state is the mixer's, or a :class:`BlockState` where there is a convolution or an MLP that remembers.
    """

    def __init__(self, config: SequenceConfig, layer: int) -> None:
        super().__init__()
        self.mixer_norm = make_norm(config, layer)
        self.mixer = make_mixer(*config.mixer(layer), config.width, config.perspectives)
        wanted = config.short_conv if not getattr(self.mixer, "convolves", False) else 0
        self.conv = ShortConv(config.width, wanted, bias=True, owner="SequenceLM") if wanted else None
        self.mlp_norm = make_norm(config, layer) if config.mlp_width else None
        self.mlp: Any = make_mlp(config, layer) if config.mlp_width else None
        self.mlp_remembers = isinstance(self.mlp, RWKVChannelMix)

    def forward(
        self, x: Tensor, state: State = None, mask: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple[Tensor, State]:
        decoding = parts_decode(x, self.mixer_norm, self.mlp_norm, self.mlp)
        y = norm_step(self.mixer_norm, x[:, 0])[:, None] if decoding else self.mixer_norm(x)
        plain = self.conv is None and not self.mlp_remembers
        conv, memory, mlp = BlockState(None, state) if plain or state is None else state
        if self.conv is not None:
            y, conv = self.conv(y, conv, mask, reset)
        y, memory = self.mixer(y, memory, mask=mask, reset=reset)
        x = x + y  # (batch, time, width)
        if self.mlp is not None and self.mlp_norm is not None:
            if self.mlp_remembers:
                y, mlp = self.mlp(self.mlp_norm(x), mlp, mask=mask, reset=reset)
                x = x + y
            elif decoding:
                x = x + self.mlp.step(norm_step(self.mlp_norm, x[:, 0]))[:, None]
            else:
                x = x + self.mlp(self.mlp_norm(x))
        return x, memory if plain else BlockState(conv, memory, mlp)


def make_norm(config: SequenceConfig, layer: int) -> Any:
    """The norm that the config names, for a layer."""
    kind = nn.LayerNorm if config.norm == "layer" else nn.RMSNorm
    return kind(config.width, eps=config.eps(layer))


def make_mlp(config: SequenceConfig, layer: int) -> nn.Module:
    """The MLP that the config names."""
    width, depth = config.width, len(config.layers)
    hidden: Any = config.mlp_width  # a number once the config is made
    if config.mlp == "rwkv":
        return RWKVChannelMix(width, expand=hidden / width, layer=layer, depth=depth, views=config.perspectives)
    if config.mlp in ("gated", "plain"):
        gated = config.mlp == "gated"
        return FeedForward(width, hidden, depth, config.mlp_activation, gated=gated, bias=config.mlp_bias)
    return FANMLP(width, hidden, depth) if config.mlp == "fan" else SwiGLU(width, hidden, depth)


def make_mixer(name: str, options: dict[str, Any], width: int, views: int = 1) -> nn.Module:
    """The named mixer, with ``views`` where it takes that option; InputError naming the option or width that it does
    not take.
    """
    found = get_mixer(name)
    accepted = inspect.signature(found).parameters
    if "views" in accepted:
        if "views" in options:
            raise InputError(f"mixer '{name}': views is {options['views']}; give perspectives to the config instead")
        options = {**options, "views": views}
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())
    known = [n for n in list(accepted)[1:] if accepted[n].kind is not inspect.Parameter.VAR_KEYWORD]
    for option in options:
        if option not in known and not takes_any:
            raise InputError(
                f"mixer '{name}' has no option '{option}'.{did_you_mean(option, known)}"
                f" Options: {', '.join(known) or 'none'}"
            )
    try:
        return found(width, **options)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"mixer '{name}' could not be built with width {width} and options {options}: "
            f"{type(error).__name__}: {line_of(error)}"
        ) from error
