"""Curricula over N: which networks remember further back, by slow neurons or by their connections."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch

from seqmem.interp import autocorrelation, dimensionality, fit_timescale, network_timescales, with_weight_noise
from seqmem.mixers.gru import GRU
from seqmem.mixers.leaky_rnn import LeakyRNN
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.bit_stream import bits
from seqmem.training.span_curriculum import (
    SpanCurriculum,
    SpanHistory,
    SpanNetwork,
    refit_heads,
    span_accuracy,
    train_spans,
)

#: what is measured of the two curricula that are compared
MEASURED = (
    ("max", "largest N learned", ""),
    ("tau", "mean time constant of the neurons at the end", "steps"),
    ("old", "right on N = 2 at the end, by its own head", "accuracy"),
    ("old_refit", "the same, by a head that is fitted anew to the states", "accuracy"),
    ("lost", "lost on N when 5 % of the neurons are silent, when N was just learned", "accuracy"),
    ("again", "bits read until N is right again after that", "bits"),
    ("noise", "lost on N by noise of a tenth of W's norm", "accuracy"),
    ("tau_noise", "lost on N by noise of a tenth of the time constants' norm", "accuracy"),
    ("net", "median timescale of a neuron's activity under random input, when N was just learned", "steps"),
    ("dimensions", "principal components of that activity that hold 90 % of it", ""),
    ("beyond", "right on the next three N at the end, by heads fitted anew", "accuracy"),
    ("exchanged", "right on answers to other streams, N just learned (control)", "accuracy"),
)
WORDS = {"single": "one N after the other", "multi": "ever more N"}
OTHERS = {"sliding": "the five latest N", "none": "N = 2 to 10 from the beginning"}
SHARE, NOISE = 0.05, 0.1

PAPER = Paper(
    slug="emergent-timescales",
    uses=(
        "seqmem.mixers.leaky_rnn.LeakyRNN",
        "seqmem.tasks.bit_stream.BitStream",
        "seqmem.training.span_curriculum.train_spans",
        "seqmem.interp.network_timescales",
        "seqmem.interp.with_weight_noise",
    ),
    setup="Leaky networks of 100 neurons with trained time constants learn the parity of the last N bits of random "
    "streams, with a head for each N, by SGD as in the paper (rate 0.05, Nesterov momentum 0.1, batch 64): one N "
    "after the other, or all from 2 up to an N that grows when 98 % are right, until 50,000 bits per row have been "
    "read. Robustness is measured on the networks as they were when N = 7 was learned.",
    baseline="one N after the other; beside both, the five latest N, and all N from 2 to 10 from the beginning, for "
    "10,000 bits, and a GRU, by Adam of rate 0.003",
    control="answers to other streams, which no network may know; and leaky noise of known time constants, whose "
    "timescales the fit must find",
    figures=(
        *(Figure(f"{part}_{name}", f"{WORDS[part]}: {what}", unit) for part in WORDS for name, what, unit in MEASURED),
        *(Figure(f"{part}_max", f"{words}: largest N learned") for part, words in OTHERS.items()),
        Figure("gru_single_max", "GRU of width 48, one N after the other: largest N learned"),
        Figure("gru_multi_max", "GRU of width 48, ever more N: largest N learned"),
        Figure("leak_error", "leaky noise: largest relative error of its timescale (control)"),
    ),
    rule=Rule(
        holds="mean(multi_max - single_max) >= 2 and mean(single_tau - multi_tau) >= 0.3 and single_old <= 0.7 and "
        "multi_old >= 0.98 and mean(single_lost - multi_lost) > 0",
        in_part="mean(multi_max - single_max) >= 2 and single_old <= 0.7 and multi_old >= 0.98",
        control="best(single_exchanged) <= 0.6 and best(multi_exchanged) <= 0.6 and leak_error <= 0.2",
    ),
    limits="A fifth of the paper's neurons and minutes of training: N stays far below the paper's 40 and more, and "
    "what time constants do at large N cannot be seen. Matching to sample, the LSTM and time constants that are not "
    "trained are in the library, but not in the check.",
    own_model="train_spans(SpanNetwork(my_layer), SpanCurriculum('multi'), 20_000, generator)",
    parts=("single", "multi", "sliding", "none", "gru_single", "gru_multi", "fit"),
    settings={
        "smoke": {"neurons": 12, "bits": 300, "short": 300, "at": 2, "batch": 16, "every": 20, "gru": 8},
        "laptop": {"neurons": 100, "bits": 50_000, "short": 10_000, "at": 7, "batch": 64, "every": 50, "gru": 48},
        "full": {"neurons": 500, "bits": 5_000_000, "short": 500_000, "at": 20, "batch": 256, "every": 600, "gru": 100},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 4},
)


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """One curriculum, or the fit on processes of known timescales."""
    generator = torch.Generator().manual_seed(seed)
    if part == "fit":
        return {"figures": {"leak_error": _leak_error(generator)}}
    torch.manual_seed(seed)
    cell, _, kind = part.rpartition("_")
    network = SpanNetwork(GRU(settings["gru"]) if cell else LeakyRNN(settings["neurons"]))
    kept: dict[int, SpanNetwork] = {}

    def keep(span: int, network: SpanNetwork) -> None:
        if span == settings["at"]:
            kept[span] = copy.deepcopy(network)

    history = train_spans(
        network,
        SpanCurriculum(kind),  # type: ignore[arg-type]
        settings["bits" if part in WORDS else "short"],
        generator,
        optimiser=torch.optim.Adam(network.parameters(), 3e-3) if cell else None,
        batch=settings["batch"],
        every=settings["every"],
        watch=None if cell else lambda network: float(network.mixer.tau.detach().mean()),  # type: ignore[operator]
        on_learned=keep,
        report=report,
    )
    figures, notes = {f"{part}_max": float(history.reached)}, []
    series = {f"largest N learned against bits read: {part}": _steps(history)}
    if part in WORDS:
        series[f"mean time constant against bits read: {part}"] = {
            "x": [read for read, _ in history.curve],
            "y": [tau for _, tau in history.curve],
        }
        at = kept.get(settings["at"], network)
        if settings["at"] not in kept:
            notes = [
                f"{part}, seed {seed}: N = {settings['at']} was not learned; damage is that of the network at the end"
            ]
        figures |= {f"{part}_{name}": value for name, value in _robust(at, settings, generator).items()}
        spans = list(range(2, min(2 * max(history.reached, 2), network.most) + 1))
        right = span_accuracy(network, spans, generator, heads=refit_heads(network, spans, generator))
        series[f"right by heads fitted anew, against N: {part}"] = {"x": list(map(float, spans)), "y": right.tolist()}
        later = [n for n, span in enumerate(spans) if history.reached < span <= history.reached + 3]
        figures |= {
            f"{part}_tau": history.curve[-1][1] if history.curve else math.nan,
            f"{part}_old": float(span_accuracy(network, [2], generator)),
            f"{part}_old_refit": float(right[0]),
            f"{part}_beyond": float(right[later].mean()),
        }
    return {"figures": figures, "series": series, "notes": notes}


def _robust(network: SpanNetwork, settings: dict[str, Any], generator: torch.Generator) -> dict[str, float]:
    """Of a network that has just learned N: what damage costs, what it takes to repair it, how it remembers."""
    at = [settings["at"]]
    whole = float(span_accuracy(network, at, generator))
    neurons = settings["neurons"]
    silent = [_silenced(network, torch.randperm(neurons, generator=generator)) for _ in range(8)]
    noisy = {
        name: [with_weight_noise(network, [f"mixer.{name}"], NOISE, generator) for _ in range(8)]
        for name in ("recurrent", "time_constants")
    }

    def lost(damaged: list[SpanNetwork]) -> float:
        return whole - sum(float(span_accuracy(one, at, generator)) for one in damaged) / len(damaged)

    again: SpanHistory = train_spans(
        silent[0],
        SpanCurriculum("none", first=at[0], last=at[0]),
        settings["short"] // 2,
        generator,
        batch=settings["batch"],
        every=10,
    )
    stream = bits(8, 1200, generator)
    with torch.no_grad():
        activity = network.states(stream)[:, 200:]
        other = float(span_accuracy(network, at, generator, heads=_of_other_rows(network, at)))
    times = [one.effective for one in network_timescales(activity[..., :40]) if one.exponentials]
    return {
        "lost": lost(silent[1:]),
        "again": float(again.tokens.get(at[0], settings["short"] // 2)),
        "noise": lost(noisy["recurrent"]),
        "tau_noise": lost(noisy["time_constants"]),
        "net": float(torch.tensor(times).median()),
        "dimensions": float(dimensionality(activity)),
        "exchanged": other,
    }


def _silenced(network: SpanNetwork, order: torch.Tensor) -> SpanNetwork:
    damaged = copy.deepcopy(network)
    damaged.mixer.silence(order[: max(1, round(SHARE * len(order)))].tolist())  # type: ignore[operator]
    return damaged


def _of_other_rows(network: SpanNetwork, spans: list[int]) -> Any:
    return lambda states: network.answer(states.roll(1, 0), spans)


def _leak_error(generator: torch.Generator) -> float:
    """The largest relative error of the timescale -1 / log(1 - 1 / tau) of r_t = (1 - 1 / tau) r_{t-1} + noise."""
    taus = torch.tensor([1.5, 3.0, 6.0], dtype=torch.float64)
    r, activity = torch.zeros(8, 3, dtype=torch.float64), []
    for noise in torch.randn(2000, 8, 3, generator=generator, dtype=torch.float64):
        r = (1 - 1 / taus) * r + noise
        activity.append(r)
    found = [fit_timescale(decay).effective for decay in autocorrelation(torch.stack(activity, 1)[:, 100:], 30)]
    return float(((torch.tensor(found) + 1 / (1 - 1 / taus).log()) * (1 - 1 / taus).log()).abs().max())


def _steps(history: SpanHistory) -> dict[str, list[float]]:
    return {"x": list(map(float, history.tokens.values())), "y": list(map(float, history.tokens))}
