"""Fourier analysis networks: periodic functions fitted in an interval and continued beyond it, beside perceptrons with
and without Fourier features."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from seqmem.models import FANNet
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.periodic import PERIODIC, SPAN, function, places

HIDDEN, LAYERS, WAVES = (
    256,
    3,
    64,
)  # WAVES: random frequencies of the Fourier features, as many as FAN's first layer has
FAR = 4  # times the training interval
NETS = ("fan", "mlp", "fourier")
SHUFFLED = "two_periods"  # the function whose values are shuffled in the control

PAPER = Paper(
    slug="fan",
    uses=("seqmem.models.FANNet", "seqmem.models.FANLayer", "seqmem.tasks.periodic"),
    setup=f"Networks of {LAYERS} layers and {HIDDEN} hidden units are fitted to sin(2 pi x), x mod 5, exp(sin x), "
    "sin x + sin(x / 1.5), and x^3 tanh x, each scaled to variance 1 in the training interval from -4 pi to 4 pi, by "
    "as many steps of AdamW on fresh points. Errors are mean squares on new points, inside the interval and beyond "
    "it, up to four times as far. 1 is what the mean would have.",
    baseline="a perceptron (GELU) of the same width and depth, which has more weights; and one that is given 64 random "
    "Fourier features of x",
    control="a function whose values have been dealt out to other points: there is nothing to continue, and the error "
    "beyond the interval must not be a fifth of the perceptron's",
    figures=(
        Figure("below", "of four periodic functions, those on which its error beyond is at most 0.2 of a perceptron's"),
        Figure("below_fourier", "the same against a perceptron with Fourier features"),
        *(
            Figure(f"{name}_{net}", f"error beyond the interval, {name.replace('_', ' ')}, {net}")
            for name in PERIODIC
            for net in NETS
        ),
        *(Figure(f"{name}_inside", f"error inside the interval, {name.replace('_', ' ')}, fan") for name in PERIODIC),
        Figure("aperiodic", "error inside the interval, x^3 tanh x, fan"),
        Figure("aperiodic_mlp", "the same, perceptron"),
        Figure("weights", "weights of fan over those of the perceptron"),
        Figure("shuffled", "error beyond over the perceptron's, values shuffled (control)"),
    ),
    rule=Rule(
        holds="mean(below) >= 3 and weights < 1 and aperiodic <= 1.2 * aperiodic_mlp",
        in_part="mean(below) >= 2 and weights < 1",
        control="shuffled > 0.2",
    ),
    limits="Functions of one number, and minutes of training; no formulas, time series or language, no KAN, and no "
    "Transformer. Inside the interval it is far more exact than the perceptron. Beyond it no network here goes on with "
    "the wave: no mean error is below that of a constant, 1, and where FAN's is a small share of the perceptron's, it "
    "is that the latter's straight lines leave farther. The Fourier features, which are bounded, do no worse than FAN. "
    "Frequencies of the first layer begin between -1 and 1, which sin(2 pi x) and the corners of x mod 5 exceed, and "
    "nothing in training asks for the one frequency that would go on rather than for a mixture that fits.",
    own_model="fit it to function(name)(places(n, generator)) and test on places(n, generator, inner=1, outer=4)",
    parts=("periodic", "aperiodic", "shuffled"),
    settings={
        "smoke": {"steps": 3, "batch": 16, "test": 50},
        "laptop": {"steps": 800, "batch": 128, "test": 2000},
        "full": {"steps": 50_000, "batch": 1024, "test": 20_000},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)

RATE = 3e-3


class FourierFeatures(nn.Module):
    """x -> [cos(B x) || sin(B x)], B random and fixed (Fourier Features Let Networks Learn High Frequency Functions in
    Low Dimensional Domains, 2020, arXiv 2006.10739)."""

    frequencies: Tensor

    def __init__(self, inputs: int, waves: int, spread: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("frequencies", spread * torch.randn(inputs, waves))

    def forward(self, x: Tensor) -> Tensor:
        phase = x @ self.frequencies
        return torch.cat([phase.cos(), phase.sin()], -1)


def network(net: str) -> nn.Module:
    """(batch, 1) -> (batch, 1), of HIDDEN units and LAYERS layers."""
    if net == "fan":
        return FANNet(1, 1, hidden=HIDDEN, layers=LAYERS)
    features = [FourierFeatures(1, WAVES)] if net == "fourier" else []
    sizes = [2 * WAVES if features else 1, *[HIDDEN] * (LAYERS - 1)]
    hidden = [layer for pair in itertools.pairwise(sizes) for layer in (nn.Linear(*pair), nn.GELU())]
    return nn.Sequential(*features, *hidden, nn.Linear(HIDDEN, 1))


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """The networks, fitted to the four periodic functions, to the other one, or to shuffled values."""
    if part == "shuffled":
        beyond = _fitted(SHUFFLED, NETS[:2], settings, seed, report, shuffled=True)[1]
        return {"figures": {"shuffled": beyond["fan"] / beyond["mlp"]}}
    if part == "aperiodic":
        inside = _fitted("cubic", NETS[:2], settings, seed, report)[0]
        count = {net: sum(p.numel() for p in network(net).parameters()) for net in NETS[:2]}
        weights = count["fan"] / count["mlp"]
        return {"figures": {"aperiodic": inside["fan"], "aperiodic_mlp": inside["mlp"], "weights": weights}}
    figures: dict[str, float] = {"below": 0, "below_fourier": 0}
    series: dict[str, Any] = {}
    for name in PERIODIC:
        inside, beyond, curves = _fitted(name, NETS, settings, seed, report)
        figures |= {f"{name}_{net}": beyond[net] for net in NETS} | {f"{name}_inside": inside["fan"]}
        figures["below"] += beyond["fan"] <= 0.2 * beyond["mlp"]
        figures["below_fourier"] += beyond["fan"] <= 0.2 * beyond["fourier"]
        series |= curves
    return {"figures": figures, "series": series if seed == 0 else {}}


def _fitted(
    name: str, nets: tuple[str, ...], settings: dict[str, Any], seed: int, report: Report, *, shuffled: bool = False
) -> tuple[dict[str, float], dict[str, float], dict[str, Any]]:
    """Per network its errors inside and beyond the interval, and the curves."""
    wanted = _scaled(name)
    inside, beyond = {}, {}
    x = torch.linspace(-2 * SPAN, 2 * SPAN, 400, dtype=torch.float64)[:, None]
    curves = {f"y against x, {name.replace('_', ' ')}: the function": _curve(x, wanted(x))}
    for n, net in enumerate(nets):
        report(n / len(nets), f"{name}, {net}")
        fitted = _fit(net, wanted, settings, seed, shuffled)
        unseen = torch.Generator().manual_seed(10_000 + seed)
        inside[net] = _error(fitted, wanted, places(settings["test"], unseen))
        beyond[net] = _error(fitted, wanted, places(settings["test"], unseen, inner=1, outer=FAR))
        with torch.no_grad():
            curves[f"y against x, {name.replace('_', ' ')}: {net}"] = _curve(x, fitted(x.float()).clamp(-4, 4))
    return inside, beyond, curves


def _fit(
    net: str, wanted: Callable[[Tensor], Tensor], settings: dict[str, Any], seed: int, shuffled: bool
) -> nn.Module:
    """The network after training on fresh points of the interval."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    fitted = network(net)

    def loss_of(_: int) -> Tensor:
        x = places(settings["batch"], generator)
        y = wanted(x)
        if shuffled:
            y = y[torch.randperm(len(y), generator=generator)]
        return (fitted(x.float()) - y.float()).square().mean()

    descend(fitted, loss_of, settings["steps"], RATE)
    return fitted


def _scaled(name: str) -> Callable[[Tensor], Tensor]:
    """The function, shifted and scaled to mean 0 and variance 1 over the training interval."""
    f = function(name)
    y = f(torch.linspace(-SPAN, SPAN, 100_001, dtype=torch.float64))
    return lambda x: (f(x) - y.mean()) / y.std()


@torch.no_grad()
def _error(fitted: nn.Module, wanted: Callable[[Tensor], Tensor], x: Tensor) -> float:
    return float((fitted(x.float()) - wanted(x)).square().mean())


def _curve(x: Tensor, y: Tensor) -> dict[str, list[float]]:
    return {"x": x.flatten().tolist(), "y": y.flatten().double().tolist()}
