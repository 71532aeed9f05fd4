"""The recurrent network of rectified units that begins as an accumulator. arXiv 1504.00941."""

from __future__ import annotations

import torch
from torch import nn

from seqmem.mixers.rnn import RNN

SPREAD = 0.001  # standard deviation of the input weights at the start


class IRNN(RNN):
    """h_t = max(0, W x_t + U h_{t-1} + b), where U starts as the identity, b as 0 and W as N(0, 0.001^2), so that a new
    network adds up what it reads and keeps it (A Simple Way to Initialize Recurrent Networks of Rectified Linear Units,
    2015, arXiv 1504.00941).

    ``scale``: U starts as ``scale`` times the identity (the paper: 1, and 0.01 for speech). ``hidden``: as in
    :class:`seqmem.mixers.rnn.RNN`, whose weights and forms it has. Torch keeps b in two halves.
    """

    def __init__(self, width: int, *, hidden: int | None = None, scale: float = 1.0) -> None:
        super().__init__(width, hidden=hidden, nonlinearity="relu")
        w, u, b, c = self.rnn.all_weights[0]
        nn.init.normal_(w, std=SPREAD)
        nn.init.zeros_(b)
        nn.init.zeros_(c)
        with torch.no_grad():
            u.copy_(scale * torch.eye(self.hidden))
