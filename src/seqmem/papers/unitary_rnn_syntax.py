"""Words as rotations: what is kept and undone exactly, and brackets and cross-serial strings beside an LSTM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.mixers.lstm import LSTM
from seqmem.mixers.unitary_rnn import UnitaryRNN, effect, similarity
from seqmem.models.unitary_lm import UnitaryLM
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.base import IGNORE, Batch, Task
from seqmem.tasks.cross_serial import WORDS, CrossSerial, legal
from seqmem.tasks.dyck import Dyck

PAPER = Paper(
    slug="unitary-rnn-syntax",
    uses=(
        "seqmem.mixers.unitary_rnn.UnitaryRNN",
        "seqmem.models.unitary_lm.UnitaryLM",
        "seqmem.tasks.dyck.Dyck",
        "seqmem.tasks.cross_serial",
    ),
    setup="A new layer of 32 units reads 500 random inputs in single precision: the length of its state, the "
    "difference between the product of all rotations and the loop, and the first state as it is recovered from the "
    "last one. Then models of 32 units learn, without any other layer, brackets of two kinds, nested at most 4 deep, "
    "from strings of 20 (every closing bracket is asked) and are tested on strings of 40; and a^m b^n c^m d^n as "
    "language models of strings of up to 8 letters, tested on all 30 strings of 10 to 18: a string is right if every "
    "prediction is legal, which from the first c on only one token is.",
    baseline="an LSTM of 64 units with the same training",
    control="the answers of other strings of the same shapes must be a matter of chance; and the words undone in the "
    "wrong order must not give the first state back",
    figures=(
        Figure("length", "distance of the state's length from 1 after 500 steps"),
        Figure("scan", "largest difference between prefix products and loop"),
        Figure("recovered", "distance of the recovered first state from the true one"),
        Figure("recovered_wrongly", "the same, words undone in the wrong order (control)"),
        Figure("dyck", "closing brackets, twice the length of training, rotations", "accuracy"),
        Figure("dyck_lstm", "the same, LSTM (baseline)", "accuracy"),
        Figure("other_kinds", "the same, rotations, judged by other strings of the same shapes (control)", "accuracy"),
        Figure("crossed", "unseen cross-serial strings that are right throughout, rotations"),
        Figure("crossed_lstm", "the same, LSTM (baseline)"),
        Figure("crossed_seen", "strings of the lengths of training, rotations"),
    ),
    rule=Rule(
        holds="length < 1e-5 and scan < 1e-4 and recovered < 1e-4 and dyck >= 0.85 and dyck >= dyck_lstm - 0.1 and "
        "crossed >= 0.5",
        in_part="length < 1e-5 and scan < 1e-4 and recovered < 1e-4 and (dyck >= 0.85 or crossed >= 0.5)",
        control="best(other_kinds) < 0.6 and recovered_wrongly > 0.1",
    ),
    limits="What was not seen is counting: below 10 letters there are six cross-serial strings, which both models "
    "learn by heart, and of the 30 longer ones neither says more than two right. One size of model and one rate, 800 "
    "updates and no dropout; a smaller model was not tried. Brackets leave no room to tell the models apart: both "
    "close them all. The paper's agreement of verbs in natural text is left out.",
    own_model="UnitaryLM(vocab_size, size): words() are its rotations, effect(...) and similarity(...) compare them",
    parts=("exact", "dyck", "dyck_lstm", "crossed", "crossed_lstm"),
    exact=("exact",),
    settings={
        "smoke": {"time": 30, "size": 6, "hidden": 8, "steps": 3, "batch": 8, "test": 20},
        "laptop": {"time": 500, "size": 32, "hidden": 64, "steps": 800, "batch": 64, "test": 500},
        "full": {"time": 500, "size": 50, "hidden": 160, "steps": 20_000, "batch": 512, "test": 5000},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)

BRACKETS, DYCK_RATE, CROSSED_RATE = 20, 1e-2, 1e-2
SEEN, UNSEEN = 8, 18  # letters


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """The numbers of a new layer, or a trained model."""
    if part == "exact":
        return _exact(settings)
    if part.startswith("dyck"):
        return _dyck(part, settings, seed, report)
    return _crossed(part, settings, seed, report)


@torch.no_grad()
def _exact(settings: dict[str, Any]) -> dict[str, Any]:
    torch.manual_seed(0)
    layer = UnitaryRNN(8, size=settings["size"])
    x = torch.randn(4, settings["time"], 8)
    begin = layer.initial_state(4)
    y, state = layer(x, form="recurrent")
    parallel, _ = layer(x, form="parallel")
    wrong = layer.undo(x.flip(1), state)
    return {
        "figures": {
            "length": float((state.vector.norm(dim=1) - 1).abs().max()),
            "scan": float((parallel - y).abs().max()),
            "recovered": float((layer.undo(x, state).vector - begin.vector).norm(dim=1).max()),
            "recovered_wrongly": float((wrong.vector - begin.vector).norm(dim=1).min()),
        }
    }


class _LSTM(nn.Module):
    """The LSTM, which reads words one-hot and says the next."""

    def __init__(self, vocab_size: int, hidden: int) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.layer, self.head = LSTM(vocab_size, hidden=hidden), nn.Linear(vocab_size, vocab_size)

    def forward(self, input_ids: Tensor) -> tuple[Tensor, None]:
        return self.head(self.layer(F.one_hot(input_ids, self.vocab_size).float())[0]), None


def _trained(
    part: str, task: Task, length: int, rate: float, settings: dict[str, Any], seed: int, report: Report
) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """The model, and what it says: token ids (batch, time) to the likeliest next ones."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    lstm = part.endswith("lstm")
    network: nn.Module = (
        _LSTM(task.vocab_size, settings["hidden"]) if lstm else UnitaryLM(task.vocab_size, settings["size"])
    )

    def loss_of(step: int) -> Tensor:
        batch = task.sample(settings["batch"], length, generator)
        return F.cross_entropy(network(batch.inputs)[0].flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE)

    steps = settings["steps"]
    descend(network, loss_of, steps, rate, lambda step: report(step / steps, part))

    @torch.no_grad()
    def says(inputs: Tensor) -> Tensor:
        return network(inputs)[0].argmax(-1)

    return network, says


def _dyck(part: str, settings: dict[str, Any], seed: int, report: Report) -> dict[str, Any]:
    task = Dyck(length=BRACKETS)
    network, says = _trained(part, task, BRACKETS, DYCK_RATE, settings, seed, report)
    generator = torch.Generator().manual_seed(10_000 + seed)

    def score(said: Tensor, batch: Batch) -> float:
        return float((said == batch.targets)[batch.targets != IGNORE].float().mean())

    lengths = [BRACKETS, 2 * BRACKETS, 4 * BRACKETS]
    tests = [task.sample(settings["test"], length, generator, split="test") for length in lengths]
    scores = [score(says(batch.inputs), batch) for batch in tests]
    label = "LSTM" if part.endswith("lstm") else "rotations"
    found: dict[str, Any] = {
        "figures": {part: scores[1]},
        "series": {f"closing brackets against length: {label}": {"x": lengths, "y": scores}},
    }
    if isinstance(network, UnitaryLM):
        other = task.strings(tests[1].inputs < task.pairs, generator)
        found["figures"]["other_kinds"] = score(says(tests[1].inputs), other)
        if seed == 0:
            found["tables"] = {"What the brackets do": _words(network, "([)]")}
    return found


def _crossed(part: str, settings: dict[str, Any], seed: int, report: Report) -> dict[str, Any]:
    task = CrossSerial(length=SEEN + 1, everywhere=True)
    network, says = _trained(part, task, SEEN + 1, CROSSED_RATE, settings, seed, report)
    pairs = [(m, n) for m in range(1, UNSEEN // 2) for n in range(1, UNSEEN // 2 - m + 1)]
    m, n = torch.tensor(pairs).unbind(1)
    batch = task.strings(m, n, UNSEEN + 1)
    fine = legal(batch.inputs).gather(-1, says(batch.inputs)[..., None])[..., 0]
    right = (fine | (batch.targets == IGNORE)).all(1)  # (string,)
    unseen = 2 * (m + n) > SEEN
    letters = list(range(4, UNSEEN + 1, 2))
    share = [float(right[2 * (m + n) == count].float().mean()) for count in letters]
    label = "LSTM" if part.endswith("lstm") else "rotations"
    found: dict[str, Any] = {
        "figures": {part: float(right[unseen].float().mean())},
        "series": {f"strings right throughout against letters: {label}": {"x": letters, "y": share}},
    }
    if isinstance(network, UnitaryLM):
        found["figures"]["crossed_seen"] = float(right[~unseen].float().mean())
        if seed == 0:
            found["tables"] = {"What the letters do": _words(network, WORDS)}
    return found


@torch.no_grad()
def _words(network: UnitaryLM, names: str) -> dict[str, Any]:
    """How far each word turns the state, and how alike their rotations are."""
    turns = network.words()
    rows = [
        [name, float(effect(turn)), *(float(similarity(turn, other)) for other in turns)]
        for name, turn in zip(names, turns, strict=True)
    ]
    return {
        "columns": ["word", "distance from the identity", *(f"similarity to {name}" for name in names)],
        "rows": rows,
    }
