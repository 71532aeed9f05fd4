"""Do networks trained on log loss become Bayesian? Small recurrent networks on coins that change, beside the predictor
that is optimal there."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqmem.models import SequenceConfig, SequenceLM
from seqmem.papers._text import descend
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.tasks.piecewise import kt_predictions, log_loss, ptw_predictions, sample_coins

MIXERS = {"lstm": "lstm", "rnn": "rnn", "attention": "attention"}

PAPER = Paper(
    slug="mbml-piecewise",
    uses=("seqmem.tasks.piecewise.sample_coins", "seqmem.tasks.piecewise.ptw_predictions"),
    setup="Binary sequences of 64 symbols whose bias is redrawn at moments from the partition-tree prior. An LSTM, a "
    "simple recurrent network and attention, each one layer of 64, are trained on fresh sequences by log loss. On 400 "
    "new ones their cumulative regret over the true bias is compared with that of partition tree weighting, which is "
    "Bayes-optimal there.",
    baseline="the KT estimator, optimal for a bias that never changes",
    control="the same LSTM trained on coins that never change: it must be clearly worse",
    figures=(
        Figure("ptw", "cumulative regret of partition tree weighting", "nats"),
        Figure("kt", "the same, KT estimator (baseline)", "nats"),
        Figure("lstm", "the same, LSTM", "nats"),
        Figure("rnn", "the same, simple recurrent network", "nats"),
        Figure("attention", "the same, attention", "nats"),
        Figure("still", "the same, LSTM trained on coins that never change (control)", "nats"),
        Figure("divergence", "mean divergence of the LSTM's prediction from the optimal one", "nats per symbol"),
    ),
    rule=Rule(
        holds="lstm <= 1.3 * ptw and lstm <= 0.8 * kt",
        in_part="lstm < kt",
        control="still > lstm + 0.5",
    ),
    limits="Sequences of 64 symbols and a few hundred steps of training; the paper's have 256 symbols and its networks "
    "are trained for hundreds of thousands.",
    own_model="any network that maps (batch, time) symbols to logits: log_loss(p, symbols) beside ptw_predictions",
    settings={
        "smoke": {"time": 16, "steps": 3, "width": 8, "test": 20},
        "laptop": {"time": 64, "steps": 500, "width": 64, "test": 400},
        "full": {"time": 256, "steps": 5000, "width": 128, "test": 1000},
    },
    seeds={"smoke": 1, "laptop": 3, "full": 5},
)

BEGIN = 2  # the token in front of the first symbol


def _probability(model: SequenceLM, symbols: Tensor) -> Tensor:
    """The probability of 1 at every step given what came before, (batch, time)."""
    tokens = F.pad(symbols[:, :-1], (1, 0), value=BEGIN)
    return model.run(tokens)[0][..., :2].softmax(-1)[..., 1].double()


def _trained(mixer: str, changes: str, settings: dict[str, Any], seed: int, report: Report, done: float) -> SequenceLM:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = SequenceLM(SequenceConfig(vocab_size=3, width=settings["width"], layers=[mixer]))

    def loss_of(_: int) -> Tensor:
        symbols = sample_coins(64, settings["time"], generator, changes=changes).symbols
        tokens = F.pad(symbols[:, :-1], (1, 0), value=BEGIN)
        return F.cross_entropy(model.run(tokens)[0][..., :2].flatten(0, 1), symbols.flatten())

    descend(model, loss_of, settings["steps"], 5e-3, lambda step: report(done + 0.25 * step / settings["steps"], mixer))
    return model.eval()


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """All predictors on the same test sequences."""
    coins = sample_coins(settings["test"], settings["time"], torch.Generator().manual_seed(10_000 + seed))
    # 0 log 0: a bias of 0 or 1 loses nothing
    truth = log_loss(coins.bias, coins.symbols).nan_to_num(0)
    optimal = ptw_predictions(coins.symbols)
    predictions = {"ptw": optimal, "kt": kt_predictions(coins.symbols)}
    for n, (name, mixer) in enumerate(MIXERS.items()):
        lm = _trained(mixer, "ptw", settings, seed, report, 0.25 * n)
        with torch.no_grad():
            predictions[name] = _probability(lm, coins.symbols)
    still = _trained("lstm", "never", settings, seed, report, 0.75)
    with torch.no_grad():
        predictions["still"] = _probability(still, coins.symbols)
    regrets = {name: (log_loss(p, coins.symbols) - truth).mean(0).cumsum(0) for name, p in predictions.items()}
    figures = {name: float(regret[-1]) for name, regret in regrets.items()}
    p, q = optimal, predictions["lstm"]
    figures["divergence"] = float((p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean())
    steps = list(range(1, settings["time"] + 1))
    series = {
        f"cumulative regret by symbols read: {name}": {"x": steps, "y": r.tolist()} for name, r in regrets.items()
    }
    return {"figures": figures, "series": series}
