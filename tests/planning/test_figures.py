"""Counts by hand, and figures that are carried on from short lengths."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from seqmem.models import SequenceConfig
from seqmem.planning import figures as module
from seqmem.planning.arithmetic import kernel_flops
from seqmem.planning.figures import Figures, Pass, Rates, carried_on, figures, lagrange
from seqmem.planning.parts import parts

RATES = Rates(1e10, 1e10)


def of(name: str, time: int, batch: int = 3, **options: object) -> Figures:
    config = SequenceConfig(11, 16, layers=[{"name": name, **options}], mlp_width=0)
    return figures(config, parts(config)[0], batch, time, torch.float32, RATES)


def test_kernels_count_as_the_bench_says() -> None:
    batch, time, heads, key, value = 2, 5, 3, 4, 6
    q, v, s0 = (
        torch.zeros(*shape)
        for shape in ((batch, time, heads, key), (batch, time, heads, value), (batch, heads, key, value))
    )
    entries = batch * time * heads * key * value
    assert kernel_flops("linear_attention", {"q": q, "v": v, "s0": s0}) == 5 * entries
    assert kernel_flops("linear_attention_backward", {"q": q, "v": v, "s0": s0}) == 12 * entries
    assert kernel_flops("delta_rule", {"q": q, "v": v, "s0": s0}) == 6 * entries
    x, weight = torch.zeros(batch, time, 8), torch.zeros(8, 4)
    assert kernel_flops("causal_conv", {"x": x, "weight": weight}) == batch * time * 8 * 4 * 2
    gates, recurrent = torch.zeros(batch, time, 4 * 8), torch.zeros(4 * 8, 8)
    assert kernel_flops("lstm", {"x": gates, "weight": recurrent}) == batch * time * 2 * 4 * 8 * 8
    slots, each = torch.zeros(batch, time, 2, 4, 5), torch.zeros(2, 20, 5)
    assert kernel_flops("slstm", {"x": slots, "weight": each}) == batch * time * 2 * (8 * 5 * 5 + 6 * 12 * 5)
    gate = torch.zeros(batch, time, 8)
    assert kernel_flops("linear_scan", {"a": gate, "b": gate}) == 2 * gate.numel()
    gate = gate.to(torch.complex64)
    assert kernel_flops("linear_scan", {"a": gate, "b": gate}) == 8 * gate.numel()


def test_attention_by_hand() -> None:
    found = of("attention", 64, heads=2)
    projections = 2 * 3 * 64 * 16 * (3 * 16 + 16)
    pairs = 2 * 2 * 3 * 64 * 64 * 16
    assert found.forward.flops == projections + pairs
    assert found.how == "traced"


@pytest.mark.parametrize("name", ["rnn", "wave_rnn", "attention"])
def test_carried_on_is_what_a_trace_shows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    traced = of(name, 44)
    monkeypatch.setattr(module, "MOST_CALLS", {"traced": 0, "run": 0})
    short = of(name, 44)
    assert (traced.how, short.how, short.miss) == ("traced", "carried on", "")
    for which in ("forward", "backward"):
        for field in dataclasses.fields(Pass):
            a, b = (getattr(getattr(one, which), field.name) for one in (traced, short))
            assert a == pytest.approx(b, rel=1e-9 if field.name != "limit" else 0.02)
    assert short.saved == pytest.approx(traced.saved, rel=1e-9)


def test_rows_of_a_layer_that_is_run_are_carried_on() -> None:
    """Four rows at once, and what three have beyond two taken for each further row."""
    found = of("hopfield", 20, batch=4)
    assert found.how == "run"
    config = SequenceConfig(11, 16, layers=["hopfield"], mlp_width=0)
    from seqmem.planning.parts import Piece
    from seqmem.planning.trace import trace

    piece = Piece(config, parts(config)[0], 4, 20, torch.float32)
    whole = trace(piece.build, piece.run, torch.float32)
    assert found.saved == whole.saved
    assert found.forward.flops == sum(call.flops * n for call, n in whole.forward.items())


def test_a_figure_that_does_not_fit_is_named() -> None:
    def cubic(time: int) -> Figures:
        return Figures(Pass(10, time**3, 0, time), Pass(10, 2 * time**3, 0, time), saved=time)

    known = {time: cubic(time) for time in (8, 16, 24, 32)}
    assert "arithmetic at 32 positions" in carried_on(known, 512).miss
    known = {time: Figures(Pass(1, time**2), Pass(1, time), saved=3 * time) for time in (8, 16, 24, 32)}
    found = carried_on(known, 512)
    assert not found.miss
    assert (found.forward.flops, found.backward.flops, found.saved) == pytest.approx((512**2, 512, 3 * 512))


def test_lagrange() -> None:
    weights = lagrange([2, 3, 5], 11)
    assert math.fsum(weights) == pytest.approx(1)
    assert math.fsum(w * (p**2 - p) for w, p in zip(weights, [2, 3, 5], strict=True)) == pytest.approx(110)
