"""A language model whose memory is the latest words, read in several hops.

End-To-End Memory Networks (2015), arXiv 1503.08895, section 5.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError


class MemoryNetworkLM(nn.Module):
    """Every word x_i of the last ``memory`` is a memory; the question is always the same, u^1 = (0.1, 0.1, ...):

        m_i = A x_i + T_A(i)      c_i = C x_i + T_C(i)      p_i = softmax_i(u^k . m_i)      o = sum_i p_i c_i
        u^{k+1} = [H u^k + o], whose second half goes through max(0, .)      p(next word) = softmax(W u^{K+1})

    One A, C, T_A, T_C and H for all hops (``tying="layer"`` of :class:`seqmem.models.MemoryNetwork`). i counts back
    from the word to come. The paper has 6 or 7 hops and a memory of 100 to 150 words.

    deviation: all weights begin as normal numbers of this standard deviation, drawn from generator, else from the
    global state. Raises InputError for sizes below 1.
    """

    def __init__(
        self,
        vocab_size: int,
        width: int = 150,
        *,
        hops: int = 6,
        memory: int = 100,
        deviation: float = 0.05,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for name, value in {"vocab_size": vocab_size, "width": width, "hops": hops, "memory": memory}.items():
            if value < 1:
                raise InputError(f"{name} is {value}, expected at least 1")
        self.width, self.hops, self.memory = width, hops, memory
        self.words = nn.ModuleList(nn.Embedding(vocab_size, width) for _ in range(2))  # A, C
        self.times = nn.ParameterList(torch.empty(memory, width) for _ in range(2))  # T_A, T_C
        self.carry = nn.Linear(width, width, bias=False)  # H
        self.head = nn.Linear(width, vocab_size, bias=False)  # W
        with torch.no_grad():
            for weight in self.parameters():
                weight.normal_(std=deviation, generator=generator)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Logits (batch, time, vocab_size) about the word after each of input_ids (batch, time) int64; at every
        position the memory is that word and the ``memory - 1`` before it, fewer at the beginning of the text."""
        if input_ids.ndim != 2 or input_ids.shape[1] < 1:
            raise InputError(f"input_ids has shape {tuple(input_ids.shape)}, expected (batch, time >= 1)")
        m, c = (self._windows(index, input_ids) for index in range(2))
        age = torch.arange(self.memory, device=input_ids.device).flip(0)  # oldest first
        here = age <= torch.arange(input_ids.shape[1], device=input_ids.device)[:, None]  # (time, memory)
        u = m.new_full((*input_ids.shape, self.width), 0.1)
        for _ in range(self.hops):
            scores = torch.einsum("btw,btmw->btm", u, m).masked_fill(~here, -torch.inf)
            u = self.carry(u) + torch.einsum("btm,btmw->btw", scores.softmax(-1), c)
            half = self.width // 2
            u = torch.cat([u[..., :half], u[..., half:].relu()], -1)
        return self.head(u)

    def _windows(self, index: int, input_ids: Tensor) -> Tensor:
        """The memories at every position, (batch, time, memory, width), oldest first."""
        x = F.pad(self.words[index](input_ids), (0, 0, self.memory - 1, 0))
        return x.unfold(1, self.memory, 1).mT + self.times[index].flip(0)
