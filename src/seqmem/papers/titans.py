"""Titans' memory: chunks against a loop with autograd, recall beside linear attention, and a stream whose facts change
with and without forgetting."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.mixers.titans import Titans
from seqmem.models import SequenceConfig, SequenceLM
from seqmem.ops import memory_update
from seqmem.papers._recall import look_back_evenly
from seqmem.papers._tasks import Sample, accuracy
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.base import IGNORE, Batch
from seqmem.tasks.mqar import MQAR

WIDTH = 64
FEW, MANY, LENGTH = 8, 32, 128  # pairs; 64 positions hold 32 of them, 64 more hold the questions
STRETCH, KEYS = 128, 64  # of the stream: positions between two drawings of the map, and what it maps

#: part -> mixer, options, learning rate: for each the best of those tried
RECALL: dict[str, tuple[dict[str, Any], float]] = {
    "titans": ({"name": "titans", "heads": 2, "memory_layers": 1}, 1e-2),
    "linear": ({"name": "linear_attention", "heads": 1}, 3e-3),
    "linear_half": ({"name": "linear_attention", "heads": 2}, 3e-3),
}
#: part -> whether anything is forgotten
STREAM = {"learned": True, "without": False}

PAPER = Paper(
    slug="titans",
    uses=("seqmem.mixers.titans.Titans", "seqmem.ops.memory_update"),
    setup="Random sequences are learned by a linear and by a two-layer memory, in chunks of 1, 4 and 16, and by a loop "
    "over tokens whose gradients are autograd's at the chunk's beginning, in float64. Models of two layers (width 64, "
    "no MLP; convolutions begin as the mean of two positions) learn 8 or 32 pairs of key and value from 64 positions, "
    "then every key is asked; the memory is linear, its chunks 16. Last, one layer reads pairs from 64 keys without "
    "end, and every 128 positions all keys get other values, unannounced; what is asked is a key that has come since, "
    "on streams eight times redrawn, with the forgetting learned and with a model that has none.",
    baseline="linear attention without the delta rule: with one head its sums (64 by 65) are as many numbers as "
    "weights and momentum of Titans' two heads (2 by 32 by 32 each), with two heads as many as the weights alone",
    control="the loop with each gradient at the present weights: it must not agree with chunks of 16. The memory "
    "emptied between pairs and questions: nothing may be recalled",
    figures=(
        Figure("forms", "largest difference of chunks and loop"),
        Figure("present", "the same, the loop's gradients at the present weights (control)"),
        Figure("titans", "32 pairs, neural memory", "accuracy"),
        Figure("linear", "32 pairs, linear attention, a state of equal size (baseline)", "accuracy"),
        Figure("linear_half", "32 pairs, linear attention, as large as Titans' weights without momentum", "accuracy"),
        Figure("titans_few", "8 pairs, neural memory", "accuracy"),
        Figure("linear_few", "8 pairs, linear attention, a state of equal size", "accuracy"),
        Figure("emptied", "32 pairs, neural memory emptied before the questions (control)", "accuracy"),
        Figure("learned", "the current map, forgetting learned", "accuracy"),
        Figure("without", "the same, trained without forgetting", "accuracy"),
        Figure("switched_off", "the same, forgetting learned, then set to 0", "accuracy"),
        Figure("learned_first", "before the map is drawn anew, forgetting learned", "accuracy"),
        Figure("without_first", "the same, without forgetting", "accuracy"),
    ),
    rule=Rule(
        holds="forms < 1e-10 and titans - linear >= 0.15 and learned - without >= 0.05",
        in_part="forms < 1e-10 and low(titans - linear) > 0",
        control="present > 1e-3 and best(emptied) <= 0.1",
    ),
    limits="Recall alone, by models of some twenty thousand weights: no language modelling, no needle in millions of "
    "tokens, and none of the blocks with attention.",
    own_model="seqmem compare --tasks mqar --mixers titans,linear_attention,my_layer:MyLayer",
    parts=("forms", *RECALL, *STREAM),
    settings={
        "smoke": {"steps": 2, "linear_steps": 2, "stream_steps": 2, "batch": 2, "test": 2},
        "laptop": {"steps": 500, "linear_steps": 1000, "stream_steps": 500, "batch": 16, "test": 128},
        "full": {"steps": 5000, "linear_steps": 10_000, "stream_steps": 5000, "batch": 64, "test": 1000},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """The forms, or a trained model."""
    if part == "forms":
        return {"figures": _forms(seed)}
    figures = _recall if part in RECALL else _stream
    return {"figures": figures(part, settings, seed, report)}


def _forms(seed: int) -> dict[str, float]:
    """Largest differences of :func:`memory_update` and the loop."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    time, key, same, other = 40, 8, [], []
    q, k = (F.normalize(draw(time, key), dim=-1) for _ in range(2))
    v, (theta, eta, alpha) = draw(time, key), torch.sigmoid(draw(3, time))
    for weights in ([draw(key, key)], [draw(key, key), draw(key, key)]):
        inputs = [x[None, :, None] for x in (q, k, v, theta)]  # (batch, time, heads, ...)
        for chunk in (1, 4, 16):
            y, _ = memory_update(
                *inputs, tuple(w[None] for w in weights), momentum=eta[None, :, None], forget=alpha[None, :, None],
                chunk=chunk,
            )  # fmt: skip
            same.append(float((y[0, :, 0] - loop(q, k, v, theta, eta, alpha, weights, chunk)).abs().max()))
        other.append(float((y[0, :, 0] - loop(q, k, v, theta, eta, alpha, weights, 1)).abs().max()))
    return {"forms": max(same), "present": min(other)}


def loop(
    q: Tensor, k: Tensor, v: Tensor, theta: Tensor, eta: Tensor, alpha: Tensor, weights: list[Tensor], chunk: int
) -> Tensor:
    """M_t(q_t) (time, value), token by token, the gradients by autograd at the weights before each chunk.

    q, k: (time, key); v: (time, value); theta, eta, alpha: (time,); weights: of one or two layers.
    """

    def recalled(x: Tensor, w: list[Tensor]) -> Tensor:
        return x @ w[0] if len(w) == 1 else F.silu(x @ w[0]) @ w[1]

    surprise, outputs = [torch.zeros_like(w) for w in weights], []
    for t in range(len(q)):
        if t % chunk == 0:
            anchor = [w.detach().clone().requires_grad_() for w in weights]
        loss = (recalled(k[t], anchor) - v[t]).square().sum() / 2
        slopes = torch.autograd.grad(loss, anchor)
        surprise = [eta[t] * s - theta[t] * slope for s, slope in zip(surprise, slopes, strict=True)]
        weights = [(1 - alpha[t]) * w + s for w, s in zip(weights, surprise, strict=True)]
        outputs.append(recalled(q[t], weights))
    return torch.stack(outputs)


def _trained(
    sample: Sample, vocab_size: int, layers: list[dict[str, Any]], steps: int, rate: float, seed: int, report: Any
) -> SequenceLM:
    """On fresh batches of ``sample(generator)``; convolutions look back evenly at first."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    lm = SequenceLM(SequenceConfig(vocab_size, WIDTH, layers=layers, mlp_width=0, short_conv=4))
    for block in lm.layers:
        mixer: Any = block.mixer
        look_back_evenly(mixer.conv if block.conv is None else block.conv)

    def loss_of(_: int) -> Tensor:
        batch = sample(generator)
        asked = batch.targets != IGNORE
        return F.cross_entropy(lm.run(batch.inputs, asked=asked)[0], batch.targets[asked])

    descend(lm, loss_of, steps, rate, report)
    return lm.eval()


def _recall(part: str, settings: dict[str, Any], seed: int, report: Report) -> dict[str, float]:
    layer, rate = RECALL[part]
    steps, batch = settings["steps" if part == "titans" else "linear_steps"], settings["batch"]

    def task(*pairs: int) -> MQAR:
        return MQAR(length=LENGTH, pairs=pairs, vocabulary=4 * MANY, filler="blank", test_lengths=(LENGTH,))

    both = task(FEW, MANY)
    lm = _trained(
        lambda generator: both.sample(batch, LENGTH, generator),
        both.vocab_size, [layer] * 2, steps, rate, seed, lambda step: report(step / steps, part),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(10_000 + seed)
    few, many = (task(n).sample(settings["test"], LENGTH, generator, split="test") for n in (FEW, MANY))
    figures = {part: accuracy(lm, many)}
    if part != "linear_half":
        figures[f"{part}_few"] = accuracy(lm, few)
    if part == "titans":
        reset = (torch.arange(LENGTH) == 2 * MANY).expand(len(many.inputs), -1)
        asked = many.targets != IGNORE
        with torch.no_grad():
            said = lm.run(many.inputs, reset=reset, asked=asked)[0].argmax(-1)
        figures["emptied"] = float((said == many.targets[asked]).float().mean())
    return figures


def stream(batch: int, stretches: int, generator: torch.Generator) -> Batch:
    """Keys (tokens below KEYS), each followed by its value (token KEYS + value), in stretches of STRETCH positions of
    one map. At a key that has come before in its stretch its value is asked. (batch, stretches * STRETCH)."""
    shape = batch, stretches, STRETCH // 2
    mapped = torch.randint(KEYS, (batch, stretches, KEYS), generator=generator)
    keys = torch.randint(KEYS, shape, generator=generator)
    values = KEYS + mapped.gather(2, keys)
    known = (keys[..., :, None] == keys[..., None, :]).tril(-1).any(-1)
    inputs = torch.stack([keys, values], -1).flatten(1)
    targets = torch.stack([values.where(known, IGNORE), torch.full_like(values, IGNORE)], -1).flatten(1)
    return Batch(inputs, targets)


def _stream(part: str, settings: dict[str, Any], seed: int, report: Report) -> dict[str, float]:
    steps, batch = settings["stream_steps"], settings["batch"]
    layer = {"name": "titans", "heads": 2, "memory_layers": 1, "chunk": 32, "forget": STREAM[part]}
    lm = _trained(
        lambda generator: stream(max(1, batch // 2), 2, generator),
        2 * KEYS, [layer], steps, 1e-2, seed, lambda step: report(step / steps, part),
    )  # fmt: skip
    test = stream(max(1, settings["test"] // 4), 9, torch.Generator().manual_seed(10_000 + seed))
    later = torch.arange(test.inputs.shape[1]) >= STRETCH

    def right(where: Tensor) -> float:
        return accuracy(lm, test._replace(targets=test.targets.where(where, IGNORE)))

    figures = {part: right(later), f"{part}_first": right(~later)}
    if STREAM[part]:
        mixer: Any = lm.layers[0].mixer
        assert isinstance(mixer, Titans)
        with torch.no_grad():  # alpha = sigmoid(w x + b), of the last rows
            mixer.learner.rates.weight[-mixer.heads :] = 0
            mixer.learner.rates.bias[-mixer.heads :] = -torch.inf
        figures["switched_off"] = right(later)
    return figures
