"""Torch's kernel of the simple recurrent network, on weights that are computed rather than held."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from seqmem.mixers._documents import Hidden, Weights, run_documents


class _Engine:
    """What :func:`run_documents` asks of an ``nn.RNN``."""

    def __init__(self, weights: Weights, relu: bool, training: bool) -> None:
        self.all_weights, self.hidden_size, self.training = [list(weights)], weights[1].shape[1], training
        self.kernel = torch.rnn_relu if relu else torch.rnn_tanh

    def __call__(self, x: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        return self.kernel(x, first, self.all_weights[0], True, 1, 0.0, self.training, False, True)


def run_elman(
    x: Tensor,
    hidden: Tensor,
    weights: Weights,
    *,
    relu: bool = False,
    training: bool = False,
    mask: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """h_t = f(W x_t + b + U h_{t-1} + c) for weights (W, U, b, c), f tanh or, with ``relu``, max(0, .).

    x: (batch, time, features); hidden: (batch, hidden). Returns every h (batch, time, hidden), zeros at padding, and
    the last.
    """
    engine = cast(nn.RNNBase, _Engine(weights, relu, training))
    h, (last,) = run_documents(engine, _relu if relu else _tanh, x, (hidden,), mask, reset)
    return h, last


def _tanh(x: Tensor, state: Hidden, weights: Weights) -> Hidden:
    return (torch.rnn_tanh_cell(x, state[0], *weights),)


def _relu(x: Tensor, state: Hidden, weights: Weights) -> Hidden:
    return (torch.rnn_relu_cell(x, state[0], *weights),)
