"""A language model of RWKV-4 layers that reads the text in several perspectives:  p(x) = softmax(sum_i pi_i Head(x^i)).

Enhancing Transformer RNNs with Multiple Temporal Perspectives (2024), arXiv 2402.02625. As one layer of a network:
:class:`seqmem.mixers.temporal_perspectives.TemporalPerspectives`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers.rwkv4 import RWKV4
from seqmem.mixers.rwkv_channel_mix import RWKVChannelMix
from seqmem.mixers.state import State, map_state

if TYPE_CHECKING:
    from seqmem.models.language_model import SequenceLM

MIXING = (RWKV4, RWKVChannelMix)
Read = tuple[list[Tensor], Tensor, tuple[State, ...]]


class Views(nn.Module):
    """What makes one stream of several: pi_t = softmax(W_c mean_i x^i_t), x^i the normed stream after the last layer.

    The streams are rows of the batch, those of one text next to each other. Layers of time and channel mixing have a mu
    for each, everything else is shared; every stream has a state of its own, so that a state's tensors are (batch,
    perspectives, ...).
    """

    def __init__(self, width: int, perspectives: int, layers: nn.Module) -> None:
        super().__init__()
        if not any(True for _ in mixing_vectors(layers)):
            raise InputError(
                f"perspectives is {perspectives}, and no layer has one of its own; expected 'rwkv4' or "
                "'rwkv_channel_mix' among the layers, or mlp='rwkv'"
            )
        self.perspectives = perspectives
        self.shares = nn.Linear(width, perspectives, bias=False)  # W_c

    def forward(
        self,
        read: Callable[..., Read],
        x: Tensor,
        states: tuple[State, ...] | None,
        mask: Tensor | None,
        reset: Tensor | None,
    ) -> Read:
        """``read(x, states, mask, reset)`` for every perspective; the streams before the layers as their means.

        A head without a bias behind what is returned is the paper's mixture of logits.
        """
        marks = (None if part is None else part.repeat_interleave(self.perspectives, 0) for part in (mask, reset))
        before = None if states is None else map_state(lambda part: part.flatten(0, 1), states)
        streams, last, after = read(x.repeat_interleave(self.perspectives, 0), before, *marks)
        views = self._apart(last)  # (batch, perspectives, time, width)
        share = torch.softmax(self.shares(views.mean(1)), -1)  # (batch, time, perspectives)
        mixed = torch.einsum("btp,bptw->btw", share.to(views.dtype), views)
        return [self._apart(stream).mean(1) for stream in streams], mixed, map_state(self._apart, after)

    def _apart(self, rows: Tensor) -> Tensor:
        return rows.unflatten(0, (-1, self.perspectives))


def with_perspectives(lm: SequenceLM, perspectives: int, *, seed: int = 0) -> SequenceLM:
    """A copy of ``lm`` that reads in so many ``perspectives``, all of which begin as the one there was.

    lm: a :class:`seqmem.models.SequenceLM` with layers "rwkv4" or "rwkv_channel_mix" or with mlp="rwkv", such as
    ``SequenceLM.from_hf`` makes of RWKV-4. The copy gives the same logits, to rounding; the new W_c (normal, from
    ``seed``) makes the streams part when :func:`perspective_parameters` are trained. A state is so many times as large.

    Raises InputError for fewer than two perspectives, a model that has several already, or one without such layers.
    """
    if perspectives < 2:
        raise InputError(f"with_perspectives: {perspectives} asked for, expected at least 2")
    if lm.config.perspectives != 1:
        raise InputError(
            f"with_perspectives: the model has {lm.config.perspectives} perspectives, expected one with a single one"
        )
    from seqmem.models.language_model import build

    config: Any = copy.deepcopy(lm.config)
    config.perspectives = perspectives
    more = build(config, seed).to(lm.lm_head.weight)
    mus = {f"{name}.mu" for name, layer in lm.named_modules() if isinstance(layer, MIXING)}
    weights = {
        name: weight.repeat(perspectives, 1, 1) if name in mus else weight for name, weight in lm.state_dict().items()
    }
    more.load_state_dict(weights, strict=False)  # W_c alone is not in it
    more.generation_config = copy.deepcopy(lm.generation_config)
    return more.train(lm.training)


def perspective_parameters(lm: SequenceLM) -> Iterator[nn.Parameter]:
    """What a perspective has of its own, and W_c: the parameters to train while all others are frozen.

    Of a model with one perspective: its mixing vectors.
    """
    yield from mixing_vectors(lm.layers)
    if lm.views is not None:
        yield from lm.views.parameters()


def mixing_vectors(layers: nn.Module) -> Iterator[nn.Parameter]:
    """mu (perspectives, inputs, width) of every layer that has some."""
    return (layer.mu for layer in layers.modules() if isinstance(layer, MIXING))
