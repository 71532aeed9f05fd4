"""One layer of a language model: a mixer, then an MLP, each on a residual stream."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from seqmem.errors import InputError, did_you_mean
from seqmem.mixers import get_mixer
from seqmem.mixers._decoding import linear, norm_step, parts_decode, silu_product
from seqmem.mixers._shared import ShortConv
from seqmem.mixers.state import State
from seqmem.models.config import SequenceConfig
from seqmem.models.fan import FANMLP


class SwiGLU(nn.Module):
    """``down(silu(gate(x)) * up(x))``. GLU Variants Improve Transformer (2020), arXiv 2002.05202.

    depth: layers of the stack; the output begins smaller by ``sqrt(2 depth)``, so that the stream does not grow with
    depth.
    """

    def __init__(self, width: int, hidden: int, depth: int = 1) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        nn.init.normal_(self.gate.weight, std=width**-0.5)
        nn.init.normal_(self.up.weight, std=width**-0.5)
        nn.init.normal_(self.down.weight, std=(2 * depth * hidden) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))

    def step(self, x: Tensor) -> Tensor:
        """The same for one token without gradients, x (batch, width); see :mod:`seqmem.mixers._decoding`."""
        return linear(self.down, silu_product(linear(self.gate, x), linear(self.up, x)))


class GeGLU(SwiGLU):
    """``down(gelu(gate(x)) * up(x))``, GELU in its tanh form: the MLP of Griffin and Gemma; else as SwiGLU."""

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.gate(x), approximate="tanh") * self.up(x))

    def step(self, x: Tensor) -> Tensor:
        """The same for one token without gradients, x (batch, width)."""
        return linear(self.down, F.gelu(linear(self.gate, x), approximate="tanh") * linear(self.up, x))


MLP_CLASSES: dict[str, Any] = {"swiglu": SwiGLU, "geglu": GeGLU, "fan": FANMLP}


class BlockState(NamedTuple):
    """What a layer with a short convolution remembers."""

    conv: Tensor  # (batch, short_conv - 1, width)
    mixer: State


class Block(GradientCheckpointingLayer):
    """One layer: ``x + mixer(norm(x))``, then ``x + mlp(norm(x))``; with ``short_conv``, ``x + mixer(conv(norm(x)))``.

    Its state is the mixer's, or a :class:`BlockState` where there is a convolution.
    """

    def __init__(self, config: SequenceConfig, layer: int) -> None:
        super().__init__()
        self.mixer_norm = nn.RMSNorm(config.width, eps=config.norm_eps)
        self.mixer = make_mixer(*config.mixer(layer), config.width)
        wanted = config.short_conv if not getattr(self.mixer, "convolves", False) else 0
        self.conv = ShortConv(config.width, wanted, bias=True, owner="SequenceLM") if wanted else None
        self.mlp_norm = nn.RMSNorm(config.width, eps=config.norm_eps) if config.mlp_width else None
        make = MLP_CLASSES[config.mlp]
        self.mlp: Any = make(config.width, config.mlp_width, len(config.layers)) if config.mlp_width else None

    def forward(
        self, x: Tensor, state: State = None, mask: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple[Tensor, State]:
        decoding = parts_decode(x, self.mixer_norm, self.mlp_norm, self.mlp)
        y = norm_step(self.mixer_norm, x[:, 0])[:, None] if decoding else self.mixer_norm(x)
        if self.conv is None:
            y, state = self.mixer(y, state, mask=mask, reset=reset)
        else:
            conv, memory = (None, None) if state is None else state
            y, conv = self.conv(y, conv, mask, reset)
            y, memory = self.mixer(y, memory, mask=mask, reset=reset)
            state = BlockState(conv, memory)
        x = x + y  # (batch, time, width)
        if self.mlp is not None and self.mlp_norm is not None:
            if decoding:
                x = x + self.mlp.step(norm_step(self.mlp_norm, x[:, 0]))[:, None]
            else:
                x = x + self.mlp(self.mlp_norm(x))
        return x, state


def make_mixer(name: str, options: dict[str, Any], width: int) -> nn.Module:
    """The named mixer, or InputError naming the option or width that it does not take."""
    found = get_mixer(name)
    accepted = inspect.signature(found).parameters
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
            f"{type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
