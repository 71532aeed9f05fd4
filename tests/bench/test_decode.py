"""Decoding, memory and first calls: what a planted clock, a growing layer and a known allocation give."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqmem.bench import decode, memory, roofline
from seqmem.bench.cases import Case, Sizes, find_cases
from seqmem.bench.peers import Peer
from seqmem.bench.speed import measure_case


class Counting(nn.Module):
    """Its step takes a microsecond on the test's clock, and one more for every 1,000 tokens read."""

    memory = "linear"
    now = 0.0

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        read = 0 if state is None else state
        Counting.now += 1e-6 * (1 + read // 1000)
        return x, read + x.shape[1]


class Broken(Counting):
    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        raise RuntimeError("first line\nsecond line")


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    def cell_steps(x: Tensor) -> Any:
        def call() -> None:
            Counting.now += decode.STEPS * 4e-6

        return call

    monkeypatch.setattr(decode, "_cell_steps", cell_steps)


def test_the_ratio_to_the_cell_and_the_flatness(planted: None) -> None:
    layer = f"{__name__}:Counting"
    first, second = decode.measure_decoding(layer, 0.01, (100, 7_100), 2, clock=lambda: Counting.now)
    assert (first["status"], first["tokens"], first["memory"]) == ("ok", 100, "linear")
    assert first["ratio"] == pytest.approx(0.25)
    assert second["ratio"] == pytest.approx(2)
    assert (first["flatness"], second["flatness"]) == (pytest.approx(1), pytest.approx(8))
    assert second["ours_us"] == pytest.approx(8)


def test_reading_that_takes_too_long_is_said(planted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "READING_SECONDS", 0.0)
    layer = f"{__name__}:Counting"
    first, second = decode.measure_decoding(layer, 0.01, (100, 9_000), 2, clock=lambda: Counting.now)
    assert first["status"] == "ok"
    assert (second["status"], second["tokens"]) == ("not run", 9_000)
    assert "100 tokens" in second["note"]


def test_a_layer_that_fails_is_named(planted: None) -> None:
    (record,) = decode.measure_decoding(f"{__name__}:Broken", 0.01, width=2)
    assert (record["status"], record["note"]) == ("failed", "failed: RuntimeError: first line second line")


def test_decoding_of_a_layer_of_the_library() -> None:
    records = decode.measure_decoding("rnn", 0.01, (4, 16), 8)
    assert [r["status"] for r in records] == ["ok", "ok"]
    assert all(r["ratio_low"] <= r["ratio"] <= r["ratio_high"] and r["ours_us"] > 0 for r in records)


WASTEFUL = """
import torch
from seqmem.bench import memory

class Wasteful(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.kept = torch.ones(24 * 2**20 // 4)  # 24 MiB until the backward pass
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2

for kind in (Wasteful.apply, torch.exp):
    memory._extra(kind, (torch.ones(2**20),))  # first once for what starts late
    print(*memory._extra(kind, (torch.ones(2**20),)))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_memory_sees_what_is_allocated() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WASTEFUL],
        env={**os.environ, **memory.MALLOC}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (wasteful, own), (plain, _) = [[int(n) for n in line.split()] for line in done.stdout.splitlines()]
    assert own == 4 * 4 * 2**20  # input, output, their gradients
    assert 22 * 2**20 < wasteful < 28 * 2**20
    assert plain < 4 * 2**20  # the exponential keeps its output, which is counted as its own


def test_records_of_peers_of_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "limit", lambda *_: roofline.Limit(1e-9, "memory"))

    def fail(x: Tensor) -> Tensor:
        raise RuntimeError("a reason\nin two lines")

    def inputs(sizes: Sizes, generator: torch.Generator) -> tuple[Tensor, ...]:
        return (torch.randn(2, sizes.time, 3, generator=generator),)

    case = Case(
        "op", "", inputs, torch.tanh, lambda n: find_cases(["wkv"])[0].flops(n),
        (
            Peer("same", torch.tanh, transposed=True),
            Peer("other", torch.sin),
            Peer("scale", torch.cos, passes=("forward",), yardstick=True),
            Peer("failing", fail, passes=("forward",)),
            Peer("absent", torch.tanh, "no_such_package"),
            Peer("short", torch.tanh, longest=4, limit="a reason"),
            Peer("even", torch.tanh, multiple=16),
        ),
    )  # fmt: skip
    records = list(measure_case(case, 8, 0.002, peers=True))
    forward = {r["peer"]: r for r in records if r["pass"] == "forward"}
    assert {name: r["status"] for name, r in forward.items()} == {
        None: "ok", "same": "ok", "other": "differs", "scale": "ok", "failing": "failed", "absent": "not installed",
        "short": "not run", "even": "not run",
    }  # fmt: skip
    assert forward["failing"]["note"] == "failed: RuntimeError: a reason in two lines"
    assert "pip install 'seqmem[bench]'" in forward["absent"]["note"]
    assert "tolerance 0.001" in forward["other"]["note"]
    assert forward["same"]["difference"] == 0
    assert len({frozenset(r) for r in records}) == 1  # the same keys in each
    backward = {r["peer"]: r["status"] for r in records if r["pass"] == "forward+backward"}
    assert backward == {n: r["status"] for n, r in forward.items() if n not in ("failing", "scale")}
    assert [r["peer"] for r in measure_case(case, 8, 0.002, peers=False)] == [None, None]
