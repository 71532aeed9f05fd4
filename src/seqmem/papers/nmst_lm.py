"""A self-terminating head: small LSTMs on sentences, with three ways to give the end its probability."""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from torch import Tensor

from seqmem.decoding import monotone_log_probs, non_monotonic_log_probs, non_termination
from seqmem.models import SequenceConfig, SequenceLM
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.bytes import Bytes

PAPER = Paper(
    slug="nmst-lm",
    uses=("seqmem.decoding.NonMonotonicTermination", "seqmem.decoding.non_monotonic_log_probs"),
    setup="LSTMs of one layer are trained briefly on the sentences of a novel, byte by byte, each sentence followed by "
    "an end token, with the ordinary softmax, with the monotone self-terminating head and with the non-monotonic one. "
    "The first ten bytes of unseen sentences are then continued greedily for up to 1,000 bytes.",
    baseline="the softmax head, and the monotone self-terminating head",
    control="the bound of the head itself, on random logits: exact, or the head is not what it says",
    figures=(
        Figure("runs_on_softmax", "sentences not ended after 1,000 bytes, softmax", "share"),
        Figure("runs_on_monotone", "the same, monotone head", "share"),
        Figure("runs_on", "the same, non-monotonic head", "share"),
        Figure("nats_softmax", "loss on unseen sentences, softmax", "nats per byte"),
        Figure("nats_monotone", "the same, monotone head", "nats per byte"),
        Figure("nats", "the same, non-monotonic head", "nats per byte"),
        Figure("falls_monotone", "unseen sentences in which p(end) ever falls, monotone head", "share"),
        Figure("falls", "the same, non-monotonic head", "share"),
        Figure("bound_missed", "largest amount by which p(end) is under its bound, random logits (control)", ""),
        Figure(
            "late", "steps after which p(end) < 1/2 is still seen, beyond log(1/2) / log(1 - epsilon) (control)", ""
        ),
    ),
    rule=Rule(
        holds="runs_on == 0 and runs_on_softmax > 0.02 and nats - nats_softmax <= 0.02 and nats <= nats_monotone "
        "and falls >= 0.2 and falls_monotone == 0",
        in_part="runs_on == 0 and runs_on_softmax > 0.02 and falls >= 0.2 and falls_monotone == 0",
        control="bound_missed < 1e-9 and late == 0",
    ),
    limits="Bytes and not words, so that sentences are long in steps and epsilon = 0.001 costs more likelihood than in "
    "the paper; models of some ten thousand weights; greedy decoding alone. The perplexities of the paper's rule are "
    "compared as nats per byte: 2 % of perplexity are 0.02 nats.",
    own_model="model.generate(ids, logits_processor=LogitsProcessorList([NonMonotonicTermination(eos, 1e-3, "
    "ids.shape[1])]))",
    settings={
        "smoke": {"width": 16, "steps": 3, "sentences": 4, "limit": 20},
        "laptop": {"width": 96, "steps": 300, "sentences": 64, "limit": 1000},
        "full": {"width": 256, "steps": 3000, "sentences": 256, "limit": 1000},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)

END, EPSILON, PROMPT, LONGEST = 0, 1e-3, 10, 200
HEADS = ("softmax", "monotone", "non-monotonic")


def _sentences(split: str) -> Tensor:
    """(sentences, LONGEST + 1) bytes, each sentence of 20 to LONGEST bytes followed by the end token and filled with
    it."""
    text = " ".join(Bytes().text.written(split).split())
    found = [s.strip().encode() for s in re.findall(r"[A-Z][^.!?]*[.!?]", text)]
    rows = [torch.tensor([*s, *[END] * (LONGEST + 1 - len(s))]) for s in found if 20 <= len(s) <= LONGEST]
    return torch.stack(rows)


def _log_probs(head: str, logits: Tensor) -> Tensor:
    """logits (batch, time, vocabulary) after bytes 1, 2, ... of each sentence."""
    if head == "softmax":
        return logits.log_softmax(-1)
    if head == "monotone":
        return monotone_log_probs(logits, END, EPSILON)
    return non_monotonic_log_probs(logits, END, torch.arange(1, logits.shape[1] + 1), EPSILON)


def _loss(head: str, model: SequenceLM, rows: Tensor) -> Tensor:
    """Mean -log p of all bytes after the first, up to the end token."""
    log_p = _log_probs(head, model.run(rows[:, :-1])[0])
    targets = rows[:, 1:]
    asked = (rows[:, :-1] != END).to(log_p.dtype)  # the end token itself is asked, what stands behind it is not
    return -(log_p.gather(-1, targets[..., None])[..., 0] * asked).sum() / asked.sum()


@torch.no_grad()
def _continued(head: str, model: SequenceLM, prompts: Tensor, limit: int) -> Tensor:
    """Greedy continuations, (sentences, limit)."""
    logits, states = model.run(prompts)
    before = None
    if head == "monotone":  # what the head remembers of the prompt
        p_end = monotone_log_probs(logits, END, EPSILON)[..., END].exp()
        before = torch.log1p(-p_end[:, -2])
    logits, out = logits[:, -1:], []
    for step in range(limit):
        if head == "softmax":
            log_p = logits.log_softmax(-1)
        elif head == "monotone":
            log_p = monotone_log_probs(logits, END, EPSILON, before)
            before = torch.log1p(-log_p[:, 0, END].exp())
        else:
            log_p = non_monotonic_log_probs(logits, END, PROMPT + step, EPSILON)
        token = log_p[:, -1:].argmax(-1)
        out.append(token)
        logits, states = model.run(token, states)
    return torch.cat(out, 1)


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """One model per head, from the same initial weights."""
    train, test = _sentences("train"), _sentences("test")[: settings["sentences"]]
    names = {"softmax": "_softmax", "monotone": "_monotone", "non-monotonic": ""}
    figures: dict[str, float] = {}
    series: dict[str, Any] = {}
    for n, head in enumerate(HEADS):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        lm = SequenceLM(SequenceConfig(vocab_size=256, width=settings["width"], layers=["lstm"]))

        def loss_of(_: int, lm: SequenceLM = lm, head: str = head, generator: torch.Generator = generator) -> Tensor:
            return _loss(head, lm, train[torch.randint(len(train), (16,), generator=generator)])

        def tell(step: int, n: int = n, head: str = head) -> None:
            report((n + step / settings["steps"]) / 3, head)

        descend(lm, loss_of, settings["steps"], 5e-3, tell)
        lm.eval()
        with torch.no_grad():
            figures[f"nats{names[head]}"] = float(_loss(head, lm, test))
            p_end = _log_probs(head, lm.run(test[:, :-1])[0])[..., END].exp()
        texts = _continued(head, lm, test[:, :PROMPT], settings["limit"])
        figures[f"runs_on{names[head]}"] = non_termination(texts, END, settings["limit"])
        if head != "softmax":
            inside = (test[:, 1:-1] != END) | (test[:, :-2] != END)  # up to the end token
            falls = ((p_end.diff(dim=1) < -1e-7) & inside).any(1)
            figures[f"falls{names[head]}"] = float(falls.float().mean())
        series[f"p(end) in one sentence: {head}"] = {"x": list(range(1, LONGEST + 1)), "y": p_end[0].tolist()}

    generator = torch.Generator().manual_seed(seed)
    logits = 10 * torch.randn(2000, 8, generator=generator, dtype=torch.float64)
    steps = torch.arange(1, 2001)
    p_end = non_monotonic_log_probs(logits, END, steps, EPSILON)[:, END].exp()
    bound = 1 - (1 - EPSILON) ** steps.double()
    figures["bound_missed"] = max(0.0, float((bound - p_end).max()))
    figures["late"] = float(((p_end < 0.5) & (steps > math.log(0.5) / math.log1p(-EPSILON))).sum())
    return {"figures": figures, "series": series}
