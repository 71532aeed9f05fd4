"""Passages in the weights: recited from their beginning, and asked for from the middle."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqmem.models import SequenceLM
from seqmem.papers._recall import look_back_evenly
from seqmem.papers._tasks import learner, of_task
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.base import IGNORE, Batch
from seqmem.tasks.passages import Passages
from seqmem.tasks.path_star import own_answers

#: part -> the options of its task
ARMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "permuted": {"writing": "permuted"},
    "recited": {"reading": "recited"},
    "unwritten": {"writing": "none"},
}
WORDS = {"plain": "", "permuted": ", permuted in writing", "recited": " after reciting", "unwritten": ", never written"}
SENTENCES = (1, 2, 3, 4)

PAPER = Paper(
    slug="random-memory-access",
    uses=("seqmem.tasks.passages.Passages",),
    setup="Random passages of four marked sentences of four words (120, drawn anew for every seed) are written under "
    "their names: the model is trained on the name and the text. In turns it is trained to read 96 of them: recite "
    "the whole, or, given name and mark, say that sentence. 24 were written alone, and are asked for after training; "
    "exact matches of whole answers after the model's own words, for recited sentences of the sentence itself. "
    "Attention of two layers and width 64, 500 updates of batch 64. Permuted: in writing, a random sentence with its "
    "mark stands in front. Recited: the whole passage is said before the sentence, 1000 updates, with a short "
    "convolution over two positions, so that a mark can be found again.",
    baseline="passages written as they are, sentences asked for directly",
    control="the same without writing: held-out passages, which the model has then never met, must not be known",
    figures=(
        *(Figure(f"{arm}_full", f"whole passages, held out{WORDS[arm]}", "exact") for arm in ARMS),
        *(
            Figure(f"{arm}_{n}", f"sentence {n} of them{WORDS[arm]}", "exact")
            for arm in ("plain", "permuted", "recited")
            for n in SENTENCES
        ),
        Figure("plain_read", "the worst sentence of passages whose reading was trained, plain", "exact"),
        Figure("recited_read", "the same after reciting", "exact"),
    ),
    rule=Rule(
        holds="plain_full >= 0.9 and plain_1 >= 0.6 and "
        + " and ".join(f"plain_{n} <= 0.15 and permuted_{n} >= 0.5 and recited_{n} >= 0.5" for n in SENTENCES[1:]),
        in_part="plain_full >= 0.9 and "
        + " and ".join(f"plain_{n} <= 0.15 and permuted_{n} >= 0.5" for n in SENTENCES[1:]),
        control="best(unwritten_full) <= 0.05",
    ),
    limits="Random words instead of text, minutes of training, two of the paper's four ways to read: questions about "
    "a passage, with and without it, are left out. Nothing in training makes the network prefer what stands before it "
    "to what its weights know.",
    own_model="seqmem compare --tasks passages --mixers attention,my_layer:MyLayer",
    parts=tuple(ARMS),
    settings={
        "smoke": {"steps": dict.fromkeys(ARMS, 2), "test": 20},
        "laptop": {"steps": {"plain": 500, "permuted": 500, "recited": 1000, "unwritten": 200}, "test": 240},
        "full": {"steps": dict.fromkeys(ARMS, 5000), "test": 2000},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)

WIDTH, LAYERS, BATCH, RATE = 64, 2, 64, 3e-3


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """One way of writing and reading."""
    task, steps = Passages(**ARMS[part], table=seed), settings["steps"][part]
    lm = learner(
        of_task(task, BATCH),
        task.vocab_size,
        ["attention"] * LAYERS,
        steps,
        seed,
        width=WIDTH,
        short_conv=2 if part == "recited" else 0,
        rate=RATE,
        report=lambda step: report(step / steps, part),
        prepare=look_back_evenly if part == "recited" else None,
    )
    generator = torch.Generator().manual_seed(10_000 + seed)
    held_out, read = (
        task.sample(settings["test"], task.train_length, generator, split=split) for split in ("test", "validation")
    )
    right = _exact(lm, held_out)
    figures = {f"{part}_full": right[0]}
    if part != "unwritten":
        figures |= {f"{part}_{n}": right[n] for n in SENTENCES}
    if part in ("plain", "recited"):
        figures[f"{part}_read"] = min(_exact(lm, read)[1:])
    line = {"x": list(SENTENCES), "y": right[1:]}
    return {"figures": figures, "series": {f"exact matches on held-out passages against sentence: {part}": line}}


@torch.no_grad()
def _exact(lm: SequenceLM, batch: Batch) -> list[float]:
    """The share of examples whose last answer is said in full after the model's own words: whole passages, then each
    sentence."""
    said = own_answers(lambda ids: lm.run(ids)[0], batch)
    wrong = (said != batch.targets) & _last_answer(batch.targets)
    assert batch.groups is not None
    return [float((~wrong.any(1))[batch.groups == group].float().mean()) for group in (1, *(1 + n for n in SENTENCES))]


def _last_answer(targets: Tensor) -> Tensor:
    """True at the asked positions that no unasked one follows before another answer: of a sentence after a recitation,
    the sentence alone."""
    asked = targets != IGNORE
    begins = asked & ~asked.roll(1, 1)
    count = begins.cumsum(1)
    return asked & (count == count[:, -1:])
