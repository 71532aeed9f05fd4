"""A plan as a person reads it."""

from __future__ import annotations

from typing import Any

from seqmem.planning.measure import Beside
from seqmem.planning.plan import Plan
from seqmem.report.format import bytes_text, short_number
from seqmem.report.tables import console

UNKNOWN = "not predicted"


def seconds_text(value: float) -> str:
    """``12 ms``, ``3.4 s``, ``2.1 h``, ``12 days``."""
    for limit, unit in ((172_800, "days"), (7_200, "h"), (120, "min")):
        if value >= limit:
            return f"{value / {'days': 86_400, 'h': 3_600, 'min': 60}[unit]:.3g} {unit}"
    return f"{value:.3g} s" if value >= 1 else f"{1e3 * value:.3g} ms"


def rows(plan: Plan) -> list[tuple[str, str, str]]:
    """(what, the figure, a remark)."""
    setting = plan.setting
    on = "" if setting.devices == 1 else " on each device"
    found = [
        ("parameters", f"{plan.parameters:,}", bytes_text(plan.parameter_bytes)),
        ("FLOPs per token, forward", *_flops(plan, "forward")),
        ("FLOPs per token, training", *_flops(plan, "both")),
        ("state per sequence", _state(plan), f"{bytes_text(_state_at(plan))} after {setting.time:,} tokens"),
        ("gradients", bytes_text(plan.parameter_bytes), on.strip()),
        ("optimiser (AdamW)", bytes_text(plan.optimiser_bytes), on.strip()),
    ]
    if plan.predictable:
        found += [
            ("activations" + on, bytes_text(plan.activation_bytes), "kept for the backward pass"),
            (
                "  with checkpoints", bytes_text(plan.checkpointed_bytes),
                f"every block computed again; {bytes_text(plan.kept_with_checkpoints)} between the passes",
            ),
            ("time per step", seconds_text(plan.step_seconds()), _time_remark(plan)),
            ("  with checkpoints", seconds_text(plan.step_seconds(True)), ""),
            ("tokens per second", short_number(setting.batch * setting.time / plan.step_seconds()), ""),
        ]  # fmt: skip
    else:
        found += [(name, UNKNOWN, "") for name in ("activations" + on, "time per step")]
    if setting.tokens is not None and plan.predictable:
        time = seconds_text(plan.training_seconds(setting.tokens))
        found.append((f"time for {short_number(setting.tokens)} tokens", time, _devices(plan)))
    return found


def _flops(plan: Plan, which: str) -> tuple[str, str]:
    if not plan.predictable:
        return UNKNOWN, ""
    kernels = sum(
        c.part.copies * (c.figures.forward.kernels + (c.figures.backward.kernels if which == "both" else 0))
        for c in plan.costs
    ) / (plan.setting.rows * plan.setting.time)
    share = kernels / max(1.0, plan.flops_per_token(which))
    remark = f"{share:.0%} of them in recurrences" if kernels else "matrix products and attention"
    return short_number(plan.flops_per_token(which)), remark


def _state(plan: Plan) -> str:
    constant, each = plan.state_constant, plan.state_per_position
    since = f", from {plan.state_since:,} tokens on" if plan.state_since else ""
    if each == 0:
        return f"{bytes_text(constant)}, constant{since}"
    start = f"{bytes_text(constant)} + " if constant else ""
    return f"{start}{short_number(each)} B per token{since}"


def _state_at(plan: Plan) -> float:
    return plan.state_constant + plan.state_per_position * plan.setting.time


def _time_remark(plan: Plan) -> str:
    if plan.setting.rates is not None:
        return "at least" if plan.setting.reached == 1 else f"at {plan.setting.reached:.2g} of the limit"
    return f"the limit is {seconds_text(plan.limit)}"


def _devices(plan: Plan) -> str:
    return f"on {plan.setting.devices} device{'s' if plan.setting.devices > 1 else ''}"


def print_plan(plan: Plan) -> None:
    """The figures, the parts, and what is not predicted."""
    out = console()
    setting, config = plan.setting, plan.config
    given = "given" if setting.rates is not None else "measured here"
    layers = f"{len(config.layers)} layer{'s' if len(config.layers) != 1 else ''}"
    model = f"{layers}, width {config.width}, vocabulary {config.vocab_size:,}"
    step = f"a step of {setting.batch} x {setting.time:,} tokens in {setting.dtype} {_devices(plan)}"
    device = f"{plan.rates.products / 1e9:.3g} GFLOP/s and {plan.rates.memory / 1e9:.3g} GB/s ({given})"
    out.print(f"{model}; {step} of {device}\n", markup=False, soft_wrap=True, highlight=False)
    table = _table(out, None)
    for row in rows(plan):
        table.add_row(*row)
    out.print(table)
    out.print()
    parts = _table(out, ("part", "how many", "FLOPs per token", "activations", "time", "of the limit"))
    for c in plan.costs:
        if c.figures.miss:
            parts.add_row(c.part.name, str(c.part.copies), UNKNOWN, UNKNOWN, UNKNOWN, "")
            continue
        speed = c.speed
        took = speed.seconds(c.figures) if speed else c.figures.limit / setting.reached
        parts.add_row(
            c.part.name, str(c.part.copies), short_number(c.figures.flops / (setting.rows * setting.time)),
            bytes_text(c.figures.saved), seconds_text(took), f"{c.figures.limit / took:.2f}" if speed else "",
        )  # fmt: skip
    out.print(parts)
    for note in plan.notes:
        out.print(f"- {note}", markup=False, soft_wrap=True, highlight=False)


def print_beside(beside: list[Beside]) -> None:
    """Predicted, measured, their ratio."""
    out = console()
    out.print()
    table = _table(out, ("on this machine", "predicted", "measured", "ratio"))
    text = {"bytes": bytes_text, "seconds": seconds_text, "": lambda value: f"{value:,.0f}"}
    for one in beside:
        show = text[one.unit]
        table.add_row(one.name, show(one.predicted), show(one.measured), f"{one.ratio:.3f}")
    out.print(table)


def _table(out: Any, heads: tuple[str, ...] | None) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=heads is not None, header_style="bold")
    for n, head in enumerate(heads or ("", "", "")):
        table.add_column(head, justify="left" if n == 0 or heads is None else "right", overflow="fold")
    return table
