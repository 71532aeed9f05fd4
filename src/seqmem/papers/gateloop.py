"""GateLoop: three forms of one recurrence, and a task in which the data say how far back the answer reaches."""

from __future__ import annotations

from typing import Any

import torch

from seqmem.mixers.gateloop import GateLoop
from seqmem.papers._tasks import accuracy, learner, of_task, unseen
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks import get_task
from seqmem.tasks.memory_horizon import MemoryHorizon

#: part -> options of the layer
ARMS: dict[str, dict[str, Any]] = {
    "controlled": {},
    "real": {"phase": False},
    "fixed": {"data_controlled": False},
}

PAPER = Paper(
    slug="gateloop",
    uses=("seqmem.mixers.gateloop.GateLoop", "seqmem.tasks.memory_horizon.MemoryHorizon"),
    setup="One layer reads the same 64 positions as a loop, as a scan and as attention, in float64. Models of two "
    "layers (width 64) learn to say, at every one of 256 steps, the sum of the numbers since the last reset: with "
    "decay and phase read off the data, with decay alone, and with both learned but fixed.",
    baseline="decay and phase that are learned numbers, the same at every step, of equal width and training",
    control="the attention form of inputs one position late: it must not agree with the loop. Texts without their "
    "resets, a number in the place of each: the trained model must lose the sums of the text with them",
    figures=(
        Figure("forms", "largest difference of loop, scan and attention"),
        Figure("late", "the same with inputs one position late (control)"),
        Figure("controlled", "memory horizon, decay and phase from the data", "accuracy"),
        Figure("real", "the same, decay from the data, no phase", "accuracy"),
        Figure("fixed", "the same, decay and phase fixed (baseline)", "accuracy"),
        Figure("blind", "what the likeliest answer scores", "accuracy"),
        Figure("unmarked", "decay and phase from the data: the same answers, resets replaced (control)", "accuracy"),
    ),
    rule=Rule(
        holds="forms < 1e-9 and controlled - fixed >= 0.15 and controlled - real <= 0.05",
        in_part="forms < 1e-9 and controlled - fixed >= 0.15",
        control="late > 1e-3 and unmarked <= controlled - 0.2",
    ),
    limits="A sum, at most 50, is asked where the paper has a function of its own of what was read since the reset; "
    "no language model of 125 million weights. The clause about the phase says that leaving it out costs nothing "
    "here, where counting needs none.",
    own_model="seqmem compare --tasks memory_horizon --mixers gateloop,my_layer:MyLayer",
    parts=("forms", *ARMS),
    settings={
        "smoke": {"steps": 2, "length": 32, "batch": 2, "test": 4},
        "laptop": {"steps": 400, "length": 256, "batch": 6, "test": 200},
        "full": {"steps": 20_000, "length": 1024, "batch": 32, "test": 1000},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """The forms, or one trained model."""
    if part == "forms":
        return {"figures": _forms(seed)}
    task = get_task("memory_horizon", length=settings["length"])
    steps = settings["steps"]
    lm = learner(
        of_task(task, settings["batch"]),
        task.vocab_size,
        [{"name": "gateloop", **ARMS[part]}] * 2,
        steps,
        seed,
        short_conv=0,
        report=lambda step: report(step / steps, part),
    )
    test = unseen(task, settings["test"], seed)
    figures = {part: accuracy(lm, test, rows=16)}
    if part == "controlled":
        assert isinstance(task, MemoryHorizon)
        number = torch.randint(task.numbers, test.inputs.shape, generator=torch.Generator().manual_seed(seed))
        unmarked = test._replace(inputs=torch.where(test.inputs == task.numbers, number, test.inputs))
        figures |= {"unmarked": accuracy(lm, unmarked, rows=16), "blind": task.chance}
    return {"figures": figures}


@torch.no_grad()
def _forms(seed: int) -> dict[str, float]:
    """Largest differences, of max-headed layers and of layers with heads of four."""
    differences, late = [], []
    for heads in (None, 4):
        torch.manual_seed(seed)
        layer = GateLoop(16, heads=heads).double()
        x = torch.randn(2, 64, 16, dtype=torch.float64)
        loop, _ = layer(x, form="recurrent")
        differences.append(float((layer(x, form="parallel")[0] - loop).abs().max()))
        differences.append(float((layer.read(x, layer.attention(x)) - loop).abs().max()))
        shifted = layer.attention(torch.cat([x[:, :1], x[:, :-1]], 1))
        late.append(float((layer.read(x, shifted) - loop).abs().max()))
    return {"forms": max(differences), "late": min(late)}
