"""Elastic weight consolidation on permuted digits: one small network learns five tasks one after another, free, held by
equal springs, and held by springs as stiff as the Fisher information says."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.continual import EWC, L2Anchor, average_accuracy, fisher_diagonal, forgetting
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.digits import Digits

PAPER = Paper(
    slug="ewc",
    uses=("seqmem.continual.EWC", "seqmem.continual.L2Anchor", "seqmem.continual.fisher_diagonal"),
    setup="Five tasks, each a fixed permutation of the pixels of the 8x8 digits, are learned in turn by a perceptron "
    "64-128-128-10 with SGD (rate 0.05, momentum 0.9). After each task the Fisher information is taken from 400 "
    "images. The strength of the springs is chosen on validation images, the accuracy is that on test images.",
    baseline="the same steps without springs, and with equal springs on all weights (the better of two strengths)",
    control="the same Fisher values, shuffled over the weights of each matrix: as stiff, but in the wrong places",
    figures=(
        Figure("plain", "mean accuracy on the five tasks at the end, no springs", "accuracy"),
        Figure("l2", "the same, equal springs", "accuracy"),
        Figure("ewc", "the same, EWC with the exact Fisher", "accuracy"),
        Figure("shuffled", "the same, Fisher shuffled over the weights (control)", "accuracy"),
        Figure("sampled", "the same, Fisher from one sampled answer per image", "accuracy"),
        Figure("empirical", "the same, Fisher from the given labels", "accuracy"),
        Figure("batch", "the same, squared mean gradient of batches of 64", "accuracy"),
        Figure("last", "accuracy on the last task at the end, EWC", "accuracy"),
        Figure("forgot_plain", "forgetting, no springs", "accuracy"),
        Figure("forgot_ewc", "forgetting, EWC", "accuracy"),
        Figure("strength", "strength lambda chosen for EWC", ""),
        Figure("unguarded", "mean accuracy at lambda 10,000, stiffness as it is", "accuracy"),
        Figure("guarded", "the same with stiffness capped at 1 / learning rate", "accuracy"),
    ),
    rule=Rule(
        holds="plain <= 0.45 and l2 <= 0.55 and ewc >= plain + 0.25 and last >= 0.9",
        in_part="low(ewc - plain) > 0.1 and ewc > l2",
        control="ewc - shuffled > 0.1",
    ),
    limits="Five tasks of 1,257 small images and one network size; ten tasks of MNIST and the Atari games of the paper "
    "are out of reach here. Strengths come from a grid of four.",
    own_model="EWC(model, strength).after_task(inputs, targets), then add .penalty() to the loss; see "
    "seqmem.continual.EWC",
    settings={
        "smoke": {"tasks": 2, "epochs": 1, "fisher": 20, "strengths": [100.0]},
        "laptop": {"tasks": 5, "epochs": 30, "fisher": 400, "strengths": [30.0, 100.0, 300.0, 1000.0]},
        "full": {"tasks": 10, "epochs": 60, "fisher": 1257, "strengths": [10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0]},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 10},
)

RATE, MOMENTUM, BATCH = 0.05, 0.9, 64
Images = tuple[Tensor, Tensor]  # (images, 64) in [0, 1], (images,) classes


def _images(split: Any, count: int) -> Images:
    batch = Digits().sample(count, 64, torch.Generator().manual_seed(0), split=split)
    return batch.inputs.float() / 16, batch.targets[:, -1] - 17


def _network(generator: torch.Generator) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    with torch.no_grad():
        for p in model.parameters():
            p.uniform_(-(p.shape[-1] ** -0.5), p.shape[-1] ** -0.5, generator=generator)
    return model


def _shuffled(fisher: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    return {name: f.flatten()[torch.randperm(f.numel(), generator=generator)].view_as(f) for name, f in fisher.items()}


def _learn_in_turn(
    method: str, strength: float, permutations: list[Tensor], settings: dict[str, Any], seed: int, guard: bool = False
) -> dict[str, list[list[float]]]:
    """The accuracy matrices on validation and on test images: after task i, on task j."""
    generator = torch.Generator().manual_seed(seed)
    model = _network(generator)
    rate = RATE if guard else None
    springs = (
        L2Anchor(model, strength, learning_rate=rate) if method == "l2" else EWC(model, strength, learning_rate=rate)
    )
    optimiser = torch.optim.SGD(model.parameters(), RATE, MOMENTUM)
    data = {split: _images(split, count) for split, count in (("train", 1257), ("validation", 270), ("test", 270))}
    x, y = data["train"]
    matrices: dict[str, list[list[float]]] = {"validation": [], "test": []}
    for order in permutations:
        for _ in range(settings["epochs"]):
            for rows in torch.randperm(len(x), generator=generator).split(BATCH):
                loss = F.cross_entropy(model(x[rows][:, order]), y[rows])
                if method != "plain" and springs.tasks:
                    loss = loss + springs.penalty()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        some = torch.randperm(len(x), generator=generator)[: settings["fisher"]]
        if isinstance(springs, L2Anchor):
            springs.after_task()
        elif method != "plain":
            kind = method if method in ("sampled", "empirical", "batch") else "exact"
            fisher = fisher_diagonal(model, x[some][:, order], y[some], kind=kind, generator=generator)
            springs.add(_shuffled(fisher, generator) if method == "shuffled" else fisher)
        with torch.no_grad():
            for split, matrix in matrices.items():
                images, labels = data[split]
                matrix.append([float((model(images[:, o]).argmax(-1) == labels).float().mean()) for o in permutations])
    return matrices


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """All methods on one set of permutations and one initial network."""
    generator = torch.Generator().manual_seed(1000 + seed)
    permutations = [torch.randperm(64, generator=generator) for _ in range(settings["tasks"])]
    runs = [("plain", 0.0), ("l2", 0.1), ("l2", 1.0), *(("ewc", strength) for strength in settings["strengths"])]
    found: dict[str, tuple[float, float, dict[str, list[list[float]]]]] = {}  # the best: validation, strength, matrices

    def run(method: str, strength: float, name: str | None = None, guard: bool = False) -> None:
        matrices = _learn_in_turn(method, strength, permutations, settings, seed, guard)
        score = average_accuracy(matrices["validation"])
        if (name or method) not in found or score > found[name or method][0]:
            found[name or method] = (score, strength, matrices)

    others = ("shuffled", "sampled", "empirical", "batch")
    for n, (method, strength) in enumerate(runs):
        report(n / (len(runs) + len(others) + 2), f"{method} {strength:g}")
        run(method, strength)
    chosen = found["ewc"][1]
    for n, method in enumerate(others, len(runs)):
        report(n / (len(runs) + len(others) + 2), method)
        run(method, chosen)
    run("ewc", 1e4, "unguarded")
    run("ewc", 1e4, "guarded", guard=True)

    test = {name: matrices["test"] for name, (_, _, matrices) in found.items()}
    figures = {name: average_accuracy(matrix) for name, matrix in test.items()}
    figures |= {"last": test["ewc"][-1][-1], "strength": chosen}
    figures |= {"forgot_plain": forgetting(test["plain"]), "forgot_ewc": forgetting(test["ewc"])}
    learned = list(range(1, settings["tasks"] + 1))
    series = {
        f"accuracy on the first task: {name}": {"x": learned, "y": [row[0] for row in test[name]]}
        for name in ("plain", "l2", "ewc", "shuffled")
    }
    return {"figures": figures, "series": series}
