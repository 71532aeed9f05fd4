"""RWKV-4: its forms and its largest keys, bytes of a novel beside an LSTM and attention, recall, and what a token costs
after a short and after a long text."""

from __future__ import annotations

import functools
import statistics
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.mixers.rwkv4 import RWKV4
from seqmem.models import SequenceConfig, SequenceLM, parameter_count
from seqmem.ops import wkv
from seqmem.papers._tasks import accuracy, learner, of_task, unseen
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks import get_task
from seqmem.tasks.bytes import Bytes

ARMS = ("rwkv", "lstm", "attention")

PAPER = Paper(
    slug="rwkv",
    uses=(
        "seqmem.mixers.rwkv4.RWKV4",
        "seqmem.mixers.rwkv_channel_mix.RWKVChannelMix",
        "seqmem.ops.wkv",
    ),
    setup="One layer of time mixing reads 512 positions at once and one by one, in float32; then keys of plus and "
    "minus 60. Byte models of two blocks (time mixing and channel mixing; LSTM and MLP; attention and MLP), with MLPs "
    "of the width that makes the weights equal, are trained on a novel for the same steps. Others learn recall of 8 "
    "key-value pairs in 32 steps (width 64; attention after a convolution over two positions, as RWKV sees the one "
    "before by itself). Last, a step of a network of two blocks is timed after 100 and after 2000 tokens, in turns; "
    "for attention without a cache the whole text is read again.",
    baseline="an LSTM, and attention with rotary positions, of equal weights and training",
    control="the parallel form on inputs that are one position late: it must not agree with the loop",
    figures=(
        Figure("forms", "largest difference of parallel form and loop, float32, 512 positions"),
        Figure("late", "the same with inputs one position late (control)"),
        Figure("broken", "outputs that are not finite, keys of plus and minus 60"),
        Figure("bits", "unseen text, RWKV", "bits per byte"),
        Figure("bits_lstm", "the same, LSTM (baseline)", "bits per byte"),
        Figure("bits_attention", "the same, attention (baseline)", "bits per byte"),
        Figure("recall", "recall of 8 pairs, RWKV", "accuracy"),
        Figure("recall_attention", "the same, attention", "accuracy"),
        Figure("weights", "largest relative difference of the byte models' weights"),
        Figure("step_growth", "time of a step after 2000 tokens over that after 100, RWKV"),
        Figure("step_growth_attention", "the same, attention without a cache"),
    ),
    rule=Rule(
        holds="forms < 1e-4 and broken == 0 and bits <= bits_lstm and bits <= 1.05 * bits_attention and "
        "recall_attention - recall >= 0.2 and step_growth < 1.2 and step_growth_attention > 2",
        in_part="forms < 1e-4 and broken == 0 and bits <= 1.05 * bits_attention and step_growth < 1.2",
        control="late > 1e-3",
    ),
    limits="Models of some hundred thousand weights and minutes of training, where the paper has up to 14 billion and "
    "the question is whether the loss goes on falling with size. RMSNorm instead of LayerNorm before the blocks, and "
    "the library's embedding instead of the paper's small one with a norm behind it.",
    own_model="seqmem compare --mixers rwkv4,lstm,attention,my_layer:MyLayer",
    parts=("forms", "text", "recall", "step"),
    settings={
        "smoke": {"width": 16, "steps": 2, "recall_steps": 2, "test": 8, "rounds": 2, "long": 128},
        "laptop": {"width": 96, "steps": 200, "recall_steps": 300, "test": 48, "rounds": 40, "long": 2000},
        "full": {"width": 256, "steps": 10_000, "recall_steps": 10_000, "test": 500, "rounds": 200, "long": 2000},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)

BLOCKS, SHORT, RATE = 2, 100, 4e-3


def rwkv_layers(blocks: int) -> list[dict[str, Any]]:
    """The paper's network: time mixing and channel mixing in turns, each told where it stands."""
    kinds = ("rwkv4", "rwkv_channel_mix")
    return [{"name": kind, "layer": n, "depth": blocks} for n in range(blocks) for kind in kinds]


@functools.cache
def config(arm: str, vocab_size: int, width: int) -> SequenceConfig:
    """Two blocks; the MLPs of LSTM and attention are as wide as gives them RWKV's number of weights."""
    if arm == "rwkv":
        return SequenceConfig(vocab_size, width, layers=rwkv_layers(BLOCKS), mlp_width=0)
    wanted = parameter_count(config("rwkv", vocab_size, width))
    one, two = (
        parameter_count(SequenceConfig(vocab_size, width, layers=[arm] * BLOCKS, mlp_width=mlp)) for mlp in (1, 2)
    )
    return SequenceConfig(vocab_size, width, layers=[arm] * BLOCKS, mlp_width=1 + round((wanted - one) / (two - one)))


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """The forms, the trained models, or the clock."""
    if part == "forms":
        return {"figures": _forms(seed)}
    if part == "step":
        return {"figures": _steps(settings, seed)}
    if part == "recall":
        return {"figures": _recall(settings, seed, report)}
    width, steps, text = settings["width"], settings["steps"], Bytes()
    test = text.sample(settings["test"], 256, torch.Generator().manual_seed(10_000 + seed), split="test")
    figures: dict[str, float] = {}
    for n, arm in enumerate(ARMS):
        generator = torch.Generator().manual_seed(seed)
        lm = _new(arm, 256, width, seed)

        def loss_of(step: int, n: int = n, lm: SequenceLM = lm, generator: torch.Generator = generator) -> Tensor:
            report((n + step / steps) / len(ARMS), f"text, {ARMS[n]}")
            drawn = text.sample(16, 128, generator)
            return F.cross_entropy(lm.run(drawn.inputs)[0].flatten(0, 1), drawn.targets.flatten())

        descend(lm, loss_of, steps, RATE)
        with torch.no_grad():
            logits, _ = lm.eval().run(test.inputs)
        loss = F.cross_entropy(logits.flatten(0, 1), test.targets.flatten()) / torch.log(torch.tensor(2.0))
        figures["bits" if arm == "rwkv" else f"bits_{arm}"] = float(loss)
    counts = [parameter_count(config(arm, 256, width)) for arm in ARMS]
    figures["weights"] = max(counts) / min(counts) - 1
    return {"figures": figures}


def _new(arm: str, vocab_size: int, width: int, seed: int) -> SequenceLM:
    torch.manual_seed(seed)
    return SequenceLM(config(arm, vocab_size, width))


def _recall(settings: dict[str, Any], seed: int, report: Report) -> dict[str, float]:
    """RWKV sees the position before by itself; attention is given a convolution over two positions for it."""
    task = get_task("mqar", pairs=8, length=32, filler="blank")
    steps, test, figures = settings["recall_steps"], unseen(task, 10 * settings["test"], seed), {}
    networks: list[tuple[str, list[Any], dict[str, Any]]] = [
        ("recall", rwkv_layers(BLOCKS), {"mlp_width": 0, "short_conv": 0}),
        ("recall_attention", ["attention"] * BLOCKS, {"short_conv": 2}),
    ]
    for n, (name, layers, options) in enumerate(networks):

        def tell(step: int, n: int = n) -> None:
            report((n + step / steps) / 2, "recall")

        sample = of_task(task, 32)
        lm = learner(sample, task.vocab_size, layers, steps, seed, width=64, rate=RATE, report=tell, **options)
        figures[name] = accuracy(lm, test)
    return figures


@torch.no_grad()
def _forms(seed: int) -> dict[str, float]:
    torch.manual_seed(seed)
    layer = RWKV4(32)
    for linear in (layer.receptance, layer.key, layer.out):  # they begin at zero, where every form agrees
        torch.nn.init.normal_(linear.weight, std=32**-0.5)
    x = torch.randn(2, 512, 32)
    loop, _ = layer(x, form="recurrent")
    shifted = torch.cat([x[:, :1], x[:, :-1]], 1)
    k = 60 * (2 * torch.randint(2, x.shape) - 1).float()
    huge, _ = wkv(k, x, -layer.time_decay.exp(), layer.bonus)
    return {
        "forms": float((layer(x, form="parallel")[0] - loop).abs().max()),
        "late": float((layer(shifted, form="parallel")[0] - loop).abs().max()),
        "broken": float((~huge.isfinite()).sum()),
    }


@torch.no_grad()
def _steps(settings: dict[str, Any], seed: int) -> dict[str, float]:
    """Medians of the ratios of times after the long and the short text."""
    figures = {}
    for arm, name in (("rwkv", "step_growth"), ("attention", "step_growth_attention")):
        lm = _new(arm, 256, settings["width"], seed).eval()
        ids = torch.randint(256, (1, settings["long"]), generator=torch.Generator().manual_seed(seed))
        texts = [ids[:, :length] for length in (SHORT, settings["long"])]
        states = [lm.run(text)[1] for text in texts]
        ratios = []
        for n in range(settings["rounds"] + 1):
            seconds = []
            for text, state in zip(texts, states, strict=True):
                begin = time.perf_counter()
                lm.run(text[:, -1:], state) if arm == "rwkv" else lm.run(text)
                seconds.append(time.perf_counter() - begin)
            if n:  # the first is a warm-up
                ratios.append(seconds[1] / seconds[0])
        figures[name] = statistics.median(ratios)
    return figures
