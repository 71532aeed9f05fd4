"""Just read twice: the common item of a short and a long list, found by linear attention that reads them in either
order, twice over, or as a prefix in both directions."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.models import SequenceConfig, SequenceLM
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.base import IGNORE
from seqmem.tasks.set_intersection import SetIntersection

TESTED = (4, 16, 48, 96)

PAPER = Paper(
    slug="just-read-twice",
    uses=("seqmem.mixers.prefix_linear_attention.PrefixLinearAttention", "seqmem.tasks.set_intersection"),
    setup="Which item is in both lists, one of 4 items and one of 4 to 96, of 256? Linear attention (3 layers, width "
    "64, 4 heads with 4 features each, a Taylor series of the exponential) is trained on both orders alike, on long "
    "lists that grow to 96 items. Three models of the same size and number of tokens: one reads the lists once, one "
    "twice over (JRT-Prompt), one once with all of the prompt as a prefix without causal order (JRT-RNN).",
    baseline="the model that reads once; one in four is right who only knows the short list",
    control="a long list of 4 items, which fits into the state: there must be no gap between the orders",
    figures=(
        Figure("short_first", "96 items, read once, short list first", "accuracy"),
        Figure("long_first", "96 items, read once, long list first", "accuracy"),
        Figure("gap_16", "short list first minus long list first, 16 items"),
        Figure("gap_48", "the same, 48 items"),
        Figure("gap_96", "the same, 96 items"),
        Figure("gap_4", "the same, 4 items: equal lists (control)"),
        Figure("equal", "4 items, read once, both orders", "accuracy"),
        Figure("twice_long_first", "96 items, read twice, long list first", "accuracy"),
        Figure("twice_short_first", "the same, short list first", "accuracy"),
        Figure("prefix_long_first", "96 items, read as a prefix, long list first", "accuracy"),
        Figure("prefix_short_first", "the same, short list first", "accuracy"),
    ),
    rule=Rule(
        holds="gap_96 >= 0.1 and gap_48 >= gap_16 and gap_96 >= gap_48 and "
        "twice_long_first - long_first >= 0.5 * gap_96 and "
        "abs(mean(prefix_short_first - prefix_long_first)) <= 0.05 and low(prefix_long_first - long_first) > 0",
        in_part="gap_96 >= 0.1 and (twice_long_first - long_first >= 0.5 * gap_96 or "
        "(abs(mean(prefix_short_first - prefix_long_first)) <= 0.05 and low(prefix_long_first - long_first) > 0))",
        control="abs(mean(gap_4)) <= 0.05 and equal >= 0.5",
    ),
    limits="",
    own_model='repeat_prompt(context, question) is a prompt for any model; layers=[{"name": "prefix_linear_attention", '
    '"prefix": 512}] makes a SequenceLM that reads its first 512 tokens in both directions',
    parts=("once", "twice", "prefix"),
    settings={
        "smoke": {"steps": 3, "tokens": 300, "test": 8},
        "laptop": {"steps": 1200, "tokens": 3300, "test": 2000},
        "full": {"steps": 12000, "tokens": 6600, "test": 10000},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)

GROWING, RATE = 0.8, 4e-3


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """One model: trained, then asked about long lists of all sizes, in both orders."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    times, longest, steps = 2 if part == "twice" else 1, TESTED[-1], settings["steps"]
    whole = SetIntersection(long=longest, times=times)
    layer = {"name": "prefix_linear_attention", "heads": 4, "features": 4}
    layer["prefix"] = whole.train_length if part == "prefix" else 0
    lm = SequenceLM(SequenceConfig(whole.vocab_size, 64, [layer] * 3, mlp_width=64))

    def ask(long: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Logits and answers of ``count`` questions, (count, vocabulary) and (count,), and which order each has."""
        task = SetIntersection(long=long, times=times)
        batch = task.sample(count, task.train_length, generator)
        assert batch.groups is not None
        asked = batch.targets != IGNORE
        return lm.run(batch.inputs, asked=asked)[0], batch.targets[asked], batch.groups

    def loss_of(step: int) -> Tensor:
        grown = min(1.0, step / (GROWING * steps))
        long = round(TESTED[0] * (longest / TESTED[0]) ** grown)
        if step % 2:
            long = int(torch.randint(TESTED[0], long + 1, (), generator=generator))
        return F.cross_entropy(*ask(long, max(2, settings["tokens"] // whole.length_of(long)))[:2])

    descend(lm, loss_of, steps, RATE, lambda step: report(step / steps, part))
    lm.eval()
    right = {long: [0.0, 0.0] for long in TESTED}  # of each order
    with torch.no_grad():
        for long in TESTED:
            hits, orders = [], []
            for _ in range(4):
                logits, answer, order = ask(long, settings["test"] // 4)
                hits.append(logits.argmax(-1) == answer)
                orders.append(order)
            hit, order = torch.cat(hits).float(), torch.cat(orders)
            right[long] = [float(hit[order == which].mean()) for which in (0, 1)]
    short_first, long_first = right[longest]
    figures = {f"{part}_short_first": short_first, f"{part}_long_first": long_first}
    if part == "once":
        figures = {"short_first": short_first, "long_first": long_first, "equal": sum(right[4]) / 2}
        figures |= {f"gap_{long}": right[long][0] - right[long][1] for long in TESTED}
    sizes = [float(long) for long in TESTED]
    return {
        "figures": figures,
        "series": {
            f"accuracy against items of the long list: {part}, {name} first": {
                "x": sizes,
                "y": [right[long][which] for long in TESTED],
            }
            for which, name in enumerate(("short", "long"))
        },
    }
