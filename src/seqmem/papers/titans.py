"""Titans' memory: chunks against a loop with autograd, recall beside linear attention, and a stream whose facts change
with and without forgetting."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.mixers.titans import Titans
from seqmem.models import SequenceLM
from seqmem.ops import memory_update
from seqmem.papers._tasks import Sample, accuracy, learner
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.base import IGNORE, Batch
from seqmem.tasks.mqar import MQAR

WIDTH, HEADS = 64, 2
FEW, MANY, LENGTH = 8, 32, 128  # pairs; 64 positions hold 32 of them, 64 more hold the questions
STRETCH, KEYS = 128, 64  # of the stream: positions between two drawings of the map, and what it maps

#: part -> tokens whose gradients are taken at the same weights: in the baseline all are taken at the weights before the
#: text, so that nothing is corrected and the steps add up
RECALL = {"titans": 16, "linear": LENGTH}
RATE = 1e-2
#: part -> whether anything is forgotten
STREAM = {"learned": True, "without": False}

PAPER = Paper(
    slug="titans",
    uses=("seqmem.mixers.titans.Titans", "seqmem.ops.memory_update"),
    setup="Random sequences are learned by a linear and by a two-layer memory, in chunks of 1, 4 and 16, and by a loop "
    "over tokens whose gradients are autograd's at the chunk's beginning, in float64. Models of two layers (width 64, "
    "no MLP; a key begins as the token before, a query as a key) learn 8 or 32 pairs of key and value from 64 "
    "positions, then every key is asked; the memory is linear (2 heads of 32 by 32), its chunks 16. Last, one layer "
    "reads pairs from 64 keys without end, and every 128 positions all keys get other values, unannounced; what is "
    "asked is a key "
    "that has come since, on streams eight times redrawn, with the forgetting learned and with a model that has none.",
    baseline="linear attention without the delta rule: the same layer, whose gradients are all taken at the weights "
    "before the text, so that keys and values only add up; state, convolution, momentum, decay and training are equal",
    control="the loop with each gradient at the present weights: it must not agree with chunks of 16. The memory "
    "emptied between pairs and questions: nothing may be recalled",
    figures=(
        Figure("forms", "largest difference of chunks and loop"),
        Figure("present", "the same, the loop's gradients at the present weights (control)"),
        Figure("titans", "32 pairs, neural memory", "accuracy"),
        Figure("linear", "32 pairs, without the delta rule (baseline)", "accuracy"),
        Figure("titans_few", "8 pairs, neural memory", "accuracy"),
        Figure("linear_few", "8 pairs, without the delta rule", "accuracy"),
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
        "smoke": {"steps": 2, "batch": 2, "test": 2},
        "laptop": {"steps": 250, "batch": 16, "test": 64},
        "full": {"steps": 5000, "batch": 64, "test": 1000},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """The forms, or a trained model."""
    if part == "forms":
        return {"figures": _forms(seed)}
    if part in RECALL:
        return _recall(part, settings, seed, report)
    return {"figures": _stream(part, settings, seed, report)}


def _forms(seed: int) -> dict[str, float]:
    """Largest differences of :func:`memory_update` and the loop."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    time, key, same, other = 40, 8, [], []
    q, k = (F.normalize(draw(time, key), dim=-1) for _ in range(2))
    v, (theta, eta, alpha) = draw(time, key), torch.sigmoid(draw(3, time) - torch.tensor([[3.0], [0.0], [4.0]]))
    for weights in ([draw(key, key)], [draw(key, key), draw(key, key)]):
        weights = [w * key**-0.5 for w in weights]
        row = [x[None, :, None] for x in (q, k, v, theta, eta, alpha)]  # (batch, time, heads, ...)
        begin = tuple(w[None] for w in weights)
        for chunk in (1, 4, 16):
            y, _ = memory_update(row[0], row[1], row[2], row[3], begin, momentum=row[4], forget=row[5], chunk=chunk)
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
    sample: Sample, vocab_size: int, layers: list[dict[str, Any]], steps: int, seed: int, report: Any
) -> SequenceLM:
    """Memories alone, without MLP or convolution beside them."""
    return learner(
        sample, vocab_size, layers, steps, seed,
        width=WIDTH, mlp_width=0, short_conv=0, rate=RATE, report=report, prepare=_bind_from_the_start,
    )  # fmt: skip


@torch.no_grad()
def _bind_from_the_start(lm: SequenceLM) -> None:
    """Keys begin as the token before, values as the present one, and a token asks as it would be a key: what followed
    it is found before anything is learned, so that training is not spent on a plateau."""
    for block in lm.layers:
        mixer: Any = block.mixer
        weight = mixer.conv.weight  # (3 width, conv): q, k, v
        weight.zero_()
        weight[:, -1] = 1
        weight[WIDTH : 2 * WIDTH] = weight[WIDTH : 2 * WIDTH].roll(-1, 1)
        mixer.qkv.weight[:WIDTH] = mixer.qkv.weight[WIDTH : 2 * WIDTH]


def _recall(part: str, settings: dict[str, Any], seed: int, report: Report) -> dict[str, Any]:
    steps, batch = settings["steps"], settings["batch"]
    layer = {"name": "titans", "heads": HEADS, "memory_layers": 1, "chunk": RECALL[part]}

    def task(*pairs: int) -> MQAR:
        return MQAR(length=LENGTH, pairs=pairs, vocabulary=4 * MANY, filler="blank", test_lengths=(LENGTH,))

    both = task(FEW, MANY)
    lm = _trained(
        lambda generator: both.sample(batch, LENGTH, generator),
        both.vocab_size, [layer] * 2, steps, seed, lambda step: report(step / steps, part),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(10_000 + seed)
    tests = {n: task(n).sample(settings["test"], LENGTH, generator, split="test") for n in (FEW, 16, 24, MANY)}
    right = {n: accuracy(lm, test) for n, test in tests.items()}
    figures = {part: right[MANY], f"{part}_few": right[FEW]}
    if part == "titans":
        many = tests[MANY]
        reset = (torch.arange(LENGTH) == 2 * MANY).expand(len(many.inputs), -1)
        asked = many.targets != IGNORE
        with torch.no_grad():
            said = lm.run(many.inputs, reset=reset, asked=asked)[0].argmax(-1)
        figures["emptied"] = float((said == many.targets[asked]).float().mean())
    line = {"x": list(map(float, right)), "y": list(right.values())}
    return {"figures": figures, "series": {f"accuracy against pairs: {part}": line}}


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
    steps, batch = settings["steps"], settings["batch"]
    layer = {"name": "titans", "heads": HEADS, "memory_layers": 1, "chunk": 32, "forget": STREAM[part]}
    lm = _trained(
        lambda generator: stream(max(1, batch // 2), 2, generator),
        2 * KEYS, [layer], steps, seed, lambda step: report(step / steps, part),
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
