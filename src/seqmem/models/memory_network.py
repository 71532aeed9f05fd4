"""A memory of sentences, read by soft attention in several hops, trained from answers alone.

End-To-End Memory Networks (2015), arXiv 1503.08895.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqmem.errors import InputError

BLANK = 0


class Reading(NamedTuple):
    """logits: (batch, vocab_size), about the answer; the blank is never one. attention: (batch, hop, sentence), the
    weights p of every hop, 0 at blank sentences and at those that are too old for the memory."""

    logits: Tensor
    attention: Tensor


def position_weights(words: Tensor, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """l_kj = (1 - j/J) - (k/d) (1 - 2j/J) for the j-th of J words and the k-th of d = ``width`` units, both from 1.

    words: (..., word) int64, blanks after the words. Returns (..., word, width), of no meaning at blanks.
    """
    given = words != BLANK
    j = given.cumsum(-1).to(dtype) / given.sum(-1, keepdim=True).clamp(min=1)  # (..., word)
    k = torch.arange(1, width + 1, device=words.device, dtype=dtype) / width
    return (1 - j)[..., None] - k * (1 - 2 * j)[..., None]


class MemoryNetwork(nn.Module):
    """Sentences x_i = (x_i1, x_i2, ...) and a question q; with K ``hops``:

        m_i = sum_j l_j A x_ij + T_A(i)      c_i = sum_j l_j C x_ij + T_C(i)      u^1 = sum_j l_j B q_j
        p_i = softmax_i(u^k . m_i)           o = sum_i p_i c_i                    u^{k+1} = u^k + o
        answer = softmax(W u^{K+1})

    T is learned; i counts back from the question, 0 being the latest sentence. What is learned is shared, by ``tying``:

        "adjacent"   A^{k+1} = C^k and T_A^{k+1} = T_C^k,  B = A^1,  W^T = C^K
        "layer"      one A, C, T_A and T_C for all hops, as in a recurrent network, with u^{k+1} = H u^k + o

    vocab_size: word 0 is the blank. width: of every embedding. memory: so many of the latest sentences are read.
    encoding: of sentences, ``"position"`` with l as above or ``"bag"`` with l = 1. temporal: False leaves T out. noise:
    while training, every story has up to this share of empty memories between its sentences, at random, so that T(i)
    is learned for more i. deviation: all weights begin as normal numbers of this standard deviation; generator: drawn
    from it, else from the global state.

    ``network.linear = True`` takes the softmax away (linear start): the paper trains so until the loss on held-out
    questions stops falling, then with softmax. :func:`seqmem.training.fit_answers` does both.

    Raises InputError for sizes and names that cannot be meant.
    """

    def __init__(
        self,
        vocab_size: int,
        width: int = 20,
        *,
        hops: int = 3,
        memory: int = 50,
        encoding: str = "position",
        tying: str = "adjacent",
        temporal: bool = True,
        noise: float = 0.1,
        deviation: float = 0.1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for name, value in {"vocab_size": vocab_size, "width": width, "hops": hops, "memory": memory}.items():
            if value < 1:
                raise InputError(f"{name} is {value}, expected at least 1")
        for name, one, known in (
            ("encoding", encoding, ("position", "bag")),
            ("tying", tying, ("adjacent", "layer")),
        ):
            if one not in known:
                raise InputError(f"{name} is {one!r}, expected {known[0]!r} or {known[1]!r}")
        if not 0 <= noise <= 1:
            raise InputError(f"noise is {noise}, expected a share from 0 to 1")
        self.width, self.hops, self.memory, self.noise = width, hops, memory, noise
        self.encoding, self.tying = encoding, tying
        self.linear = False
        count = hops + 1 if tying == "adjacent" else 2  # A^1, C^1 = A^2, ..., C^K; or A and C
        self.words = nn.ModuleList(nn.Embedding(vocab_size, width, padding_idx=BLANK) for _ in range(count))
        self.times = nn.ModuleList(nn.Embedding(memory, width) for _ in range(count)) if temporal else None
        if tying == "layer":
            self.query = nn.Embedding(vocab_size, width, padding_idx=BLANK)  # B
            self.carry = nn.Linear(width, width, bias=False)  # H
            self.answer = nn.Linear(width, vocab_size, bias=False)  # W
        with torch.no_grad():
            for weight in self.parameters():
                weight.normal_(std=deviation, generator=generator)
            for module in self.modules():
                if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                    module.weight[BLANK] = 0

    def forward(self, sentences: Tensor, question: Tensor, *, generator: torch.Generator | None = None) -> Reading:
        """The answer to each question, from its story.

        sentences: (batch, sentence, word) int64, in the order of the story, blanks after the words of each; a sentence
        of blanks only is no sentence. question: (batch, word) int64. Either may have any number of words. generator:
        the noise while training is drawn from it, else from the global state.
        """
        _check(sentences, question, self.words[0].num_embeddings)  # type: ignore[arg-type]
        given = (sentences != BLANK).any(-1)  # (batch, sentence)
        age = given.flip(1).cumsum(1).flip(1) - given.long()  # sentences that come later
        given = given & (age < self.memory)
        if self.training and self.noise:
            age = age + self._blanks_after(given, age, generator)
        age = age.clamp(max=self.memory - 1)

        weights, asked = (self._weights(words) for words in (sentences, question))
        stored = [self._memories(index, sentences, weights, age) for index in range(len(self.words))]
        u = _summed(self.query if self.tying == "layer" else self.words[0], question, asked)  # (batch, width)
        attention = []
        for hop in range(self.hops):
            m, c = stored[hop : hop + 2] if self.tying == "adjacent" else stored  # (batch, sentence, width) each
            scores = torch.einsum("bw,bsw->bs", u, m)
            if self.linear:
                p = scores * given
            else:
                p = scores.masked_fill(~given, torch.finfo(scores.dtype).min).softmax(1) * given
            attention.append(p)
            o = torch.einsum("bs,bsw->bw", p, c)
            u = (self.carry(u) if self.tying == "layer" else u) + o
        weight: Any = (self.answer if self.tying == "layer" else self.words[-1]).weight  # W, C^K
        logits = u @ weight.T
        no_blank = torch.arange(logits.shape[1], device=logits.device) == BLANK
        return Reading(logits.masked_fill(no_blank, -torch.inf), torch.stack(attention, 1))

    def _weights(self, words: Tensor) -> Tensor | None:
        """l, where there is one."""
        weight: Any = self.words[0].weight
        return position_weights(words, self.width, weight.dtype) if self.encoding == "position" else None

    def _memories(self, index: int, sentences: Tensor, weights: Tensor | None, age: Tensor) -> Tensor:
        """Every sentence through the word and time embeddings of this index, (batch, sentence, width)."""
        x = _summed(self.words[index], sentences, weights)
        return x if self.times is None else x + self.times[index](age)

    def _blanks_after(self, given: Tensor, age: Tensor, generator: torch.Generator | None) -> Tensor:
        """How many empty memories come after each sentence, (batch, sentence): from none to ``noise`` of the story's
        length, each at a random place in it."""
        count = given.sum(1, keepdim=True)  # (batch, 1)
        most = (count * self.noise).ceil()
        wanted = (torch.rand(count.shape, generator=generator) * (most.cpu() + 1)).floor()
        slots = int(most.max())
        place = (torch.rand(len(count), slots, generator=generator) * (count.cpu() + 1)).floor()  # sentences after it
        place = torch.where(torch.arange(slots) < wanted, place, torch.inf).to(age.device)
        return (place[:, None] <= age[..., None]).sum(-1)


def _summed(embedding: nn.Module, words: Tensor, weights: Tensor | None) -> Tensor:
    """sum_j l_j E x_j, (..., width) of words (..., word); blanks are 0."""
    x = embedding(words)  # (..., word, width)
    return (x if weights is None else x * weights).sum(-2)


def _check(sentences: Tensor, question: Tensor, vocab_size: int) -> None:
    if sentences.ndim != 3 or question.ndim != 2 or len(sentences) != len(question):
        raise InputError(
            f"sentences has shape {tuple(sentences.shape)} and question {tuple(question.shape)}, expected (batch, "
            "sentence, word) and (batch, word)"
        )
    for name, words in (("sentences", sentences), ("question", question)):
        if words.numel() and not 0 <= int(words.min()) <= int(words.max()) < vocab_size:
            raise InputError(
                f"{name} holds words from {int(words.min())} to {int(words.max())}, expected 0 to {vocab_size - 1}; "
                "make the network with a larger vocab_size"
            )
