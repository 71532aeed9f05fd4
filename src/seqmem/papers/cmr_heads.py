"""Induction heads beside the context maintenance and retrieval model of human memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from seqmem.cognition import LagProfile, cmr_curve, cmr_distance, cmr_recall, lag_profiles
from seqmem.interp import ablate_heads
from seqmem.papers._induction import gain_of, repeats, second_copy_loss, share_lost, train
from seqmem.papers._subject import PRETRAINED, TINY, subject
from seqmem.papers.paper import Figure, Paper, Report, Rule

PAPER = Paper(
    slug="cmr-heads",
    uses=("seqmem.cognition.lag_profiles", "seqmem.cognition.cmr_recall", "seqmem.interp.ablate_heads"),
    setup="CMR recalls a list of 100 items in two regimes. A two-layer attention-only model is trained on sequences "
    "with a repeated segment; a pretrained model reads random tokens twice. Of each head, attention around the earlier "
    "occurrence of the present token (lags -5 to 5) is fitted by CMR's recall curves; below a distance of 0.5 it "
    "counts as CMR-like. Heads are taken out, and the loss on what comes twice is measured.",
    baseline="a bell around lag 0, which knows no forward direction; random heads taken out",
    control="the best head's profile with its lags in random order: CMR must not fit that",
    figures=(
        Figure("forward", "CMR (encoding .7, drift .7, gamma 0): recall at lag 1 over lag -1"),
        Figure("symmetric", "CMR (.7, 1, 1): the same"),
        Figure("distance", "two layers: distance to CMR of the head with the highest induction score"),
        Figure("bell", "two layers: distance of that head to the best bell (baseline)"),
        Figure("first_layer", "two layers: median distance in the first layer"),
        Figure("rise", "two layers: rise of the loss on the second copy without that head", "nats"),
        Figure("rise_random", "two layers: rise without another head, mean over all", "nats"),
        Figure("shuffled", "two layers: distance with lags in random order, mean of 50 (control)"),
        Figure("best_distance", "pretrained: distance of the head with the highest induction score"),
        Figure("best_bell", "pretrained: distance of that head to the best bell (baseline)"),
        Figure("best_shuffled", "pretrained: distance with lags in random order (control)"),
        Figure("like", "pretrained: share of heads that are CMR-like"),
        Figure("depth", "pretrained: median depth of CMR-like heads, 0 the first layer, 1 the last"),
        Figure("lost", "pretrained: share of the gain from repetition lost without the 10 % most CMR-like heads"),
        Figure("lost_random", "pretrained: share lost without as many random heads"),
    ),
    rule=Rule(
        holds="forward >= 3 and symmetric >= 0.8 and symmetric <= 1.3 and distance < 0.5 and first_layer > 0.5 and "
        "rise >= 5 * rise_random and best_distance < 0.5 and depth >= 0.33 and lost >= 2 * max(lost_random, 0)",
        in_part="forward >= 3 and symmetric >= 0.8 and symmetric <= 1.3 and distance < 0.5 and first_layer > 0.5 and "
        "best_distance < 0.5",
        control="shuffled >= 0.5 and best_shuffled >= 0.5",
    ),
    limits="CMR's curves come from a coarse grid of 150 settings, 200 walks each through 40 items. In so small a model "
    "every head carries the task (the first layer's tell the second what came before), so that a random head is no "
    "idle one. The learning from context measured here is copying alone.",
    own_model="with lag_profiles(model): any model of seqmem.interp",
    settings={
        "smoke": {"steps": 20, "runs": 20, PRETRAINED: TINY},
        "laptop": {"steps": 2500, "runs": 300, PRETRAINED: "smollm2"},
        "full": {"steps": 10_000, "runs": 3000, PRETRAINED: "smollm2"},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
    parts=("human", "trained", "pretrained"),
    takes_model=("pretrained",),
)

DRAWS = 5
LIKE = 0.5  # distance


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """CMR alone, a network trained, or one looked into."""
    if part == "human":
        return _human(settings, seed)
    return _trained(settings, seed, report) if part == "trained" else _pretrained(settings, seed, model, report)


def _human(settings: dict[str, Any], seed: int) -> dict[str, Any]:
    figures, series = {}, {}
    for name, drift, gamma in (("forward", 0.7, 0.0), ("symmetric", 1.0, 1.0)):
        rng = np.random.default_rng(seed)
        walks = cmr_recall(100, encoding=0.7, drift=drift, gamma=gamma, start=10, runs=settings["runs"], rng=rng)
        lags, shares = cmr_curve(walks)
        figures[name] = float(shares[lags == 1][0] / max(shares[lags == -1][0], 1e-12))
        series[f"share of recalls against lag: drift {drift:g}, gamma {gamma:g}"] = {
            "x": lags.tolist(),
            "y": shares.tolist(),
        }
    return {"figures": figures, "series": series}


def _shuffled(profile: np.ndarray, seed: int) -> float:
    rng = np.random.default_rng(seed)
    return float(np.mean([cmr_distance(rng.permutation(profile))[0] for _ in range(50)]))


def _line(row: LagProfile) -> dict[str, list[float]]:
    size = len(row.profile) // 2
    return {"x": list(range(-size, size + 1)), "y": row.profile.tolist()}


def _trained(settings: dict[str, Any], seed: int, report: Report) -> dict[str, Any]:
    steps = settings["steps"]
    lm = train(2, steps, seed, lambda step, _: report(0.9 * step / steps, "training") if step % 50 == 0 else None)
    tokens, again = repeats(256, torch.Generator().manual_seed(1000 + seed))
    rows = lag_profiles(lm, batch_size=16, generator=torch.Generator().manual_seed(2000 + seed))
    best = max(rows, key=lambda row: row.score)
    whole = second_copy_loss(lm, tokens, again)
    rises = {}
    for row in rows:
        with ablate_heads(lm, {row.layer: [row.head]}):
            rises[row.layer, row.head] = second_copy_loss(lm, tokens, again) - whole
    rise = rises.pop((best.layer, best.head))
    return {
        "figures": {
            "distance": best.distance,
            "bell": best.gaussian,
            "first_layer": float(np.median([row.distance for row in rows if row.layer == 0])),
            "rise": rise,
            "rise_random": sum(rises.values()) / len(rises),
            "shuffled": _shuffled(best.profile, seed),
        },
        "series": {"attention against lag: best head, trained here": _line(best)},
    }


def _pretrained(settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    lm, _ = subject(model, settings)
    generator = torch.Generator().manual_seed(seed)
    rows = lag_profiles(lm, generator=generator)
    report(0.4, "profiles")
    best = max(rows, key=lambda row: row.score)
    last = max(1, max(row.layer for row in rows))
    like = [row for row in rows if row.distance < LIKE]
    drawn = torch.randint(lm.config.vocab_size, (4, 50), generator=generator)
    twice = torch.cat([drawn, drawn], 1)
    gain = gain_of(lm, twice)
    ranked = sorted(rows, key=lambda row: row.distance)
    count = max(1, round(0.1 * len(rows)))
    draws = []
    for draw in range(DRAWS):
        report(0.5 + 0.1 * draw, "random heads")
        order = torch.randperm(len(rows) - count, generator=generator)[:count]
        draws.append(share_lost(lm, twice, gain, [ranked[count + int(i)] for i in order]))
    return {
        "figures": {
            "best_distance": best.distance,
            "best_bell": best.gaussian,
            "best_shuffled": _shuffled(best.profile, seed) if np.ptp(best.profile) > 0 else float("nan"),
            "like": len(like) / len(rows),
            "depth": float(np.median([row.layer / last for row in like])) if like else float("nan"),
            "lost": share_lost(lm, twice, gain, ranked[:count]),
            "lost_random": sum(draws) / DRAWS,
        },
        "series": {"attention against lag: best head, pretrained": _line(best)},
    }
