"""Minimal GRU and LSTM: parallel form against loop, training speed against the classic cells, selective copying."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.mixers import get_mixer
from seqmem.models import SequenceConfig, SequenceLM
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks import get_task
from seqmem.tasks.base import IGNORE

PAPER = Paper(
    slug="minrnn",
    uses=("seqmem.mixers.min_gru.MinGRU", "seqmem.mixers.min_lstm.MinLSTM"),
    setup="One layer of each kind reads the same input in parallel and step by step, in float64. Forward and backward "
    "passes are timed on one thread, in turns with a loop over torch's GRU cell and with torch's own GRU. Networks of "
    "one and of three minimal GRU layers (width 64, 128 hidden units, an MLP after each) are trained on selective "
    "copying, on texts that grow from 32 to 128 positions, and tested on 16 tokens out of 128 positions, 16 symbols.",
    baseline="torch's GRU, as a loop over its cell and as its own kernel; one layer instead of three",
    control="the parallel form on gates that are one position late: it must not agree with the loop",
    figures=(
        Figure("forms", "largest difference of parallel form and loop, both layers"),
        Figure("late", "the same with gates one position late (control)"),
        Figure("over_loop", "batch 1, width 64, 2,048 steps: GRU cell in a loop over minimal GRU", "times"),
        Figure("over_gru", "the same: torch's GRU over minimal GRU", "times"),
        Figure("over_gru_wide", "batch 16, width 128, 1,024 steps: torch's GRU over minimal GRU", "times"),
        Figure("lstm_over_loop", "batch 1, width 64, 2,048 steps: LSTM cell in a loop over minimal LSTM", "times"),
        Figure("parameters", "weights of the minimal GRU over those of the GRU, recurrence and gates alone"),
        Figure("three", "selective copying, three layers", "accuracy"),
        Figure("one", "selective copying, one layer (baseline)", "accuracy"),
    ),
    rule=Rule(
        holds="forms < 1e-10 and over_loop >= 5 and over_gru >= 5 and three >= 0.9 and one <= 0.7",
        in_part="forms < 1e-10 and over_loop >= 5 and three >= one + 0.1",
        control="late > 1e-3",
    ),
    limits="Speeds are those of one thread of a processor; the paper's 175 and 235 times are a GPU's, where a loop "
    "costs a launch per step. A few thousand updates of small networks instead of 400,000, which short texts at first "
    "and gates that begin with memories of 2 to 65 positions make enough; no language, no control.",
    own_model="seqmem compare --mixers min_gru,min_lstm,gru,my_layer:MyLayer",
    settings={
        "smoke": {"time": 64, "rounds": 2, "steps": 3},
        "laptop": {"time": 2048, "rounds": 9, "steps": 2400},
        "full": {"time": 2048, "rounds": 31, "steps": 20_000},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
    parts=("forms", "speed", "three", "one"),
)

LENGTH, SYMBOLS = 128, 16
SHORTEST, GROWN = 2 * SYMBOLS, 0.9  # the first texts have no blanks to spare; the last tenth is at full length
WIDTH, RATE, BATCH = 64, 6e-3, 32
MEMORY = 64  # positions: gates begin with keep / write ratios from 1 to this


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """The forms, the clock, or a trained network."""
    if part == "forms":
        return _forms(seed)
    if part == "speed":
        return _speed(settings, seed, report)
    return {"figures": {part: _copying({"one": 1, "three": 3}[part], settings["steps"], seed, report)}}


@torch.no_grad()
def _forms(seed: int) -> dict[str, Any]:
    differences, late = [], []
    for name in ("min_gru", "min_lstm"):
        torch.manual_seed(seed)
        layer: Any = get_mixer(name)(32).double()
        x = torch.randn(2, 128, 32, dtype=torch.float64)
        loop, _ = layer(x, form="recurrent")
        for form in layer.forms:
            if form != "recurrent":
                differences.append(float((layer(x, form=form)[0] - loop).abs().max()))
        shifted = torch.cat([x[:, :1], x[:, :-1]], 1)
        late.append(float((layer(shifted)[0] - loop).abs().max()))
    return {"figures": {"forms": max(differences), "late": min(late)}}


def _passes(module: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """Seconds of a forward and a backward pass."""
    x = x.detach().requires_grad_()
    begin = time.perf_counter()
    module(x).sum().backward()
    return time.perf_counter() - begin


def _looped(cell: Any) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        state, outputs = None, []
        for step in x.unbind(1):
            state = cell(step, state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(outputs, 1)

    return run


def _ratio(other: Callable[[Tensor], Tensor], ours: Callable[[Tensor], Tensor], x: Tensor, rounds: int) -> float:
    """The median of the ratios of times, taken in turns."""
    for module in (other, ours):
        _passes(module, x)
    return statistics.median(_passes(other, x) / _passes(ours, x) for _ in range(rounds))


def _speed(settings: dict[str, Any], seed: int, report: Report) -> dict[str, Any]:
    torch.manual_seed(seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rounds, longest = settings["rounds"], settings["time"]
        minimal, lstm = get_mixer("min_gru")(64), get_mixer("min_lstm")(64)
        gru, cell = nn.GRU(64, 64, batch_first=True), nn.GRUCell(64, 64)
        lines: dict[str, dict[str, list[float]]] = {}
        for label, other in (("GRU cell in a loop", _looped(cell)), ("torch's GRU", lambda x: gru(x)[0])):
            report(0.2, label)
            times = [longest // 8, longest // 4, longest // 2, longest]
            ratios = [_ratio(other, lambda x: minimal(x)[0], torch.randn(1, time, 64), rounds) for time in times]
            lines[f"times as long against steps: {label}"] = {"x": list(map(float, times)), "y": ratios}
        wide, wide_gru = get_mixer("min_gru")(128), nn.GRU(128, 128, batch_first=True)
        x = torch.randn(16, longest // 2, 128)
        loop, kernel = (line["y"][-1] for line in lines.values())
        figures = {
            "over_loop": loop,
            "over_gru": kernel,
            "over_gru_wide": _ratio(lambda x: wide_gru(x)[0], lambda x: wide(x)[0], x, rounds),
            "lstm_over_loop": _ratio(
                _looped(nn.LSTMCell(64, 64)), lambda x: lstm(x)[0], torch.randn(1, longest, 64), rounds
            ),
            "parameters": 2 * 64 * 64 / (3 * 64 * (64 + 64)),
        }
    finally:
        torch.set_num_threads(threads)
    return {"figures": figures, "series": lines}


def _network(layers: int, vocab_size: int, generator: torch.Generator) -> SequenceLM:
    """Minimal GRUs whose units begin with memories of all lengths, evenly on a logarithmic scale (after Can Recurrent
    Neural Networks Warp Time?, 2018, arXiv 1804.11188)."""
    layer = {"name": "min_gru", "expansion": 2.0}
    config = SequenceConfig(vocab_size=vocab_size, width=WIDTH, layers=[layer] * layers, mlp_width=2 * WIDTH)
    lm = SequenceLM(config)
    for block in lm.layers:
        mixer: Any = block.mixer
        with torch.no_grad():
            mixer.candidate_and_gate.bias[mixer.hidden :] = -math.log(MEMORY) * torch.rand(
                mixer.hidden, generator=generator
            )
    return lm


def text_length(step: int, steps: int) -> int:
    """Of the training texts at a step: slowly at first from SHORTEST up to LENGTH."""
    return round(SHORTEST + (LENGTH - SHORTEST) * min(1.0, step / (GROWN * steps)) ** 3)


def _copying(layers: int, steps: int, seed: int, report: Report) -> float:
    """The accuracy after training."""
    task: Any = get_task("selective_copying", length=LENGTH, symbols=SYMBOLS, vocabulary=16)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    lm = _network(layers, task.vocab_size, generator)

    def loss_of(step: int) -> Tensor:
        drawn = task.sample(BATCH, text_length(step, steps), generator)
        asked = drawn.targets != IGNORE
        return F.cross_entropy(lm.run(drawn.inputs, asked=asked)[0], drawn.targets[asked])

    descend(lm, loss_of, steps, RATE, lambda step: report(step / steps, f"copying, {layers} layers"))
    drawn = task.sample(256, LENGTH, torch.Generator().manual_seed(10_000 + seed), split="test")
    asked = drawn.targets != IGNORE
    with torch.no_grad():
        said = lm.eval().run(drawn.inputs, asked=asked)[0].argmax(-1)
    return float((said == drawn.targets[asked]).float().mean())
