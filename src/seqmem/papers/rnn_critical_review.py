"""Where gradients vanish: the textbook cells and every layer of the library whose memory is constant, each looked back
through from its last state."""

from __future__ import annotations

import math
from typing import Any

import torch

from seqmem.mixers import MIXERS
from seqmem.papers.paper import Figure, Paper, Report, Rule
from seqmem.theory.gradient_horizon import classic_cells, decay_per_step, gradient_horizon
from seqmem.theory.layer_tables import layer_horizon, taxonomy

CELLS = {
    "elman": "elman",
    "gru": "gru",
    "lstm_0": "lstm, forget bias 0",
    "lstm_1": "lstm, forget bias 1",
    "lstm_3": "lstm, forget bias 3",
    "lstm_5": "lstm, forget bias 5",
    "lstm_1997": "lstm 1997",
}
SHOWN = 8  # lines in a plot

PAPER = Paper(
    slug="rnn-critical-review",
    uses=("seqmem.theory.gradient_horizon", "seqmem.theory.layer_horizon", "seqmem.theory.taxonomy", "seqmem.mixers"),
    setup="Untrained cells of 64 units with weights uniform in +-1/8 read 100 inputs drawn from N(0, 1), in float64. A "
    "random projection of the last carried state is differentiated with respect to the carried state (the LSTM's cell) "
    "at every earlier step; the figure is the slope of the logarithm of the gradient's norm. The same is drawn for "
    "every layer of the library whose memory has a constant size, for the first seed.",
    baseline="the plain tanh network (Elman)",
    control="a cell that only adds its input: its gradient must not decay at all",
    figures=(
        *(Figure(name, f"what the gradient loses per step, {cell}", "nats") for name, cell in CELLS.items()),
        Figure("adder", "the same, s' = s + x (control)", "nats"),
    ),
    rule=Rule(
        holds="elman > gru and gru > lstm_1 and lstm_1 > 0.1 and abs(lstm_3) < 0.05 and abs(lstm_1997) < 0.05",
        in_part="elman > lstm_1 and abs(lstm_1997) < 0.05",
        control="abs(adder) < 1e-9",
    ),
    limits="Untrained cells of one size; training moves the gates. An ordinary LSTM, with forget bias 0 or 1, does not "
    "keep its gradient either: what keeps it is an open forget gate, or none.",
    own_model="gradient_horizon(lambda x, s: mixer(x, s), xs, mixer.initial_state(1)) for any layer",
    settings={
        "smoke": {"hidden": 8, "time": 12, "mixers": 2},
        "laptop": {"hidden": 64, "time": 100, "mixers": 999},
        "full": {"hidden": 256, "time": 400, "mixers": 999},
    },
    seeds={"smoke": 1, "laptop": 5, "full": 10},
)


def measure(part: str, settings: dict[str, Any], seed: int, model: str | None, report: Report) -> dict[str, Any]:
    """All cells on the same inputs."""
    generator = torch.Generator().manual_seed(seed)
    hidden, time = settings["hidden"], settings["time"]
    xs = torch.randn(1, time, hidden, generator=generator, dtype=torch.float64)
    distance = list(range(time - 1, -1, -1))
    cells = classic_cells(hidden, generator)
    figures, series = {}, {}
    for n, (name, cell) in enumerate(CELLS.items()):
        report(0.5 * n / len(CELLS), cell)
        step, state, carried = cells[cell]
        norms = gradient_horizon(step, xs, state, carried=carried)
        figures[name] = decay_per_step(norms)
        series[f"log10 of the gradient's norm by distance, textbook cells: {cell}"] = _curve(distance, norms)
    adder = gradient_horizon(lambda x, s: (x, s + x[:, 0]), xs, torch.zeros(1, hidden, dtype=torch.float64))
    figures["adder"] = decay_per_step(adder)

    if seed == 0:
        found = _layers(settings["mixers"], time, report)
        return {"figures": figures, "series": series | found["series"], "tables": found["tables"]}
    return {"figures": figures, "series": series}


def _layers(count: int, time: int, report: Report) -> dict[str, Any]:
    """The table of layers, and their gradients; SHOWN lines to a plot, in the order of the table."""
    rows: list[Any] = []
    series: dict[str, Any] = {}
    drawn: dict[str, Any] = {}
    for n, row in enumerate(taxonomy(16)[:count]):
        report(0.5 + 0.5 * n / len(MIXERS), row["name"])
        torch.manual_seed(0)
        norms = layer_horizon(row["name"], 16, time, torch.Generator().manual_seed(0))
        if isinstance(norms, str):
            loss, why = None, norms
        else:
            drawn[row["name"]] = norms
            loss, why = decay_per_step(norms), ""
        cells = (row["name"], row["year"], row["summary"], row["memory"], row["state"], row["parameters"])
        rows.append([*cells, None if loss is None or math.isnan(loss) else loss, why])
    distance = list(range(time - 1, -1, -1))
    for first in range(0, len(drawn), SHOWN):
        group = list(drawn)[first : first + SHOWN]
        title = f"log10 of the gradient's norm by distance, layers as they begin, {group[0]} to {group[-1]}"
        series |= {f"{title}: {name}": _curve(distance, drawn[name]) for name in group}
    columns = [
        "layer",
        "year",
        "what it is",
        "memory",
        "state",
        "parameters",
        "nats lost per step",
        "not drawn because",
    ]
    return {"series": series, "tables": {"The layers of the library (width 16)": {"columns": columns, "rows": rows}}}


def _curve(distance: list[int], norms: torch.Tensor) -> dict[str, list[float]]:
    logs = norms.log10()
    seen = logs.isfinite()
    return {"x": [float(d) for d, s in zip(distance, seen, strict=True) if s], "y": logs[seen].tolist()}
