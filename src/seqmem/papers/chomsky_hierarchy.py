"""Which networks carry on where training strings end: four tasks of three levels, and the machines they ask for."""

from __future__ import annotations

from typing import Any

import torch

from seqmem.papers._tasks import accuracy, learner
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.base import Batch
from seqmem.tasks.chomsky import Chomsky

#: model -> its layers; a recurrent one has no MLP, as in the paper
MODELS: dict[str, list[str]] = {
    "rnn": ["rnn"],
    "lstm": ["lstm"],
    "stack": ["stack_rnn"],
    "tape": ["tape_rnn"],
    "transformer": ["attention"] * 2,
}
#: part -> task, model
PARTS = {
    **{f"parity_{model}": ("parity_check", model) for model in ("rnn", "lstm", "transformer")},
    **{f"pairs_{model}": ("even_pairs", model) for model in MODELS},
    **{f"reverse_{model}": ("reverse_string", model) for model in ("lstm", "stack")},
    **{f"twice_{model}": ("duplicate_string", model) for model in ("stack", "tape")},
}
CONTROLS = ("parity_lstm", "pairs_lstm", "reverse_stack", "twice_tape")
WIDTH, BATCH, TESTS = 64, 64, 32

PAPER = Paper(
    slug="chomsky-hierarchy",
    uses=("seqmem.tasks.chomsky.Chomsky", "seqmem.mixers.stack_rnn.StackRNN", "seqmem.mixers.tape_rnn.TapeRNN"),
    setup="Networks of width 64, recurrent ones of one layer and a causal transformer of two with rotary positions, "
    "learn from strings of 1 to 20 symbols and are read out on strings of 21 to 80: is the number of ones odd, do both "
    "ends agree, the string backwards, the string twice.",
    baseline="the networks without a stack or tape, and the transformer",
    control="four of the networks on strings of 1 to 20 symbols with the answers to other strings: none may know them",
    figures=(
        *(
            Figure(part, f"{task.replace('_', ' ')}, {model}: accuracy at 21 to 80 symbols", "")
            for part, (task, model) in PARTS.items()
        ),
        *(Figure(f"{part}_short", "the same at 1 to 20 symbols", "") for part in PARTS),
        *(Figure(f"{part}_exchanged", "the same on answers to other strings (control)", "") for part in CONTROLS),
    ),
    rule=Rule(
        holds="parity_rnn >= 0.95 and parity_lstm >= 0.95 and parity_transformer <= 0.7 and reverse_stack >= 0.9 and "
        "reverse_lstm <= 0.8 and mean(twice_tape - twice_stack) >= 0.1 and pairs_rnn >= 0.9 and pairs_lstm >= 0.9 and "
        "pairs_stack >= 0.9 and pairs_tape >= 0.9 and pairs_transformer >= 0.9",
        in_part="parity_lstm >= 0.95 and parity_transformer <= 0.7 and mean(reverse_stack - reverse_lstm) >= 0.1",
        control=" and ".join(f"{part}_exchanged <= 0.6" for part in CONTROLS),
    ),
    limits="Four of the fifteen tasks, of which the library has all; one learning rate, minutes of training where the "
    "paper has a million steps, means over seeds where the paper reports the best. The transformer is causal and of "
    "two layers; of position codes only the rotary one.",
    own_model="seqmem compare --tasks chomsky --mixers lstm,stack_rnn,my_layer:MyLayer, with kind: in a study file",
    parts=tuple(PARTS),
    settings={
        "smoke": {"steps": 2, "short": [3, 6], "long": [8]},
        "laptop": {"steps": 1000, "short": [2, 5, 10, 15, 20], "long": [24, 32, 48, 64, 80]},
        "full": {"steps": 20_000, "short": [2, 5, 10, 15, 20], "long": list(range(21, 81))},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """One network on one task."""
    kind, name = PARTS[part]
    steps = settings["steps"]
    longest = max(settings["short"])
    task = Chomsky(kind, length=Chomsky(kind).steps_of(longest))
    lm = learner(
        lambda generator: task.sample(BATCH, task.length, generator),
        task.vocab_size,
        list(MODELS[name]),
        steps,
        seed,
        width=WIDTH,
        mlp_width=None if name == "transformer" else 0,
        short_conv=0,
        report=lambda step: report(step / steps, part),
    )
    generator = torch.Generator().manual_seed(10_000 + seed)
    tests = {
        size: task.sample(TESTS, task.steps_of(size), generator, split="test")
        for size in (*settings["short"], *settings["long"])
    }
    right = {size: accuracy(lm, batch) for size, batch in tests.items()}
    near, far = ([right[size] for size in settings[which]] for which in ("short", "long"))
    figures = {part: sum(far) / len(far), f"{part}_short": sum(near) / len(near)}
    if part in CONTROLS:
        exchanged = [accuracy(lm, _exchanged(tests[size])) for size in settings["short"] if size > 4]
        figures[f"{part}_exchanged"] = sum(exchanged) / len(exchanged)
    series = {f"accuracy against length, {kind.replace('_', ' ')}: {name}": _line(right)}
    return {"figures": figures, "series": series}


def _exchanged(batch: Batch) -> Batch:
    return batch._replace(targets=batch.targets.roll(1, 0))


def _line(right: dict[int, float]) -> dict[str, list[float]]:
    return {"x": [float(size) for size in right], "y": list(right.values())}
