"""One cycle or two: networks that answer at once, that draw all the way ahead, or that draw one step at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqmem.models.sketch_vit import Scratchpad, SketchViT, answer, scratchpad_loss
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.sketches import Cycles, EdgeLists, Sketches
from seqmem.theory import globality

MORE, SIZE = 12, 24
#: frames that the network reads which draws all of them: as many as the larger graphs need
FRAMES = 6
#: what is known of the label: patches beside the histogram
SIZES = (0, 2, 9)

PAPER = Paper(
    slug="visual-scratchpad",
    uses=(
        "seqmem.tasks.sketches.Cycles",
        "seqmem.models.SketchViT",
        "seqmem.models.scratchpad_loss",
        "seqmem.models.answer",
        "seqmem.theory.globality",
    ),
    setup="Images of 24 x 24 of 8 points on a circle, joined by lines into one cycle or two, one point marked. "
    "Transformers over patches of 8 x 8 (2 layers of width 96) are trained on fresh images: on the label alone; to "
    "draw 6 frames one after another, each from all before it, in which colour spreads from the mark by one point and "
    "the lines to it, and then the label; and to draw the next frame from the last one alone, until a halt flag, with "
    "the label read there. Both that draw are trained on 160,000 frames. Whoever draws is judged after its own "
    "drawings, in the likeliest colours. Then with 12 points. The same graphs as lists of edges go through the same "
    "networks (width 64). Probes with hidden units read the label from 0, 2 or all 9 patches and the histogram of all "
    "(best of three sets).",
    baseline="the network without drawings; the network that draws ahead",
    control="lists of edges, drawn step by step, with labels dealt out at random: nothing may then be known of them",
    figures=(
        Figure("label", "images, 8 points: label alone (baseline)", "accuracy"),
        Figure("multi", "images, 8 points: all frames", "accuracy"),
        Figure("multi_12", "images, 12 points: all frames", "accuracy"),
        Figure("inductive", "images, 8 points: step by step", "accuracy"),
        Figure("inductive_12", "images, 12 points: step by step", "accuracy"),
        Figure("drawn", "images, 12 points: last drawing right in every place, step by step", ""),
        Figure("text_label", "lists, 8 nodes: label alone", "accuracy"),
        Figure("text_multi", "lists, 8 nodes: all frames", "accuracy"),
        Figure("text_multi_12", "lists, 12 nodes: all frames", "accuracy"),
        Figure("text_inductive", "lists, 8 nodes: step by step", "accuracy"),
        Figure("text_inductive_12", "lists, 12 nodes: step by step", "accuracy"),
        Figure("text_random", "lists, 8 nodes: step by step, labels dealt at random (control)", "accuracy"),
        *(Figure(f"bits_{size}", f"known of the label from the image, {size} patches", "bits") for size in SIZES),
        Figure("bits_drawn", "the same from the last frame, the histogram alone", "bits"),
    ),
    rule=Rule(
        holds="mean(label) <= 0.65 and mean(inductive) >= 0.9 and mean(inductive_12) >= 0.8 and "
        "mean(inductive_12 - multi_12) >= 0.1",
        in_part="mean(label) <= 0.65 and mean(inductive) >= 0.9",
        control="abs(mean(text_random) - 0.5) <= 0.1",
    ),
    limits="Small images of one of the four kinds, small networks, minutes of training; that labels alone teach "
    "nothing in this time does not show that they never do. Points have one of twelve places. The paper's largest "
    "networks are a hundred times as large. Strings and mazes, the drawing of the last frame at once and other strides "
    "are there to be used, and not judged here.",
    own_model="scratchpad_loss and answer take SketchViT or any module that returns a SketchReading, and drawings of "
    "get_sketch('strings'), 'rectangular_mazes', 'circular_mazes' or one's own Sketches",
    parts=("label", "multi", "inductive", "text", "globality"),
    settings={
        "smoke": {
            "steps": {"label": 2, "multi": 1, "inductive": 2},
            "text": {"label": 2, "multi": 1, "inductive": 2, "random": 2},
            "batch": 4,
            "test": 4,
            "images": 80,
            "fit": 3,
        },
        "laptop": {
            "steps": {"label": 300, "multi": 830, "inductive": 5000},
            "text": {"label": 250, "multi": 150, "inductive": 400, "random": 250},
            "batch": 32,
            "test": 400,
            "images": 4000,
            "fit": 150,
        },
        "full": {
            "steps": {"label": 50_000, "multi": 50_000, "inductive": 50_000},
            "text": {"label": 10_000, "multi": 10_000, "inductive": 10_000, "random": 10_000},
            "batch": 64,
            "test": 5000,
            "images": 40_000,
            "fit": 2000,
        },
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """One kind of scratchpad on images, all kinds on lists, or what probes know."""
    if part == "globality":
        return {"figures": _known(settings, seed, report)}
    if part == "text":
        figures: dict[str, float] = {}
        arms: tuple[tuple[str, Scratchpad], ...] = (
            ("label", "label"),
            ("multi", "multi"),
            ("inductive", "inductive"),
            ("random", "inductive"),
        )
        for n, (name, kind) in enumerate(arms):
            report(n / len(arms), f"lists, {name}")
            network = _network(
                EdgeLists(), kind, settings["text"][name], 64, 2, seed, 2 * settings["batch"], name == "random"
            )
            figures[f"text_{name}"] = _judge(network, EdgeLists(), kind, settings["test"], seed)[0]
            if name in ("multi", "inductive"):
                figures[f"text_{name}_12"] = _judge(network, EdgeLists(nodes=MORE), kind, settings["test"], seed)[0]
        return {"figures": figures}
    kinds: dict[str, Scratchpad] = {"label": "label", "multi": "multi", "inductive": "inductive"}
    kind = kinds[part]
    network = _network(Cycles(size=SIZE), kind, settings["steps"][part], 96, 2, seed, settings["batch"], report=report)
    figures = {part: _judge(network, Cycles(size=SIZE), kind, settings["test"], seed)[0]}
    if kind != "label":
        figures[f"{part}_12"], drawn = _judge(network, Cycles(nodes=MORE, size=SIZE), kind, settings["test"], seed)
        if kind == "inductive":
            figures["drawn"] = drawn
    return {"figures": figures}


def _network(
    task: Sketches,
    kind: Scratchpad,
    steps: int,
    width: int,
    depth: int,
    seed: int,
    batch: int,
    shuffled: bool = False,
    report: Report = lambda share, text: None,
) -> SketchViT:
    """Trained on fresh drawings of ``task``."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    text = isinstance(task, EdgeLists)
    network = SketchViT(
        task.shape,
        task.colours,
        patch=(1, 2) if text else (8, 8),
        width=width,
        depth=depth,
        frames=FRAMES if kind == "multi" else 1,
    )

    def loss_of(_: int) -> Tensor:
        sketch = task.sample(batch, generator)
        label = sketch.label[torch.randperm(batch, generator=generator)] if shuffled else sketch.label
        frames = sketch.frames(FRAMES)
        return scratchpad_loss(network, frames, sketch.last, label, kind, generator, weight=5.0 if text else 50.0)

    descend(network, loss_of, steps, 3e-3 if text else 2e-3, lambda step: report(step / steps, kind))
    return network.eval()


def _judge(network: SketchViT, task: Sketches, kind: Scratchpad, count: int, seed: int) -> tuple[float, float]:
    """On new drawings: the share of right labels, and of last drawings that are right in every place."""
    sketch = task.sample(count, torch.Generator().manual_seed(10_000 + seed))
    right, drawn = [], []
    for first, label, last in zip(
        sketch.first.split(100), sketch.label.split(100), sketch.frame(sketch.last).split(100), strict=True
    ):
        said = answer(network, first, kind, most=2 * FRAMES)
        right.append(said.label == label)
        drawn.append((said.frames[:, -1] == last).flatten(1).all(1))
    return float(torch.cat(right).float().mean()), float(torch.cat(drawn).float().mean())


def _known(settings: dict[str, Any], seed: int, report: Report) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    sketch = Cycles(size=SIZE).sample(settings["images"], generator)
    report(0.0, "probes of patches")
    options: dict[str, Any] = {"patch": (8, 8), "steps": settings["fit"], "generator": generator}
    found = globality(sketch.first, sketch.label, SIZES, **options)
    figures = {f"bits_{one.size}": one.bits for one in found}
    figures["bits_drawn"] = globality(sketch.frame(sketch.last), sketch.label, (0,), **options)[0].bits
    return figures
