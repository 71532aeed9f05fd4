"""The wave network: what travels in it before training, and how soon it learns to copy over a delay."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.interp.linear_recall import linear_recall
from seqmem.interp.waves import wave_share, wave_spectrum, wave_speed
from seqmem.mixers.irnn import IRNN
from seqmem.mixers.wave_rnn import WaveRNN
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.base import IGNORE
from seqmem.tasks.delayed_copying import DelayedCopying

PAPER = Paper(
    slug="wave-rnn",
    uses=(
        "seqmem.mixers.wave_rnn.WaveRNN",
        "seqmem.mixers.irnn.IRNN",
        "seqmem.interp.waves",
        "seqmem.interp.linear_recall",
        "seqmem.tasks.delayed_copying",
    ),
    setup="A new wave network (100 units, 6 channels) reads one input and then nothing for 100 steps; its hidden state "
    "in space and time is transformed by a 2-D FFT. Then it learns to copy, reading tokens one-hot: 10 symbols of 8 "
    "kinds, 20 blanks, 10 questions; batches of 128, Adam at 1e-3, gradients clipped at 1. After training, past inputs "
    "are read linearly out of its state.",
    baseline="the identity-initialised ReLU network of as many parameters, 100 units, at 1e-3 and 1e-4, the better of "
    "the two, for twice as many updates",
    control="the wave network without its shift (each unit keeps what it has): before training its spectrum must not "
    "lie on the line of one unit a step",
    figures=(
        Figure("on_line", "new network: spectral energy on the line of one unit a step, of all that varies in space"),
        Figure("peak_off", "the same: distance of the spectrum's peak from that line", "frequencies"),
        Figure("on_line_still", "the same share without a shift (control)"),
        Figure("first", "wave network, recalled after a third of the updates", "accuracy"),
        Figure("wave", "wave network, after all updates", "accuracy"),
        Figure("still", "without a shift, after all updates", "accuracy"),
        Figure("irnn", "identity-initialised ReLU network, after twice as many (baseline)", "accuracy"),
        Figure("speed", "trained network: the speed that most of its activity has", "units a step"),
        Figure("parameters_wave", "parameters of the wave network"),
        Figure("parameters_irnn", "the same, baseline"),
    ),
    rule=Rule(
        holds="first >= 0.70 and wave >= 0.95 and best(irnn) <= 0.40 and on_line > 0.99 and peak_off < 0.5",
        in_part="wave >= 0.95 and low(wave - irnn) > 0.3 and on_line > 0.99 and peak_off < 0.5",
        control="on_line_still < 0.1",
    ),
    limits="A delay of 20 and 300 updates; the paper goes to 480 and more, and has addition and images pixel by pixel. "
    "Only the recalled symbols are asked, not the blanks before them.",
    own_model="wave_speed(hidden) for any (batch, time, units, channels); linear_recall(states, inputs, lags)",
    parts=("new", "wave", "still", "irnn"),
    exact=("new",),
    settings={
        "smoke": {"units": 12, "delay": 4, "updates": 3, "batch": 8},
        "laptop": {"units": 100, "delay": 20, "updates": 300, "batch": 128},
        "full": {"units": 100, "delay": 100, "updates": 3000, "batch": 128},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)

CHANNELS, RATES = 6, (1e-3, 1e-4)


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """The new network, or a trained one."""
    if part == "new":
        return _new(settings["units"])
    task = DelayedCopying(length=settings["delay"] + 20)
    updates = settings["updates"]
    torch.manual_seed(seed)
    if part == "irnn":
        networks = [IRNN(task.vocab_size, hidden=settings["units"]) for _ in RATES]
        curves = [
            _copying(net, task, 2 * updates, rate, settings["batch"], seed, report)
            for net, rate in zip(networks, RATES, strict=True)
        ]
        figures = {"irnn": max(curve[2 * updates] for curve in curves), "parameters_irnn": _count(networks[0])}
        labels = [f"identity-initialised, {rate:g}" for rate in RATES]
        return {"figures": figures, "series": _lines(dict(zip(labels, curves, strict=True)))}
    network = WaveRNN(task.vocab_size, units=settings["units"], channels=CHANNELS, shift=int(part == "wave"))
    curve = _copying(network, task, updates, RATES[0], settings["batch"], seed, report)
    if part == "still":
        return {"figures": {"still": curve[updates]}, "series": _lines({"without a shift": curve})}
    inputs = F.one_hot(
        task.sample(200, task.length, torch.Generator().manual_seed(seed)).inputs, task.vocab_size
    ).float()
    with torch.no_grad():
        hidden, _ = network.waves(inputs)
    lags = list(range(0, task.length - 1, 3))
    recalled = linear_recall(hidden, inputs, lags)
    figures = {
        "first": curve[updates // 3],
        "wave": curve[updates],
        "speed": wave_speed(hidden),
        "parameters_wave": _count(network),
    }
    series = {
        "variance of the input that the state still has against steps since: trained wave network": {
            "x": lags,
            "y": recalled.tolist(),
        }
    }
    return {"figures": figures, "series": series | _lines({"wave": curve})}


def _new(units: int) -> dict[str, Any]:
    figures, series = {}, {}
    speeds = torch.linspace(-2, 2, 81)
    for shift, suffix in ((1, ""), (0, "_still")):
        network = WaveRNN(2, units=units, channels=CHANNELS, shift=shift)
        pulse = torch.zeros(1, units, 2)
        pulse[:, 0] = 1
        with torch.no_grad():
            hidden, _ = network.waves(pulse)
        figures[f"on_line{suffix}"] = float(wave_share(hidden, torch.tensor([1.0]))[0])
        label = "one unit a step" if shift else "without a shift"
        series[f"share of the activity against speed: {label}"] = {
            "x": speeds.tolist(),
            "y": wave_share(hidden, speeds).tolist(),
        }
        if shift:
            energy = wave_spectrum(hidden)[:, 1:]  # (frequency in time, wave number from 1)
            peak, number = divmod(int(energy.argmax()), units - 1)
            off = (peak + number + 1) % units  # 0 on the line: frequency = -wave number
            figures["peak_off"] = float(min(off, units - off))
    return {"figures": figures, "series": series}


def _copying(
    network: nn.Module, task: DelayedCopying, updates: int, rate: float, batch: int, seed: int, report: Report
) -> dict[int, float]:
    """Accuracy on fresh strings after some numbers of updates, among them a third of all and all."""
    generator = torch.Generator().manual_seed(seed)
    test = task.sample(500, task.length, torch.Generator().manual_seed(10_000 + seed), split="test")
    asked = test.targets != IGNORE

    def logits(inputs: Tensor) -> Tensor:
        return network(F.one_hot(inputs, task.vocab_size).float())[0]

    optimiser = torch.optim.Adam(network.parameters(), rate)
    every, curve = max(1, updates // 6), {}
    for step in range(1, updates + 1):
        drawn = task.sample(batch, task.length, generator)
        wanted = drawn.targets != IGNORE
        loss = F.cross_entropy(logits(drawn.inputs)[wanted], drawn.targets[wanted])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        if step % every == 0 or step in (updates // 3, updates):
            with torch.no_grad():
                said = logits(test.inputs)[asked].argmax(-1)
            curve[step] = float((said == test.targets[asked]).float().mean())
            report(step / updates, f"{curve[step]:.2f} recalled")
    return curve


def _count(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def _lines(curves: dict[str, dict[int, float]]) -> dict[str, Any]:
    return {
        f"recalled against updates: {label}": {"x": list(curve), "y": list(curve.values())}
        for label, curve in curves.items()
    }
