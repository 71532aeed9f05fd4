"""Ratios under a clock that the test moves: what is planted is what comes out."""

from __future__ import annotations

import gc
import statistics

import pytest
import torch

from seqmem.bench import passes, roofline
from seqmem.bench.cases import CASES, Sizes
from seqmem.bench.measure import LEAST_ROUNDS, MOST_ROUNDS, against, alone, fastest, quartiles


class Clock:
    """Stands still but for what calls add."""

    def __init__(self) -> None:
        self.now = 0.0
        self.called: list[str] = []

    def __call__(self) -> float:
        return self.now

    def call(self, name: str, *seconds: float):  # type: ignore[no-untyped-def]
        """A call that takes these seconds, the last for ever after."""
        left = list(seconds)

        def run() -> str:
            self.now += left.pop(0) if len(left) > 1 else left[0]
            self.called.append(name)
            return name

        return run


def test_a_ratio_outlives_a_machine_that_slows_down() -> None:
    clock = Clock()
    speed = [1.0, 1.0, 1.0, 5.0, 5.0, 5.0, 5.0]  # the first is not counted
    timing = against(
        clock.call("ours", *(0.1 * s for s in speed)), clock.call("other", *(0.3 * s for s in speed)), 10.0, clock=clock
    )
    assert timing.ratio == pytest.approx(3)
    assert (timing.low, timing.high) == (pytest.approx(3), pytest.approx(3))
    assert timing.ours == pytest.approx(0.5)


def test_the_spread_is_that_of_the_rounds() -> None:
    clock = Clock()
    timing = against(clock.call("ours", 1.0), clock.call("other", 9.0, 2.0, 4.0, 6.0, 8.0), 30.0, clock=clock)
    assert timing.rounds >= 4
    ratios = [2.0, 4.0, 6.0] + [8.0] * (timing.rounds - 3)
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    assert (timing.low, timing.ratio, timing.high) == (low, middle, high)


def test_calls_alternate_and_take_turns_at_going_first() -> None:
    clock = Clock()
    against(clock.call("ours", 1.0), clock.call("other", 1.0), 7.5, clock=clock)
    assert clock.called[:2] == ["ours", "other"]  # not counted
    assert clock.called[2:10] == ["ours", "other", "other", "ours"] * 2


def test_at_least_three_rounds_and_not_for_ever() -> None:
    clock = Clock()
    assert against(clock.call("ours", 1.0), clock.call("other", 1.0), 0.5, clock=clock).rounds == LEAST_ROUNDS
    assert against(clock.call("ours", 1e-9), clock.call("other", 1e-9), 1.0, clock=clock).rounds == MOST_ROUNDS


def test_a_slow_call_is_made_once() -> None:
    clock = Clock()
    timing = against(clock.call("ours", 0.25, 0.01), clock.call("other", 30.0), 1.0, clock=clock)
    assert clock.called.count("other") == timing.rounds == 1
    assert timing.ratio == pytest.approx(3000)
    assert (timing.low, timing.high) == (None, None)


def test_results_are_compared_before_the_clock_starts() -> None:
    clock = Clock()

    def agree(ours: str, other: str) -> None:
        raise ValueError(f"{ours} is not {other}")

    with pytest.raises(ValueError, match="ours is not other"):
        against(clock.call("ours", 1.0), clock.call("other", 1.0), 1.0, agree, clock)
    assert len(clock.called) == 2


def test_garbage_is_collected_again_afterwards() -> None:
    seen: list[bool] = []
    against(lambda: None, lambda: seen.append(gc.isenabled()), 0.001)
    assert seen[0]  # the first call, not counted
    assert not any(seen[1:])
    assert gc.isenabled()


def test_alone_and_fastest() -> None:
    clock = Clock()
    assert alone(clock.call("ours", 99.0, 98.0, 1.0, 7.0, 3.0), 0.5, clock) == 3
    assert fastest(clock.call("ours", 0.1, 0.1, 5.0, 7.0, 6.0), 0.5, clock) == 5
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == (2, 3, 4)


def test_difference_is_relative_and_sees_nan_and_what_is_missing() -> None:
    x = torch.tensor([0.0, 200.0])
    assert passes.difference((x,), (x + 1,)) == pytest.approx(0.005)
    for wrong in (None, x[:1], x * torch.nan):
        assert passes.difference((x,), (wrong,)) == float("inf")


def test_the_limit_that_binds(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = Sizes(16, batch=2, width=8)
    (case,) = (c for c in CASES if c.name == "linear_scan")
    inputs = case.inputs(sizes, torch.Generator().manual_seed(0))
    size = 4 * 2 * 16 * 8  # bytes of one tensor
    assert roofline.traffic(inputs, size, "forward") == 3 * size
    assert roofline.traffic(inputs, size, "forward+backward") == (3 + 5) * size
    monkeypatch.setattr(roofline, "bandwidth", lambda _: 1e3)
    monkeypatch.setattr(roofline, "product_rate", lambda: 1e9)
    assert roofline.limit(case, sizes, inputs, size, "forward") == (3 * size / 1e3, "memory")
    monkeypatch.setattr(roofline, "product_rate", lambda: 1.0)
    assert roofline.limit(case, sizes, inputs, size, "forward+backward") == (5 * 2 * 16 * 8, "arithmetic")
