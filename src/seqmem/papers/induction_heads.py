"""Induction heads: when they form in small attention-only models, and what a pretrained model loses without them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqmem.interp import HeadScore, ablate_heads, score_heads
from seqmem.papers._induction import gain_of, repeats, second_copy_loss, share_lost, train
from seqmem.papers._subject import PRETRAINED, TINY, subject
from seqmem.papers.paper import Figure, Paper, Report, Rule

PAPER = Paper(
    slug="induction-heads",
    uses=("seqmem.interp.score_heads", "seqmem.interp.ablate_heads"),
    setup="Random sequences of 64 tokens in which one segment of 8 to 32 tokens comes twice. Attention-only models of "
    "one and two layers (width 64, 4 heads, rotary positions: the residual stream knows none) are trained on them. "
    "A pretrained model reads 50 random tokens twice, whole and without the 3 % of its heads that score highest.",
    baseline="a one-layer model, in which no head can see what preceded an earlier token; random heads taken out",
    control="the score where the second time other random tokens come, so that nothing is there to be found",
    figures=(
        Figure("two_score", "best prefix-matching score, two layers"),
        Figure("two_loss", "loss on the second copy, two layers", "nats"),
        Figure("window", "share of the fall of that loss within one fifth of the updates"),
        Figure("one_score", "best prefix-matching score, one layer (baseline)"),
        Figure("one_loss", "loss on the second copy, one layer (baseline)", "nats"),
        Figure("two_without", "two layers: the loss without the best head", "nats"),
        Figure("two_random", "two layers: the loss without another head, mean over all", "nats"),
        Figure("two_null", "two layers: best score where nothing comes twice (control)"),
        Figure("best", "pretrained: best prefix-matching score"),
        Figure("null", "pretrained: best score where nothing comes twice (control)"),
        Figure("gain", "pretrained: loss on the first copy minus loss on the second", "nats"),
        Figure("lost", "pretrained: share of that gain lost without the highest 3 % of the heads"),
        Figure("random", "pretrained: share lost without as many random others"),
    ),
    rule=Rule(
        holds="two_score >= 0.6 and two_loss <= 1.5 and window >= 0.6 and one_score <= 0.15 and one_loss >= 3.0 "
        "and best >= 0.3 and lost >= 0.5 and random <= 0.2",
        in_part="two_score >= 0.6 and two_loss <= 1.5 and one_score <= 0.15 and one_loss >= 3.0",
        control="two_null <= 0.15 and null <= 0.15",
    ),
    limits="Random tokens are the purest form of learning from context, and the only one here. Models of one size; the "
    "window is read off every 1/25 of the updates. The pretrained model's training is not seen, only its end.",
    own_model="score_heads(model, 'induction') and ablate_heads(model, {layer: heads}), on any model of seqmem.interp",
    settings={
        "smoke": {"steps": 50, PRETRAINED: TINY},
        "laptop": {"steps": 2500, PRETRAINED: "smollm2"},
        "full": {"steps": 10_000, PRETRAINED: "smollm2"},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
    parts=("trained", "pretrained"),
    takes_model=("pretrained",),
)

READINGS = 25
WINDOW = 5  # readings
SHARE, DRAWS = 0.03, 5


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """Two networks trained, or one looked into."""
    return _pretrained(settings, seed, model, report) if part == "pretrained" else _trained(settings, seed, report)


def _trained(settings: dict[str, Any], seed: int, report: Report) -> dict[str, Any]:
    steps = settings["steps"]
    tokens, again = repeats(256, torch.Generator().manual_seed(1000 + seed))
    figures: dict[str, float] = {}
    series: dict[str, dict[str, list[float]]] = {}
    for name, layers in (("two", 2), ("one", 1)):
        losses: list[float] = []
        scores: list[float] = []

        def watch(step: int, lm: Any, name: str = name, losses: list[float] = losses, scores: Any = scores) -> None:
            if step % (steps // READINGS) == 0:
                report((step / steps + (name == "one")) / 2, f"{name} layers")
                losses.append(second_copy_loss(lm, tokens, again))
                scores.append(_best(_scores(lm, seed)).score)

        lm = train(layers, steps, seed, watch)
        losses.append(second_copy_loss(lm, tokens, again))
        best = _best(_scores(lm, seed))
        scores.append(best.score)
        figures |= {f"{name}_score": best.score, f"{name}_loss": losses[-1]}
        at = [steps * i / READINGS for i in range(READINGS + 1)]
        layers_word = "two layers" if name == "two" else "one layer"
        series[f"loss on the second copy against updates: {layers_word}"] = {"x": at, "y": losses}
        series[f"prefix-matching score against updates: {layers_word}"] = {"x": at, "y": scores}
        if name == "two":
            falls = [losses[i] - losses[min(i + WINDOW, READINGS)] for i in range(READINGS)]
            figures["window"] = max(falls) / max(losses[0] - losses[-1], 1e-9)
            without = {
                (layer, head): _loss_without(lm, tokens, again, layer, head) for layer in range(2) for head in range(4)
            }
            figures["two_without"] = without.pop((best.layer, best.head))
            figures["two_random"] = sum(without.values()) / len(without)
            figures["two_null"] = _best(_scores(lm, seed, null=True)).score
    return {"figures": figures, "series": series}


def _scores(lm: Any, seed: int, null: bool = False) -> list[HeadScore]:
    generator = torch.Generator().manual_seed(2000 + seed)
    return score_heads(lm, "induction", length=32, batch_size=16, null=null, generator=generator)


def _best(rows: list[HeadScore]) -> HeadScore:
    return max(rows, key=lambda row: row.score)


def _loss_without(lm: Any, tokens: Tensor, again: Tensor, layer: int, head: int) -> float:
    with ablate_heads(lm, {layer: [head]}):
        return second_copy_loss(lm, tokens, again)


def _pretrained(settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    lm, _ = subject(model, settings)
    generator = torch.Generator().manual_seed(seed)
    rows = score_heads(lm, "induction", length=50, batch_size=4, generator=generator)
    nothing = score_heads(lm, "induction", length=50, batch_size=4, null=True, generator=generator)
    report(0.4, "scores")

    drawn = torch.randint(lm.config.vocab_size, (4, 50), generator=generator)
    twice = torch.cat([drawn, drawn], 1)
    gain = gain_of(lm, twice)
    ranked = sorted(rows, key=lambda row: -row.score)
    count = max(1, round(SHARE * len(rows)))

    draws = []
    for draw in range(DRAWS):
        report(0.5 + 0.1 * draw, "random heads")
        order = torch.randperm(len(rows) - count, generator=generator)[:count]
        draws.append(share_lost(lm, twice, gain, [ranked[count + int(i)] for i in order]))
    figures = {
        "best": ranked[0].score,
        "null": _best(nothing).score,
        "gain": gain,
        "lost": share_lost(lm, twice, gain, ranked[:count]),
        "random": sum(draws) / DRAWS,
    }
    layers = sorted({row.layer for row in rows})
    line = {"x": layers, "y": [max(row.score for row in rows if row.layer == layer) for layer in layers]}
    top = ", ".join(f"{row.layer}.{row.head} ({row.score:.2f})" for row in ranked[:count])
    return {
        "figures": figures,
        "series": {"best prefix-matching score against layer: pretrained": line},
        "notes": [f"the pretrained model's heads with the highest scores (layer.head), seed {seed}: {top}"],
    }
