"""Linear state-space layers: three views of one layer, what its state remembers, digits, and another sampling rate."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqmem.mixers.lssl import LSSL
from seqmem.papers._digits import DigitReader, digits_right, fit_digits
from seqmem.papers.paper import Figure, Paper, Report, Rule

PAPER = Paper(
    slug="lssl",
    uses=("seqmem.mixers.lssl.LSSL", "seqmem.mixers._hippo", "seqmem.tasks.digits.Digits"),
    setup="In float64: a layer with 16 coefficients reads 1,000 inputs as recurrence and as convolution; a layer of "
    "one coefficient with A = -1 by backward Euler is set beside a gate; and the signal of the last two units of "
    "time, 2 periods a unit at most, is rebuilt from the state (32 coefficients) of a layer with a HiPPO matrix. Then "
    "networks of two layers (width 32, 32 coefficients, an MLP after each) read digits pixel by pixel, with A learned "
    "from the HiPPO matrix, from a random one, or frozen. The frozen one is tested at half the rate, neighbouring "
    "pixels averaged, with the time step doubled and without; and at twice the rate, every pixel read twice, with the "
    "step halved.",
    baseline="A learned from random numbers; a tanh network; no change of the time step",
    control="the signal rebuilt from a state whose A is random, read with the same polynomials: it must not be there",
    figures=(
        Figure("views", "largest difference of recurrence and convolution, 1,000 steps"),
        Figure("gate", "largest difference of discretisation and gate"),
        Figure("rebuilt", "error of the rebuilt signal, relative"),
        Figure("rebuilt_random", "the same, random A (control)"),
        Figure("hippo", "digits, A learned from HiPPO", "accuracy"),
        Figure("random", "digits, A learned from random numbers (baseline)", "accuracy"),
        Figure("fixed", "digits, HiPPO frozen", "accuracy"),
        Figure("tanh", "digits, tanh network (baseline)", "accuracy"),
        Figure("half", "digits at half the rate, frozen, time step doubled", "accuracy"),
        Figure("half_unchanged", "the same, time step as it was (baseline)", "accuracy"),
        Figure("double", "digits at twice the rate, every pixel twice, frozen, time step halved", "accuracy"),
        Figure("double_unchanged", "the same, time step as it was", "accuracy"),
    ),
    rule=Rule(
        holds="views < 1e-6 and gate < 1e-12 and rebuilt <= 0.05 and mean(hippo - random) >= 0.05 and "
        "mean(fixed - tanh) >= 0.05 and mean(fixed - half) <= 0.05 and mean(fixed - half_unchanged) >= 0.15",
        in_part="views < 1e-6 and gate < 1e-12 and rebuilt <= 0.05 and mean(half - half_unchanged) >= 0.1",
        control="rebuilt_random > 0.5",
    ),
    limits="What was not seen is that another sampling rate costs nothing: the changed step is worth 0.14 at half the "
    "rate and 0.47 at twice, but 0.62 and 0.34 are lost. 64 pixels, eight to a row, are no finely sampled signal: "
    "half of them leave four to a row, and the step times the fastest eigenvalue of A, 32, reaches 3, where the "
    "bilinear rule is far from the continuous system that does not change. 1,257 images and 300 updates; the paper's "
    "results are on 784 pixels, colour images and speech of 16,000 samples.",
    own_model="LSSL(width, rate=2.0) or layer.rate = 2.0 for half the sampling rate; layer.recall(state, lags)",
    parts=("exact", "hippo", "random", "fixed", "tanh"),
    exact=("exact",),
    settings={
        "smoke": {"time": 60, "signal": 600, "steps": 2, "batch": 8},
        "laptop": {"time": 1000, "signal": 8000, "steps": 300, "batch": 32},
        "full": {"time": 1000, "signal": 8000, "steps": 10_000, "batch": 64},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)

WIDTH, STATE, RATE = 32, 32, 5e-3
ARMS: dict[str, Any] = {
    "hippo": {"name": "lssl", "state": STATE, "learned": True},
    "random": {"name": "lssl", "state": STATE, "measure": "random", "learned": True},
    "fixed": {"name": "lssl", "state": STATE},
    "tanh": "rnn",
}
SLOW = ("mixer.a", "mixer.b", "mixer.log_step")
SPAN, PERIODS = 2.0, 2  # units of time looked back; most periods in one


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """The numbers, or a trained network."""
    if part == "exact":
        return _exact(settings)
    torch.manual_seed(seed)
    reader, steps = DigitReader([ARMS[part]] * 2, WIDTH), settings["steps"]
    generator = torch.Generator().manual_seed(seed)
    fit_digits(
        reader,
        steps,
        RATE,
        generator,
        batch=settings["batch"],
        slow=SLOW,
        report=lambda step: report(step / steps, part),
    )
    figures = {part: digits_right(reader)}
    if part == "fixed":
        for name, view, rate in (("half", _half, 2.0), ("double", _double, 0.5)):
            figures[f"{name}_unchanged"] = digits_right(reader, view)
            _set_rate(reader, rate)
            figures[name] = digits_right(reader, view)
            _set_rate(reader, 1.0)
    return {"figures": figures}


def _set_rate(reader: DigitReader, rate: float) -> None:
    for layer in reader.modules():
        if isinstance(layer, LSSL):
            layer.rate = rate


def _double(pixels: Tensor) -> Tensor:
    """Twice as many samples of the same signal: every pixel lasts for two."""
    return pixels.repeat_interleave(2, 1)


def _half(pixels: Tensor) -> Tensor:
    """Half as many samples: the mean of two neighbours."""
    return pixels.unflatten(1, (-1, 2)).mean(2)


@torch.no_grad()
def _exact(settings: dict[str, Any]) -> dict[str, Any]:
    torch.manual_seed(0)
    layer = LSSL(4, state=16).double()
    x = torch.randn(2, settings["time"], 4, dtype=torch.float64)
    views = float((layer(x, form="recurrent")[0] - layer.convolve(x)).abs().max())

    gate = LSSL(64, state=1, alpha=1.0).double()
    gate.a.fill_(-1)
    gate.b.fill_(1)
    gate.log_step.copy_(torch.linspace(-5, 5, 64))
    keep, write = gate.discretised()
    opened = torch.sigmoid(gate.log_step)
    off = max(float((keep[:, 0, 0] - (1 - opened)).abs().max()), float((write[:, 0] - opened).abs().max()))

    figures = {"views": views, "gate": off}
    series: dict[str, Any] = {}
    for suffix, measure_name in (("", "legs"), ("_random", "random")):
        figures[f"rebuilt{suffix}"], lines = _rebuilt(settings["signal"], measure_name)
        series |= lines
    return {"figures": figures, "series": series}


def _rebuilt(samples: int, measure_name: str) -> tuple[float, dict[str, Any]]:
    """Relative error over the last SPAN units of time of a random band-limited signal, 8 units long."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    step = 8.0 / samples
    layer = LSSL(1, state=STATE, measure=measure_name, shortest=step, longest=step).double()
    time = step * torch.arange(samples, dtype=torch.float64)
    frequency = PERIODS * torch.rand(8, generator=generator, dtype=torch.float64)
    phase = torch.rand(8, generator=generator, dtype=torch.float64)
    signal = torch.sin(2 * torch.pi * (frequency * time[:, None] + phase)).mean(1)
    _, state = layer(signal[None, :, None])
    layer.measure = "legs"  # the same polynomials for both
    lags = torch.arange(0, round(SPAN / step), max(1, round(SPAN / step / 200)))
    found, read = layer.recall(state, lags)[0, 0], signal[-1 - lags]
    ages = (lags * step).tolist()
    lines = {f"signal against units of time ago: rebuilt, {'HiPPO' if measure_name == 'legs' else 'random A'}": found}
    if measure_name == "legs":
        lines["signal against units of time ago: as it was read"] = read
    series = {label: {"x": ages, "y": y.tolist()} for label, y in lines.items()}
    return float((found - read).norm() / read.norm()), series
