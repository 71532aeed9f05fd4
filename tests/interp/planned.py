"""A layer whose heads attend as a plan says: what an instrument must find is known before."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

PLANS = ("previous", "induction", "duplicate", "uniform", "nothing")


def plan(x: Tensor) -> Tensor:
    """(batch, plans, time, time) from x (batch, time, width), of which equal rows are equal tokens."""
    time = x.shape[1]
    same = (x[:, :, None] - x[:, None]).abs().amax(-1) < 1e-6  # (batch, time, time)
    earlier = torch.ones(time, time).tril(-1).bool()
    duplicate = (same & earlier).float()
    induction = torch.zeros_like(duplicate)
    induction[:, :, 1:] = duplicate[:, :, :-1]  # the token after an earlier occurrence
    induction = induction * torch.ones(time, time).tril()
    previous = torch.eye(time).roll(-1, 1).tril(-1).expand_as(duplicate)
    uniform = torch.ones(time, time).tril().expand_as(duplicate)
    found = torch.stack([previous, induction, duplicate, uniform, torch.zeros_like(uniform)], 1)
    return found / found.sum(-1, keepdim=True).clamp_min(1)


class Planned(nn.Module):
    """``copies`` times what the head of that plan attends to; its weights are negative: signs must not count."""

    memory = "linear"

    def __init__(self, width: int, head: str = "induction", copies: float = 20.0) -> None:
        super().__init__()
        self.heads, self.head, self.copies = len(PLANS), PLANS.index(head), copies

    def attention(self, x: Tensor, *, mask: Any = None, reset: Any = None) -> Tensor:
        return -plan(x)

    def read(self, x: Tensor, attention: Tensor, *, mask: Any = None, reset: Any = None) -> Tensor:
        return -self.copies * attention[:, self.head] @ x

    def forward(self, x: Tensor, state: Any = None, *, mask: Any = None, reset: Any = None) -> tuple[Tensor, Any]:
        past = x.new_zeros(x.shape[0], 0, x.shape[2]) if state is None else state
        whole = torch.cat([past, x], 1)
        return self.read(whole, self.attention(whole))[:, past.shape[1] :], whole
