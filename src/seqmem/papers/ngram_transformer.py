"""Transformers are n-gram models: the written-down construction against the table, and small trained models."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.theory import NgramTransformer, table_lookup

SHARPNESS = (1, 2, 4, 8, 16)

PAPER = Paper(
    slug="ngram-transformer",
    uses=("seqmem.theory.NgramTransformer", "seqmem.theory.sparsemax"),
    setup="Ten random n-gram tables over 4 symbols for each n from 2 to 5 become transformers, in one layer with n - 1 "
    "heads and in n - 1 layers with one head, and read random sequences of 40 symbols. Beside them, models of one "
    "attention layer whose feed-forward layer sees the heads alone are trained on the sequences of a trigram table.",
    baseline="the table itself; for trained models its exact conditional distribution",
    control="a transformer made from another table, which must be wrong; the trained model with two heads, whose score "
    "is only meaningful if one head does not reach it",
    figures=(
        Figure("hard", "largest error of a probability, hard attention, one layer", ""),
        Figure("deep", "the same, n - 1 layers of one head", ""),
        Figure("sparse", "the same, sparsemax", ""),
        Figure("soft", "the same, softmax of the plain scores, trigrams", ""),
        Figure("soft_rises", "sharpenings (x 2) after which the softmax's error is not smaller", ""),
        Figure("other", "largest error with another table's transformer (control)", ""),
        Figure("two_heads", "trained, two heads: divergence from the truth", "nats"),
        Figure("one_head", "trained, one head: divergence from the truth", "nats"),
    ),
    rule=Rule(
        holds="max(max(hard, deep), sparse) < 1e-10 and soft_rises == 0 and soft > 1e-3 and two_heads <= 0.02 "
        "and one_head >= two_heads + 0.02",
        in_part="max(max(hard, deep), sparse) < 1e-10 and soft_rises == 0 and soft > 1e-3",
        control="other > 0.1",
    ),
    limits="The construction is checked up to n = 5. One head can hold two symbols at once in a mixture of unequal "
    "weights, which a feed-forward layer may take apart: that a single head is worse is a matter of training, not of "
    "what can be represented.",
    settings={
        "smoke": {"tables": 1, "longest": 3, "steps": 3},
        "laptop": {"tables": 10, "longest": 5, "steps": 1500},
        "full": {"tables": 50, "longest": 6, "steps": 6000},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)

SYMBOLS, TIME, WIDTH = 4, 40, 32


def _table(n: int, generator: torch.Generator, contrast: float = 1.0) -> Tensor:
    weights = contrast * torch.randn(*[SYMBOLS + 1] * (n - 1), SYMBOLS, generator=generator, dtype=torch.float64)
    return weights.softmax(-1)


def _drawn(table: Tensor, batch: int, generator: torch.Generator) -> Tensor:
    """Sequences (batch, TIME) of a trigram table."""
    before, now = torch.full((2, batch), SYMBOLS)
    tokens = []
    for _ in range(TIME):
        drawn = torch.multinomial(table[before, now], 1, generator=generator)[:, 0]
        before, now = now, drawn
        tokens.append(drawn)
    return torch.stack(tokens, 1)


class _Trained(nn.Module):
    """One causal attention layer with a learned score per distance and content, then a feed-forward layer."""

    def __init__(self, heads: int, generator: torch.Generator) -> None:
        super().__init__()
        self.heads = heads
        self.embed = nn.Embedding(SYMBOLS + 1, WIDTH)
        self.query, self.key = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.distance = nn.Parameter(0.1 * torch.randn(heads, TIME, generator=generator))
        self.inner, self.output = nn.Linear(heads * WIDTH, 128), nn.Linear(128, SYMBOLS)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)  # (batch, time, width)
        q, k = (part(x).unflatten(-1, (self.heads, -1)) for part in (self.query, self.key))
        score = torch.einsum("bthi,bshi->bhts", q, k) * (self.heads / WIDTH) ** 0.5
        back = torch.arange(TIME)[:, None] - torch.arange(TIME)
        score = score + self.distance[:, back.clamp(min=0)]
        weights = score.masked_fill(back < 0, -torch.inf).softmax(-1)
        seen = torch.einsum("bhts,bsw->bthw", weights, x).flatten(2)
        return self.output(torch.relu(self.inner(seen)))


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """The constructions, then one trained model with each number of heads."""
    generator = torch.Generator().manual_seed(seed)
    errors: dict[str, list[float]] = {"hard": [], "deep": [], "sparse": []}
    other, soft = [], torch.zeros(settings["tables"], len(SHARPNESS))
    for n in range(2, settings["longest"] + 1):
        for i in range(settings["tables"]):
            table = _table(n, generator)
            tokens = torch.randint(SYMBOLS, (4, TIME), generator=generator)
            truth = table_lookup(table, tokens)

            def error(transformer: NgramTransformer, tokens: Tensor = tokens, truth: Tensor = truth) -> float:
                return float((transformer(tokens).exp() - truth).abs().max())

            errors["hard"].append(error(NgramTransformer(table)))
            errors["deep"].append(error(NgramTransformer(table, deep=True)))
            errors["sparse"].append(error(NgramTransformer(table, attention="sparse")))
            other.append(error(NgramTransformer(_table(n, generator))))
            if n == 3:
                for j, s in enumerate(SHARPNESS):
                    soft[i, j] = error(NgramTransformer(table, attention="soft", sharpness=s))
        report(0.3 * n / settings["longest"], f"{n}-grams")
    figures = {name: max(values) for name, values in errors.items()}
    figures |= {"other": min(other), "soft": float(soft[:, 0].min())}
    figures["soft_rises"] = float((soft.diff(dim=1) >= 0).sum())

    table = _table(3, generator, contrast=1.5)
    test = _drawn(table, 200, generator)
    truth = table_lookup(table, test)
    for n, (name, heads) in enumerate((("two_heads", 2), ("one_head", 1))):
        torch.manual_seed(seed)
        trained = _Trained(heads, generator)

        def loss_of(_: int, trained: _Trained = trained) -> Tensor:
            tokens = _drawn(table, 32, generator)
            return F.cross_entropy(trained(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())

        def tell(step: int, n: int = n, name: str = name) -> None:
            report(0.3 + 0.35 * (n + step / settings["steps"]), name)

        descend(trained, loss_of, settings["steps"], 5e-3, tell)
        with torch.no_grad():
            log_q = trained(test).log_softmax(-1).double()
        figures[name] = float((truth * (truth.log() - log_q)).sum(-1)[:, 2:].mean())
    x = [float(s) for s in SHARPNESS]
    return {
        "figures": figures,
        "series": {"largest error of soft attention by sharpness: trigrams": {"x": x, "y": soft.mean(0).tolist()}},
    }
