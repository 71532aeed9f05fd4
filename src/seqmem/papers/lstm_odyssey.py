"""The LSTM and its eight variants in random searches on two tasks, and which settings matter."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.mixers.lstm_odyssey import VARIANTS, OdysseyLSTM
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.reber import SHORTEST, SYMBOLS, Reber
from seqmem.training.importance import importance
from seqmem.training.random_search import Range, Trial, best_scores, compare_best, random_search
from seqmem.training.seeds import generator as addressed

SPACE = {
    "hidden": Range(20, 200, log=True, whole=True),
    "rate": Range(1e-6, 1e-2, log=True),
    "one_less_momentum": Range(0.01, 1.0, log=True),
    "noise": Range(0.0, 1.0),  # standard deviation of what is added to inputs in training
}
TASKS = ("reber", "chorales")
AGAIN = "again"  # the vanilla LSTM once more
PITCHES, SCALE, BASES = 88, (0, 2, 4, 5, 7, 9, 11), (12, 24, 36, 48)
MOVES, LIKELY = (0, 1, 3, 4), (0.2, 0.2, 0.35, 0.25)  # of the chord's root, in steps of the scale
TOP = 0.25

PAPER = Paper(
    slug="lstm-odyssey",
    uses=(
        "seqmem.mixers.lstm_odyssey.OdysseyLSTM",
        "seqmem.training.random_search.random_search",
        "seqmem.training.random_search.compare_best",
        "seqmem.training.importance.importance",
    ),
    setup="Without peepholes the cell is compared with PyTorch's LSTM; with coupled gates, with the full cell whose "
    "forget gate is given the input gate's weights with the opposite sign. Then 12 trials are drawn for each of the "
    "nine cells: hidden size, learning rate, momentum and input noise, from the paper's ranges. Each is trained by SGD "
    "with Nesterov momentum to predict the next symbol of embedded Reber strings that follow each other, the memory "
    "never emptied, or the next chord of a toy chorale: four voices on 88 keys over a Markov chain of chords. A "
    "trial's score is its lowest validation loss; the best quarters are compared by Welch's t-test, and a random "
    "forest over all trials says what the settings explain.",
    baseline="the vanilla cell with peepholes",
    control="the vanilla cell searched a second time: it must not differ from itself. The scores dealt out to the "
    "trials at random: the learning rate must not explain half of the variance. The cell with peepholes against "
    "PyTorch's: they must differ",
    figures=(
        Figure("plain", "largest difference, no peepholes, from PyTorch's LSTM"),
        Figure("coupled", "largest difference, coupled gates, from the full cell with the gate so set"),
        Figure("peepholes", "largest difference, with peepholes, from PyTorch's LSTM (control)"),
        *(
            Figure(f"{name.lower()}_{task}", f"{name}, {task}: p of the difference{' where it is worse' * n}", "")
            for n, names in ((1, ("NFG", "NOAF")), (0, ("CIFG", "NP")))
            for name in names
            for task in TASKS
        ),
        *(Figure(f"again_{task}", f"the vanilla cell once more, {task}: p (control)") for task in TASKS),
        *(Figure(f"better_{task}", f"variants significantly better than vanilla, {task}, of 8") for task in TASKS),
        *(Figure(f"rate_{task}", f"variance that the learning rate explains, {task}") for task in TASKS),
        *(Figure(f"pairs_{task}", f"variance that pairs of settings explain, {task}") for task in TASKS),
        *(Figure(f"shuffled_{task}", f"the learning rate, scores shuffled, {task} (control)") for task in TASKS),
        *(Figure(f"vanilla_{task}", f"loss of the vanilla cell's best quarter, {task}", "nats") for task in TASKS),
    ),
    rule=Rule(
        holds="plain < 1e-5 and coupled < 1e-5 and min(nfg_reber, nfg_chorales) < 0.05"
        " and min(noaf_reber, noaf_chorales) < 0.05 and cifg_reber >= 0.05 and cifg_chorales >= 0.05"
        " and np_reber >= 0.05 and np_chorales >= 0.05 and rate_reber > 0.5 and rate_chorales > 0.5",
        in_part="plain < 1e-5 and coupled < 1e-5 and cifg_reber >= 0.05 and cifg_chorales >= 0.05"
        " and np_reber >= 0.05 and np_chorales >= 0.05 and rate_reber > 0.5 and rate_chorales > 0.5",
        control="peepholes > 1e-3 and again_reber >= 0.05 and again_chorales >= 0.05 and shuffled_reber < 0.5"
        " and shuffled_chorales < 0.5",
    ),
    limits="Trainings of a second where the paper's last for hours, 12 trials of each cell where it has 200, three in "
    "each best quarter: only large differences are significant. Toy tasks; no speech, no handwriting.",
    own_model="random_search(run, space, ...), compare_best and importance take any function of settings to a score",
    parts=("exact", *TASKS),
    settings={
        "smoke": {"trials": 2, "steps": 2, "time": 8, "batch": 2, "hidden": 20, "trees": 5},
        "laptop": {"trials": 12, "steps": 120, "time": 32, "batch": 4, "hidden": 200, "trees": 60},
        "full": {"trials": 200, "steps": 5000, "time": 128, "batch": 8, "hidden": 200, "trees": 200},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)


def reber_stream(batch: int, time: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Embedded Reber strings of 9 to 18 symbols, one after the other: inputs (batch, time, 7), one-hot, and the next
    symbols (batch, time)."""
    task, strings = Reber(length=SHORTEST + 4), list[Tensor]()
    while sum(part.shape[1] for part in strings) <= time:
        length = int(torch.randint(SHORTEST + 4, 19, (), generator=generator))
        strings.append(task.sample(batch, length, generator).inputs)
    symbols = torch.cat(strings, 1)[:, : time + 1]
    return F.one_hot(symbols[:, :-1], len(SYMBOLS)).float(), symbols[:, 1:]


def chorales(batch: int, time: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Four voices, each on a note of the chord: keys held down (batch, time, 88), 0 or 1, and those of the next step.

    Every piece has a key of its own; the chord changes every fourth step, its root by a Markov chain; the bass has the
    root, the other voices change their note every second step or keep it, each as likely.
    """
    steps = time + 1
    moves = torch.multinomial(torch.tensor(LIKELY), batch * (steps // 4 + 1), replacement=True, generator=generator)
    roots = torch.tensor(MOVES)[moves].view(batch, -1).cumsum(1).repeat_interleave(4, 1)[:, :steps]
    chosen = torch.randint(3, (batch, steps, 4), generator=generator)
    changes = torch.rand(batch, steps, 4, generator=generator) < 0.5
    changes[:, 1::2] = False
    changes[:, 0] = True
    latest = torch.where(changes, torch.arange(steps)[:, None], 0).cummax(1).values
    note = 2 * chosen.gather(1, latest)  # first, third or fifth of the chord
    note[..., 0] = 0
    key = torch.randint(12, (batch, 1, 1), generator=generator)
    pitch = torch.tensor(BASES) + key + torch.tensor(SCALE)[(roots[..., None] + note) % len(SCALE)]
    keys = torch.zeros(batch, steps, PITCHES).scatter_(2, pitch, 1.0)
    return keys[:, :-1], keys[:, 1:]


def nats(task: str, outputs: Tensor, targets: Tensor) -> Tensor:
    """The loss of each position, (batch, time)."""
    if task == "reber":
        return F.cross_entropy(outputs.mT, targets, reduction="none")
    return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").sum(-1)


#: task -> data, size of inputs and outputs, nats of outputs that are all 0: the worst score
DATA: dict[str, tuple[Any, int, float]] = {
    "reber": (reber_stream, len(SYMBOLS), float(torch.tensor(len(SYMBOLS)).log())),
    "chorales": (chorales, PITCHES, PITCHES * float(torch.tensor(2.0).log())),
}


class Network(nn.Module):
    """One cell and a linear read-out: inputs (batch, time, size) to outputs of the same shape."""

    def __init__(self, size: int, hidden: int, variant: dict[str, bool]) -> None:
        super().__init__()
        self.cell = OdysseyLSTM(size, hidden=hidden, **variant)
        self.cell.out = nn.Identity()  # the block outputs themselves
        self.head = nn.Linear(hidden, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0])


def trained(task: str, variant: dict[str, bool], given: dict[str, float], settings: dict[str, Any], seed: int) -> float:
    """The lowest of three validation losses, nats per position."""
    draw, size, worst = DATA[task]
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = Network(size, min(int(given["hidden"]), settings["hidden"]), variant)
    momentum = 1 - given["one_less_momentum"]
    optimiser = torch.optim.SGD(network.parameters(), given["rate"], momentum=momentum, nesterov=momentum > 0)
    unseen = draw(32, settings["time"], torch.Generator().manual_seed(10_000 + seed))
    best, steps = worst, settings["steps"]
    for step in range(1, steps + 1):
        x, targets = draw(settings["batch"], settings["time"], generator)
        x = x + given["noise"] * torch.randn(x.shape, generator=generator)
        loss = nats(task, network(x), targets).sum(1).mean()  # over the whole text, as it is read
        if not loss.isfinite():
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step in (steps // 3, 2 * steps // 3, steps):
            with torch.no_grad():
                found = float(nats(task, network(unseen[0]), unseen[1]).mean())
            best = min(best, found) if found == found else best
    return best


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """The cells, or all searches on a task."""
    if part == "exact":
        return {"figures": _exact(seed)}
    searches: dict[str, list[Trial]] = {}
    variants = {**VARIANTS, AGAIN: {}}
    numbers = itertools.count(100_000 * seed)  # of the trainings
    for n, (name, variant) in enumerate(variants.items()):
        report(n / len(variants), f"{part}: {name}")

        def run(given: dict[str, float], variant: dict[str, bool] = variant) -> float:
            return trained(part, variant, given, settings, next(numbers))

        draws = addressed(seed, f"{part} {name}")
        searches[name] = random_search(run, SPACE, settings["trials"], draws, DATA[part][2])

    fraction = max(TOP, 2 / settings["trials"])
    compared = {name: compare_best(searches["V"], searches[name], fraction) for name in searches if name != "V"}
    figures = {f"{name.lower()}_{part}": compared[name].worse for name in ("NFG", "NOAF")}
    figures |= {f"{name.lower()}_{part}": compared[name].p for name in ("CIFG", "NP", AGAIN)}
    figures[f"better_{part}"] = sum(compared[n].difference < 0 and compared[n].p < 0.05 for n in VARIANTS if n != "V")

    trials = [trial for name in VARIANTS for trial in searches[name]]
    shares = importance(trials, SPACE, trees=settings["trees"], seed=seed)
    dealt = torch.randperm(len(trials), generator=addressed(seed, f"{part} shuffled")).tolist()
    shuffled = [Trial(trial.settings, trials[n].score) for trial, n in zip(trials, dealt, strict=True)]
    figures[f"rate_{part}"] = shares[("rate",)]
    figures[f"pairs_{part}"] = sum(share for names, share in shares.items() if len(names) == 2)
    figures[f"shuffled_{part}"] = importance(shuffled, SPACE, trees=settings["trees"], seed=seed)[("rate",)]
    best = {name: best_scores(found, fraction) for name, found in searches.items()}
    figures[f"vanilla_{part}"] = sum(best["V"]) / len(best["V"])
    rows = [
        [name, sum(scores) / len(scores), "" if name == "V" else f"{compared[name].p:.3f}"]
        for name, scores in best.items()
    ]
    table = {"columns": ["cell", "loss, nats", "p against V"], "rows": rows}
    return {"figures": figures, "tables": {f"Best quarter of the trials, {part} (seed {seed})": table}}


@torch.no_grad()
def _exact(seed: int) -> dict[str, float]:
    torch.manual_seed(seed)
    x = torch.randn(2, 40, 6, dtype=torch.float64)
    plain = OdysseyLSTM(6, hidden=8, peepholes=False).double()
    theirs = nn.LSTM(6, 8, batch_first=True).double()
    for name, weight in (
        ("weight_ih_l0", plain.inputs.weight), ("weight_hh_l0", plain.recurrent), ("bias_ih_l0", plain.inputs.bias)
    ):  # fmt: skip
        weight.mul_(5)  # gates that open and close
        getattr(theirs, name).copy_(weight)
    nn.init.zeros_(theirs.get_parameter("bias_hh_l0"))
    plain.out = nn.Identity()
    wanted = theirs(x)[0]
    peeping = OdysseyLSTM(6, hidden=8).double()
    assert peeping.peephole is not None
    peeping.load_state_dict({**plain.state_dict(), "peephole": 5 * peeping.peephole}, strict=False)
    peeping.out = nn.Identity()

    coupled = OdysseyLSTM(6, hidden=8, coupled=True).double()
    full: OdysseyLSTM = copy.deepcopy(peeping)
    coupled.out = nn.Identity()
    assert full.peephole is not None
    assert coupled.peephole is not None
    for given, had in (
        (full.inputs.weight, coupled.inputs.weight), (full.inputs.bias, coupled.inputs.bias),
        (full.recurrent, coupled.recurrent), (full.peephole, coupled.peephole),
    ):  # fmt: skip
        had.mul_(5)
        blocks = had.chunk(2) if had is coupled.peephole else had.chunk(3)  # i, (z,) o
        given.copy_(torch.cat([blocks[0], -blocks[0], *blocks[1:]]))  # sigmoid(-a) = 1 - sigmoid(a)
    return {
        "plain": float((plain(x)[0] - wanted).abs().max()),
        "peepholes": float((peeping(x)[0] - wanted).abs().max()),
        "coupled": float((coupled(x)[0] - full(x)[0]).abs().max()),
    }
