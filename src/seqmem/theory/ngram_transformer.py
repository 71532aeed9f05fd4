"""A transformer whose weights are written down, not learned: it is an n-gram model.

With r(t) = (t, 1), head h asks with (t - h, 1) and position j answers with (1, -j): their product is t - h - j, and the
score minus its size. Its greatest value picks position t - h, whose one-hot symbol is the head's value. A feed-forward
layer has one unit per history, max(0, sum of the history's n - 1 one-hot coordinates - (n - 2)), which is 1 for that
history and 0 for all others; the output matrix holds its row of log-probabilities.

Transformers Can Represent n-gram Language Models (2024), arXiv 2404.14994.
"""

from __future__ import annotations

import itertools
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.errors import InputError
from seqmem.models.alignment import sparsemax

Attention = Literal["hard", "sparse", "soft"]
NEVER = -1e4  # log 0: its exponential is 0 in every dtype


class NgramTransformer:
    """The n-gram model ``probabilities`` as a transformer of one layer with n - 1 heads, or, with ``deep``, of n - 1
    layers with one head each that hands on what the layer below saw.

    probabilities: (V + 1, ..., V + 1, V), n - 1 dimensions of history, oldest first (V stands for "before the
    beginning"), then the next symbol; every row sums to 1. attention: how scores become weights; "soft" is a softmax of
    ``sharpness`` times the scores.
    """

    def __init__(
        self, probabilities: Tensor, *, attention: Attention = "hard", sharpness: float = 1.0, deep: bool = False
    ) -> None:
        *histories, self.symbols = probabilities.shape
        if not histories or set(histories) != {self.symbols + 1}:
            raise InputError(
                f"probabilities have shape {tuple(probabilities.shape)}, expected (V + 1, ..., V + 1, V): a dimension "
                "per symbol of the history, at least one, then the next symbol"
            )
        if attention not in ("hard", "sparse", "soft"):
            raise InputError(f"attention is {attention!r}, expected 'hard', 'sparse' or 'soft'")
        total = probabilities.sum(-1)
        if not torch.allclose(total, torch.ones_like(total)) or (probabilities < 0).any():
            raise InputError("the rows of the n-gram table are no probabilities; divide them by their sums")
        self.history = len(histories)  # n - 1
        self.attention, self.sharpness, self.deep = attention, sharpness, deep
        dtype = probabilities.dtype
        # feed-forward: one unit per history, its n - 1 symbols one-hot
        each = torch.tensor(list(itertools.product(range(self.symbols + 1), repeat=self.history)))
        self.units = F.one_hot(each, self.symbols + 1).to(dtype).flatten(1)  # (histories, (n - 1) (V + 1))
        self.output = probabilities.flatten(0, -2).log().clamp(min=NEVER)  # (histories, V)

    def attend(self, back: int, values: Tensor) -> Tensor:
        """What the head that looks ``back`` positions back sees: values (batch, time, ...) -> the same shape."""
        time = values.shape[1]
        t = torch.arange(time, dtype=values.dtype)
        query = torch.stack([t - back, torch.ones_like(t)], -1)  # (time, 2)
        key = torch.stack([torch.ones_like(t), -t], -1)
        score = -(query @ key.mT).abs()
        score = score.masked_fill(torch.ones(time, time, dtype=torch.bool).triu(1), NEVER)
        if self.attention == "hard":
            weights = F.one_hot(score.argmax(-1), time).to(values.dtype)
        elif self.attention == "sparse":
            weights = sparsemax(score)
        else:
            weights = (self.sharpness * score).softmax(-1)
        return torch.einsum("ts,bsv->btv", weights, values)

    def __call__(self, tokens: Tensor) -> Tensor:
        """tokens (batch, time) int64 -> log-probabilities of the token after each, (batch, time, V)."""
        if tokens.ndim != 2 or (tokens.numel() and (int(tokens.min()) < 0 or int(tokens.max()) >= self.symbols)):
            raise InputError(
                f"tokens have shape {tuple(tokens.shape)}, expected (batch, time) of 0 to {self.symbols - 1}"
            )
        padded = F.pad(tokens, (self.history, 0), value=self.symbols)  # "before the beginning" in front
        seen = F.one_hot(padded, self.symbols + 1).to(self.units.dtype)  # (batch, history + time, V + 1)
        if self.deep:
            heads = [seen]
            for _ in range(self.history - 1):  # every layer looks one further back, at what the layer below took there
                heads.append(self.attend(1, heads[-1]))
        else:
            heads = [self.attend(back, seen) for back in range(self.history)]
        concatenated = torch.cat(heads[::-1], -1)[:, self.history :]  # oldest first
        hidden = (concatenated @ self.units.mT - (self.history - 1)).clamp(min=0)  # ReLU
        return (hidden @ self.output).log_softmax(-1)


def table_lookup(probabilities: Tensor, tokens: Tensor) -> Tensor:
    """Probabilities of the token after each by looking them up, (batch, time, V): what the construction must equal."""
    history = probabilities.ndim - 1
    padded = F.pad(tokens, (history, 0), value=probabilities.shape[-1])
    windows = padded.unfold(1, history, 1)[:, 1:]  # (batch, time, history)
    return probabilities[tuple(windows.unbind(-1))]
