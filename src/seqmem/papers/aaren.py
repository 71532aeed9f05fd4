"""Attention as an RNN: the scan against softmax over every prefix, series told apart by their frequency, and recall,
which a query that does not see the token cannot do."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from seqmem.mixers import get_mixer
from seqmem.mixers.state import state_bytes
from seqmem.ops import running_softmax
from seqmem.papers._tasks import accuracy, learner, of_task, unseen
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks import get_task
from seqmem.tasks.base import IGNORE, Batch

CYCLES = (4, 6, 9, 13)  # in a series
LENGTH, LEVELS, NOISE = 128, 32, 0.3  # of a series, of its values, and the noise's standard deviation
ARMS = ("aaren", "attention")

PAPER = Paper(
    slug="aaren",
    uses=("seqmem.ops.running_softmax", "seqmem.mixers.aaren.Aaren"),
    setup="The op reads scores of standard deviation 5 in float64 and is compared with a softmax over every prefix; "
    "then scores of plus or minus 1000 in float32. The bytes of the layer's state are counted after 64 and after 256 "
    "tokens. Models of two layers, each after a convolution over 4 positions, learn which of four frequencies a noisy "
    f"sine has ({LENGTH} steps, {LEVELS} levels, phase random, noise of deviation {NOISE}; width 32; asked at the last "
    "step, in training over the second half), and recall of 16 key-value pairs (64 steps, width 64).",
    baseline="attention with a query from the token and rotary positions, of equal width and training",
    control="scores that are one position late: they must not agree with the prefixes. The same series with their "
    "steps in random order, in which no frequency is left: the models must be near chance, 0.25",
    figures=(
        Figure("prefixes", "largest difference of scan and softmax over every prefix"),
        Figure("late", "the same with scores one position late (control)"),
        Figure("broken", "outputs that are not finite, scores of plus or minus 1000 in float32"),
        Figure("state_growth", "bytes of the state after 256 tokens over those after 64, Aaren"),
        Figure("state_growth_attention", "the same, attention"),
        Figure("frequency", "which frequency, Aaren", "accuracy"),
        Figure("frequency_attention", "the same, attention (baseline)", "accuracy"),
        Figure("disordered", "the same in series without order, the better of both (control)", "accuracy"),
        Figure("recall", "recall of 16 pairs, Aaren", "accuracy"),
        Figure("recall_attention", "the same, attention", "accuracy"),
    ),
    rule=Rule(
        holds="prefixes < 1e-10 and broken == 0 and state_growth == 1 and state_growth_attention > 2 and "
        "frequency >= frequency_attention - 0.03 and recall_attention - recall >= 0.3",
        in_part="prefixes < 1e-10 and broken == 0 and state_growth == 1 and frequency >= frequency_attention - 0.03",
        control="late > 1e-3 and disordered <= 0.35",
    ),
    limits="One synthetic classification instead of 38 data sets, and a convolution in front of each layer, which the "
    "paper's models do not have in every layer. That Aaren cannot recall is not a claim of the paper but the other "
    "side of its constant state.",
    own_model="seqmem compare --mixers aaren,attention,my_layer:MyLayer",
    parts=("scan", "frequency", "recall"),
    settings={
        "smoke": {"steps": 2, "recall_steps": 2, "test": 40},
        "laptop": {"steps": 500, "recall_steps": 350, "test": 1000},
        "full": {"steps": 5000, "recall_steps": 10_000, "test": 5000},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)


def series(count: int, generator: torch.Generator, *, asked: int = 1, ordered: bool = True) -> Batch:
    """``count`` noisy sines as tokens, (count, LENGTH); the frequency's number is asked at the ``asked`` last steps.

    ordered=False: the steps of every series in a random order of its own.
    """
    target = torch.randint(len(CYCLES), (count,), generator=generator)
    cycles = torch.tensor(CYCLES)[target, None]
    phase = torch.rand(count, 1, generator=generator)
    time = torch.arange(LENGTH) / LENGTH
    x = torch.sin(2 * math.pi * (cycles * time + phase)) + NOISE * torch.randn(count, LENGTH, generator=generator)
    inputs = ((x + 2) * LEVELS / 4).long().clamp(0, LEVELS - 1)
    if not ordered:
        inputs = inputs.gather(1, torch.rand(count, LENGTH, generator=generator).argsort(1))
    targets = torch.full_like(inputs, IGNORE)
    targets[:, -asked:] = target[:, None]
    return Batch(inputs, targets)


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """The scan, or a pair of trained models."""
    if part == "scan":
        return {"figures": _scan(seed)}
    steps = settings["steps" if part == "frequency" else "recall_steps"]
    figures: dict[str, float] = {}
    disordered = []
    for n, name in enumerate(ARMS):

        def tell(step: int, n: int = n, name: str = name) -> None:
            report((n + step / steps) / len(ARMS), f"{part}, {name}")

        suffix = "" if name == "aaren" else "_attention"
        if part == "frequency":
            lm = learner(
                lambda g: series(16, g, asked=LENGTH // 2),
                LEVELS,
                [name] * 2,
                steps,
                seed,
                width=32,
                rate=5e-3,
                report=tell,
            )
            generator = torch.Generator().manual_seed(10_000 + seed)
            figures[f"frequency{suffix}"] = accuracy(lm, series(settings["test"], generator))
            disordered.append(accuracy(lm, series(settings["test"], generator, ordered=False)))
            figures["disordered"] = max(disordered)
        else:
            task = get_task("mqar", pairs=16, length=64, filler="blank")
            lm = learner(of_task(task, 32), task.vocab_size, [name] * 2, steps, seed, report=tell)
            figures[f"recall{suffix}"] = accuracy(lm, unseen(task, settings["test"], seed))
    return {"figures": figures}


def _prefixes(score: Tensor, value: Tensor) -> Tensor:
    """Softmax attention over every prefix by its definition, one prefix after the other."""
    outputs = []
    for t in range(1, value.shape[1] + 1):
        outputs.append(torch.einsum("bjh,bjhv->bhv", score[:, :t].softmax(1), value[:, :t]))
    return torch.stack(outputs, 1)


@torch.no_grad()
def _scan(seed: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    score = 5 * torch.randn(2, 128, 4, generator=generator, dtype=torch.float64)  # (batch, time, heads)
    value = torch.randn(2, 128, 4, 8, generator=generator, dtype=torch.float64)
    wanted = _prefixes(score, value)
    late = torch.cat([score[:, :1], score[:, :-1]], 1)
    huge = 1000 * (2 * torch.randint(2, score.shape, generator=generator) - 1).float()
    found, _ = running_softmax(huge, value.float())
    figures = {
        "prefixes": float((running_softmax(score, value)[0] - wanted).abs().max()),
        "late": float((running_softmax(late, value)[0] - wanted).abs().max()),
        "broken": float((~found.isfinite()).sum()),
    }
    for name in ARMS:
        torch.manual_seed(seed)
        layer = get_mixer(name)(32)
        x = torch.randn(1, 256, 32, generator=generator)
        after = [state_bytes(layer(x[:, :time])[1]) for time in (64, 256)]
        figures["state_growth" if name == "aaren" else "state_growth_attention"] = after[1] / after[0]
    return figures
