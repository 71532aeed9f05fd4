"""The parts of attention, exchanged one by one: every score with two distributions in one encoder and decoder."""

from __future__ import annotations

import inspect
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.mixers import get_mixer
from seqmem.models.aligned_seq2seq import AlignedSeq2Seq
from seqmem.models.alignment import SCORES, Alignment
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.theory import attention_taxonomy

KINDS = {"soft": "softmax", "sparse": "sparsemax"}
CONTENT = [name for name in SCORES if name not in ("location", "feature")]  # those that compare a query with a key

PAPER = Paper(
    slug="attention-survey",
    uses=(
        "seqmem.models.Alignment",
        "seqmem.models.AlignedSeq2Seq",
        "seqmem.theory.attention_taxonomy",
        "seqmem.mixers",
    ),
    setup="A GRU of width 64 reads 10 random letters (of 16), another says them backwards, reading the first one's "
    "outputs through an alignment: 11 scores, each with softmax and with sparsemax. All are trained alike, and decode "
    "greedily 500 texts of 10 and of 20 letters. The layers of the library that have an exact attention matrix, "
    "explicit or implicit, are measured as they begin.",
    baseline="the plain mean of the encoder's outputs instead of an alignment, trained alike",
    control="the trained models with their weights shuffled among the positions: no better than the plain mean",
    figures=(
        *(
            figure
            for kind, distribution in KINDS.items()
            for figure in (
                Figure(f"{kind}_content", f"{distribution}: accuracy of the worst score that compares query and key"),
                Figure(f"{kind}_feature", f"{distribution}: accuracy of the score that sees the key alone"),
                Figure(f"{kind}_location", f"{distribution}: accuracy of the score that names places"),
                Figure(f"{kind}_location_long", f"{distribution}: the same at twice the length"),
                Figure(f"{kind}_content_long", f"{distribution}: the worst that compares, at twice the length"),
                Figure(
                    f"{kind}_shuffled",
                    f"{distribution}: accuracy, weights shuffled (control; the best of those scores)",
                ),
            )
        ),
        Figure("mean_of_all", "accuracy with the plain mean (baseline)"),
        Figure("zeros", "sparsemax: share of weights that are exactly zero (the least of all scores')"),
        Figure("sum_error", "sparsemax: largest distance of a sum of weights from 1"),
    ),
    rule=Rule(
        holds="soft_content >= 0.95 and sparse_content >= 0.95 and soft_feature >= 0.95 and sparse_feature >= 0.95 and "
        "soft_location_long < 0.5 and sparse_location_long < 0.5 and zeros > 0 and sum_error < 1e-6",
        in_part="soft_content >= 0.95 and sparse_content >= 0.95 and soft_location_long < 0.5 and "
        "sparse_location_long < 0.5 and zeros > 0 and sum_error < 1e-6",
        control="soft_shuffled <= mean_of_all + 0.05 and sparse_shuffled <= mean_of_all + 0.05",
    ),
    limits="Not all scores get there: cosines lie between -1 and 1, too close for a softmax over ten keys to single "
    "one out, and a score that sees the key alone cannot follow a query and does no better than the plain "
    "mean; the tables say which. One task of one length, in which a query need only count; letters, not "
    "words. Hard attention and local windows are in the library and not in this experiment. A weight is what "
    "is read of a position, not why: outputs of an encoder carry other positions too, and different weights "
    "can give the same answer.",
    own_model="Alignment(width, score, distribution)(queries, keys).weights in any model of your own",
    settings={
        "smoke": {"steps": 2, "tests": 8},
        "laptop": {"steps": 800, "tests": 500},
        "full": {"steps": 4000, "tests": 2000},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
    parts=("soft", "sparse"),
)

LETTERS, LENGTH, WIDTH, BATCH, RATE = 16, 10, 64, 64, 5e-3


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """All scores with one distribution."""
    rows, figures = {}, {}
    for n, score in enumerate(SCORES):
        report(n / (len(SCORES) + 1), score)
        rows[score] = _reversed(score, KINDS[part], settings, seed)
    figures = {
        f"{part}_content": min(rows[score]["accuracy"] for score in CONTENT),
        f"{part}_content_long": min(rows[score]["long"] for score in CONTENT),
        f"{part}_shuffled": max(rows[score]["shuffled"] for score in CONTENT),
        f"{part}_feature": rows["feature"]["accuracy"],
        f"{part}_location": rows["location"]["accuracy"],
        f"{part}_location_long": rows["location"]["long"],
    }
    if part == "sparse":
        figures |= {
            "zeros": min(row["zeros"] for row in rows.values()),
            "sum_error": max(row["sum_error"] for row in rows.values()),
            "mean_of_all": _reversed(None, "softmax", settings, seed)["accuracy"],
        }
    found: dict[str, Any] = {"figures": figures}
    if seed == 0:
        found["tables"] = {f"Scores, with {KINDS[part]} (seed 0)": _scores(rows)}
    if seed == 0 and part == "soft":
        found["tables"]["Layers of the library with an attention matrix, as they begin"] = _layers()
        found["series"] = _by_distance()
    return found


def _reversed(score: str | None, distribution: str, settings: dict[str, Any], seed: int) -> dict[str, float]:
    """A model trained to say letters backwards, and what came of it; no score: the plain mean."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    places = {"positions": 2 * LENGTH} if score == "location" else {}
    alignment = None if score is None else Alignment(WIDTH, score, distribution, **places)
    lm = AlignedSeq2Seq(LETTERS, WIDTH, alignment=alignment)

    def loss_of(_: int) -> Tensor:
        x = torch.randint(LETTERS, (BATCH, LENGTH), generator=generator)
        return F.cross_entropy(lm(x, x.flip(1)).mT, x.flip(1))

    descend(lm, loss_of, settings["steps"], RATE)
    lm.eval()
    found = {}
    for name, length in (("long", 2 * LENGTH), ("accuracy", LENGTH)):
        x = torch.randint(LETTERS, (settings["tests"], length), generator=generator)
        said, weights = lm.decode(x, length)
        found[name] = float((said == x.flip(1)).float().mean())
    found["on_source"] = float(weights.flip(1).diagonal(dim1=1, dim2=2).mean())
    found["zeros"] = float((weights == 0).float().mean())
    found["sum_error"] = float((weights.sum(-1) - 1).abs().max())
    found["parameters"] = 0 if alignment is None else sum(p.numel() for p in alignment.parameters())
    if alignment is not None:
        order = torch.randperm(LENGTH, generator=generator)
        handle = alignment.register_forward_hook(lambda _, __, out: out._replace(weights=out.weights[..., order]))
        said, _ = lm.decode(x, LENGTH)
        handle.remove()
        found["shuffled"] = float((said == x.flip(1)).float().mean())
    return found


def _scores(rows: dict[str, dict[str, float]]) -> dict[str, Any]:
    shown = ("accuracy", "long", "on_source", "zeros", "parameters")
    heads = ["score", "what it is", "accuracy", "at twice the length", "weight on the letter", "zeros", "parameters"]
    told = {name: (inspect.getdoc(SCORES[name]) or "").split(". InputError")[0].rstrip(".") for name in rows}
    return {"columns": heads, "rows": [[name, told[name], *(row[key] for key in shown)] for name, row in rows.items()]}


def _layers() -> dict[str, Any]:
    """The survey's axes, of this library's layers."""
    rows = [
        [
            row["name"],
            "one (self)",
            "single",
            row["positions"],
            str(row["matrices"]),
            "yes" if row["sums"] else "no",
            "yes" if row["signed"] else "no",
            row["shared"],
        ]
        for row in attention_taxonomy()
    ]
    heads = ["layer", "sequences", "levels", "positions", "matrices", "rows sum to 1", "below zero", "attends through"]
    return {"columns": heads, "rows": rows}


@torch.no_grad()
def _by_distance(time: int = 32, shown: int = 8) -> dict[str, dict[str, list[float]]]:
    """The mean share of |weight| at every distance, of every layer that has a matrix, some lines to a plot."""
    x = torch.randn(4, time, WIDTH, generator=torch.Generator().manual_seed(0))
    names = [row["name"] for row in attention_taxonomy()]
    series = {}
    for first in range(0, len(names), shown):
        group = names[first : first + shown]
        for name in group:
            torch.manual_seed(0)
            mixer: Any = get_mixer(name)(WIDTH)
            weights = mixer.attention(x).abs().mean((0, 1))[-1]  # what the last position reads
            share = (weights / weights.sum()).flip(0)
            title = (
                f"share of the last position's weight against distance, layers as they begin, {group[0]} to {group[-1]}"
            )
            series[f"{title}: {name}"] = {"x": list(range(time)), "y": share.tolist()}
    return series
