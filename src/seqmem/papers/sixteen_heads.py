"""How many heads a model needs: importance by gradient against ablation, and pruning in its order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.interp import HeadImportance, ablate_heads, head_importance, single_ablations
from seqmem.models import SequenceConfig, SequenceLM
from seqmem.papers._subject import PRETRAINED, TINY, subject
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.base import Split
from seqmem.tasks.bytes import Bytes

PAPER = Paper(
    slug="sixteen-heads",
    uses=("seqmem.interp.head_importance", "seqmem.interp.ablate_heads"),
    setup="A model of 4 attention layers with 8 heads is trained on a mixture: bytes of a novel, and random letters "
    "that come twice. The importance of a head is the size of the loss's gradient with respect to a factor before it. "
    "Then heads are taken out, one at a time and together, on held-out text. A pretrained model is treated alike.",
    baseline="random order of pruning, mean of 5; the truth: the rise of the loss without each head alone",
    control="importance shuffled among the heads: it must not predict what ablation does",
    figures=(
        Figure("agreement", "trained: rank correlation of importance and loss without the head"),
        Figure("idle", "trained: share of heads that cost less than 1 % of the loss alone"),
        Figure("pruned", "trained: rise of the loss, 40 % of the heads out by importance", "nats"),
        Figure("pruned_random", "trained: the same in random order (baseline)", "nats"),
        Figure("shuffled", "trained: rank correlation of shuffled importance (control)"),
        Figure("pre_agreement", "pretrained: rank correlation of importance and loss without the head"),
        Figure("pre_idle", "pretrained: share of heads that cost less than 1 % of the loss alone"),
        Figure("pre_pruned", "pretrained: rise of the loss, 20 % of the heads out by importance", "nats"),
        Figure("pre_random", "pretrained: the same in random order (baseline)", "nats"),
    ),
    rule=Rule(
        holds="agreement > 0.5 and pruned <= 0.5 * pruned_random and idle >= 0.5 and pre_pruned <= 0.5 * pre_random "
        "and pre_random > 0.1 and pre_idle >= 0.5",
        in_part="agreement > 0.5 and pruned <= 0.5 * pruned_random",
        control="abs(shuffled) < 0.5",
    ),
    limits="Heads are silenced, not removed from memory: nothing becomes faster here. Perplexity on bytes and on a few "
    "paragraphs, not translation; no attention between decoder and encoder. Of the pretrained model's heads every "
    "third is ablated alone.",
    own_model="with head_importance(model, batches, loss) and ablate_heads(model, heads)",
    settings={
        "smoke": {"steps": 2, "rows": 2, PRETRAINED: TINY},
        "laptop": {"steps": 500, "rows": 16, PRETRAINED: "smollm2"},
        "full": {"steps": 5000, "rows": 64, PRETRAINED: "smollm2"},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
    parts=("trained", "pretrained"),
    takes_model=("pretrained",),
)

LENGTH, DRAWS = 96, 5
TEXT = (
    "The library opens at nine, and the first visitors usually wait outside with their bags and newspapers. On "
    "the left are the maps, on the right the novels, and behind the stairs there is a small room for people who "
    "want to work in silence. In winter the windows are closed and the heating makes a low noise that nobody "
    "minds. A pump is a machine that moves water from a lower place to a higher one. The oldest pumps were wheels"
    " with buckets, turned by animals or by the river itself. Later a piston in a tube did the same work in less "
    "space, and when steam engines came they were first used to keep the water out of mines. She had learned to "
    "bake from her grandmother, who never wrote anything down. Flour, water, salt and a little of the old dough "
    "were enough, she used to say, if one had the whole night. In the morning the bread was on the table before "
    "anybody else was awake, and the kitchen smelled of it until noon. When two plates of the crust of the earth "
    "meet, one is often pushed below the other. The rock that sinks becomes hot and gives up its water, and the "
    "water makes the rock above it melt. That is why volcanoes stand in long rows along the coasts of some oceans"
    " and are missing along others."
)


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """A network trained, or one looked into."""
    return _pretrained(settings, seed, model, report) if part == "pretrained" else _trained(settings, seed, report)


def loss_of(lm: Any, tokens: Tensor) -> Tensor:
    """Nats per token of every row."""
    logits = lm(tokens[:, :-1], use_cache=False).logits
    return F.cross_entropy(logits.mT, tokens[:, 1:], reduction="none").mean(1)


def _mixture(text: Bytes, rows: int, split: Split, generator: torch.Generator) -> Tensor:
    """(rows, 96) bytes: half prose, half letters that come twice."""
    drawn = text.sample(rows - rows // 2, LENGTH - 1, generator, split=split)
    prose = torch.cat([drawn.inputs, drawn.targets[:, -1:]], 1)
    letters = 97 + torch.randint(26, (rows // 2, LENGTH // 2), generator=generator)
    return torch.cat([prose, torch.cat([letters, letters], 1)])


def _trained(settings: dict[str, Any], seed: int, report: Report) -> dict[str, Any]:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    text, steps = Bytes(), settings["steps"]
    layer = {"name": "attention", "heads": 8}
    lm = SequenceLM(SequenceConfig(vocab_size=256, width=64, layers=[layer] * 4, mlp_width=128, short_conv=3))
    descend(
        lm,
        lambda _: loss_of(lm, _mixture(text, 16, "train", generator)).mean(),
        steps,
        3e-3,
        lambda step: report(0.7 * step / steps, "training"),
    )
    lm.eval()
    held = [_mixture(text, settings["rows"], "validation", generator) for _ in range(4)]
    rows = head_importance(lm, held, loss_of)
    rises = single_ablations(lm, held, loss_of, rows)
    whole = _loss(lm, held)
    report(0.8, "pruning")
    scaled = [row.scaled for row in rows]
    shuffled = torch.randperm(len(rows), generator=generator).tolist()
    by, at_random = _curves(lm, rows, held, generator)
    shares = [i / 10 for i in range(len(by))]
    return {
        "figures": {
            "agreement": _rank([row.importance for row in rows], rises),
            "idle": float(np.mean([rise < 0.01 * whole for rise in rises])),
            "pruned": by[4] - whole,
            "pruned_random": at_random[4] - whole,
            "shuffled": _rank([scaled[i] for i in shuffled], rises),
        },
        "series": {
            "loss against share of heads taken out: by importance": {"x": shares, "y": by},
            "loss against share of heads taken out: at random": {"x": shares, "y": at_random},
        },
    }


def _rank(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's correlation; figures of a network hardly ever tie."""
    return float(np.corrcoef(np.argsort(np.argsort(one)), np.argsort(np.argsort(other)))[0, 1])


@torch.no_grad()
def _loss(lm: Any, batches: Sequence[Tensor]) -> float:
    return float(torch.cat([loss_of(lm, batch) for batch in batches]).mean())


def _without(lm: Any, rows: Sequence[HeadImportance], batches: Sequence[Tensor]) -> float:
    chosen: dict[int, list[int]] = {}
    for row in rows:
        chosen.setdefault(row.layer, []).append(row.head)
    with ablate_heads(lm, chosen):
        return _loss(lm, batches)


def _curves(
    lm: Any, rows: Sequence[HeadImportance], batches: Sequence[Tensor], generator: torch.Generator
) -> tuple[list[float], list[float]]:
    """The loss with 0, 10, ..., 90 % of the heads out, by importance and at random (mean of 5)."""
    ranked = sorted(rows, key=lambda row: row.scaled)
    counts = [round(i / 10 * len(rows)) for i in range(10)]
    by = [_without(lm, ranked[:count], batches) for count in counts]
    draws = []
    for _ in range(DRAWS):
        order = torch.randperm(len(rows), generator=generator).tolist()
        draws.append([_without(lm, [rows[i] for i in order[:count]], batches) for count in counts])
    return by, np.mean(draws, axis=0).tolist()


def _pretrained(settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    lm, tokenizer = subject(model, settings)
    generator = torch.Generator().manual_seed(seed)
    ids = torch.tensor(tokenizer(TEXT, add_special_tokens=False)["input_ids"])
    windows = ids.unfold(0, 64, 16)  # (windows, 64)
    windows = windows[torch.randperm(len(windows), generator=generator)]
    held = [windows[:6]]
    rows = head_importance(lm, held, loss_of)
    report(0.2, "ablations")
    some = rows[seed % 3 :: 3]
    rises = single_ablations(lm, held, loss_of, some)
    whole, count = _loss(lm, held), round(0.2 * len(rows))
    report(0.8, "pruning")
    ranked = sorted(rows, key=lambda row: row.scaled)
    draws = []
    for _ in range(DRAWS):
        order = torch.randperm(len(rows), generator=generator)[:count].tolist()
        draws.append(_without(lm, [rows[i] for i in order], held))
    return {
        "figures": {
            "pre_agreement": _rank([row.importance for row in some], rises),
            "pre_idle": float(np.mean([rise < 0.01 * whole for rise in rises])),
            "pre_pruned": _without(lm, ranked[:count], held) - whole,
            "pre_random": float(np.mean(draws)) - whole,
        }
    }
