"""Training on stories with questions: the recipe of memory networks, for any network that is called alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError


class Epoch(NamedTuple):
    """loss: mean over the training stories, in nats. held_out: over those kept back. linear: was it without softmax?"""

    loss: float
    held_out: float
    linear: bool


def fit_answers(
    network: nn.Module,
    sentences: Tensor,
    question: Tensor,
    answer: Tensor,
    *,
    epochs: int = 100,
    linear_start: bool = True,
    rate: float = 0.01,
    batch: int = 32,
    held_out: float = 0.1,
    halve_every: int = 25,
    clip: float = 40.0,
    generator: torch.Generator | None = None,
    report: Callable[[int], None] = lambda epoch: None,
) -> list[Epoch]:
    """Train ``network(sentences, question, generator=...)`` on ``answer`` by stochastic gradient descent; in place.

    sentences: (stories, sentence, word) int64. question: (stories, word). answer: (stories,). The loss of a batch is
    the sum of its cross-entropies, ``rate`` is halved every ``halve_every`` epochs, and the gradient's norm is at most
    ``clip``. linear_start: begin with ``network.linear = True`` and half the rate; when the loss on the stories held
    out (the last ``held_out`` of all) has not fallen in an epoch, the softmax comes back, and the rate stays half.
    generator: for order and noise. report: called before each epoch. Returns what each epoch came to.

    End-To-End Memory Networks (2015), arXiv 1503.08895.

    Raises InputError for stories, questions and answers that are not as many, or too few, and for a linear start of a
    network that has none.
    """
    count = len(sentences)
    kept = round(count * held_out)
    if not len(question) == len(answer) == count or kept < 1 or kept >= count:
        raise InputError(
            f"{count} stories, {len(question)} questions and {len(answer)} answers, of which {kept} are held out; "
            "expected as many of each, and some to train and to hold out"
        )
    if linear_start and not hasattr(network, "linear"):
        raise InputError(f"{type(network).__name__} has no 'linear' to start with; use linear_start=False")
    train = torch.arange(count - kept)
    base = rate / 2 if linear_start else rate
    optimiser = torch.optim.SGD(network.parameters(), base)
    network.linear = linear_start  # type: ignore[assignment]
    history: list[Epoch] = []
    since = 0  # epochs with softmax
    for epoch in range(epochs):
        report(epoch)
        for group in optimiser.param_groups:
            group["lr"] = base * 0.5 ** (since // halve_every)
        network.train()
        total = 0.0
        for rows in train[torch.randperm(len(train), generator=generator)].split(batch):
            logits = network(sentences[rows], question[rows], generator=generator).logits
            loss = F.cross_entropy(logits, answer[rows], reduction="sum")
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), clip)
            optimiser.step()
            total += float(loss.detach())
        network.eval()
        with torch.no_grad():
            logits = network(sentences[-kept:], question[-kept:]).logits
            later = float(F.cross_entropy(logits, answer[-kept:]))
        history.append(Epoch(total / len(train), later, bool(network.linear)))
        if not network.linear:
            since += 1
        elif len(history) > 1 and not later < history[-2].held_out:
            network.linear = False  # type: ignore[assignment]
    network.linear = False  # type: ignore[assignment]
    return history
