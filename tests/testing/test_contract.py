"""The contract's own test: right layers pass, and every wrong one fails at the point that is about its fault."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any

import pytest
import torch
from torch import nn

from seqmem.errors import InputError
from seqmem.testing import POINTS, ContractError, PointResult, check_mixer, run_check
from tests.testing import wrong_memory, wrong_numbers
from tests.testing.cases import WRONG, Case
from tests.testing.right import RIGHT, WIDTH, Backwards, KeyValue, Leaky, LinearRead


def failing(layer: Callable[[int], nn.Module], points: Collection[int] = range(1, 9)) -> dict[int, str]:
    """The points that fail with what they say."""
    return {r.point: r.message for r in check_mixer(layer, WIDTH, points=points, raise_on_failure=False) if not r.ok}


@pytest.mark.parametrize("layer", RIGHT, ids=lambda layer: layer.__name__)
def test_right_layers_pass(layer: type[nn.Module]) -> None:
    results = check_mixer(layer, WIDTH)
    assert [r.point for r in results] == list(range(1, 9))
    for r in results:
        assert r.ok
        assert r.measured is None or r.bound is None or r.measured <= r.bound


def test_points_that_do_not_apply_say_so() -> None:
    by_point = {r.point: r for r in check_mixer(Leaky, WIDTH, points=[8])}
    assert not by_point[8].applicable
    assert "no attention(x)" in by_point[8].message
    backwards = {r.point: r for r in check_mixer(Backwards, WIDTH, points=[1, 2])}
    for point in (1, 2):
        assert backwards[point].verdict == "n/a"
        assert "causal = False" in backwards[point].message
    assert "y was not compared" in {r.point: r.message for r in check_mixer(KeyValue, WIDTH, points=[8])}[8]


def test_same_seed_same_figures_and_no_trace_in_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    first = check_mixer(LinearRead, WIDTH, seed=3, points=[1, 3, 5, 7])
    assert check_mixer(LinearRead, WIDTH, seed=3, points=[1, 3, 5, 7]) == first
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("case", WRONG, ids=[f"{case.layer.__name__}-{case.point}" for case in WRONG])
def test_wrong_layers_fail_at_their_point(case: Case) -> None:
    rest = {1, 2, 3, 4, 5, 7, 8} if case.alone else set()  # 6 reads 4096 positions, which takes a while
    found = failing(case.layer, {case.point} | rest)
    assert case.point in found, "holds, though wrong"
    assert case.says in found[case.point]
    assert "\n" not in found[case.point]
    if case.alone:
        assert list(found) == [case.point]


# ---------------------------------------------------------------- the calls around it


def test_contract_error_lists_every_failing_point() -> None:
    with pytest.raises(ContractError, match="TakesNoFlags breaks the mixer contract in 1 of 8 points") as caught:
        check_mixer(wrong_memory.TakesNoFlags, WIDTH)
    assert "4 padding and resets: forward() does not accept mask" in str(caught.value)
    assert len(caught.value.results) == len(POINTS) == 8
    assert isinstance(caught.value, AssertionError)


def _raises(width: int) -> nn.Module:
    raise ValueError("needs two\narguments")


@pytest.mark.parametrize(
    ("target", "width", "says"),
    [
        (_raises, 4, "raised ValueError: needs two arguments"),
        (lambda width: width, 4, "gave int, expected a torch.nn.Module"),
        (Leaky(4), 4, "expected a class or a function of the width"),
        (Leaky, True, "width is True, expected a whole number"),
        (Leaky, 0, "width is 0, expected a whole number"),
        ("mambo", 4, "unknown mixer 'mambo'"),
        ("no.such.module:Layer", 4, "cannot import 'no.such.module'"),
        ("json:JSONDecoder", 4, "expected a class derived from torch.nn.Module"),
    ],
)
def test_what_cannot_be_built_is_an_input_error(target: Any, width: int, says: str) -> None:
    with pytest.raises(InputError) as caught:
        check_mixer(target, width)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_command_prints_a_line_per_point_and_returns_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_check("tests.testing.right:KeyValue", width=WIDTH) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"tests.testing.right:KeyValue, width {WIDTH}, linear memory"
    assert [line.split()[0] for line in lines[1:9]] == list("12345678")
    assert {line[22:26].strip() for line in lines[1:9]} == {"ok"}
    assert lines[9:] == ["all 8 points hold"]
    assert "\x1b" not in "".join(lines)


def test_command_explains_and_returns_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_check("tests.testing.wrong_numbers:ReturnsOnlyY", width=WIDTH) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("forward() returned one Tensor, expected the pair (y, state)")
    assert lines[2].endswith("FAIL  as in point 1")
    assert lines[-1].startswith("7 of 8 points fail: 1 split invariance, 2 causality")


def test_command_writes_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_check("tests.testing.wrong_memory:SaysConstant", width=WIDTH, as_json=True) == 1
    report = json.loads(capsys.readouterr().out)
    assert list(report) == ["mixer", "width", "points", "ok"]
    assert report["mixer"] == "tests.testing.wrong_memory:SaysConstant"
    assert report["width"] == WIDTH
    assert report["ok"] is False
    assert [p["point"] for p in report["points"] if not p["ok"]] == [5]
    assert set(report["points"][0]) >= {"point", "name", "ok", "measured", "bound", "message"}
    assert report["points"][0]["measured"] <= report["points"][0]["bound"]


def test_a_figure_that_is_not_finite_is_left_out_of_json() -> None:
    (result,) = check_mixer(wrong_numbers.Overflows, WIDTH, points=[6], raise_on_failure=False)
    assert result.measured == float("inf")
    assert result.as_dict()["measured"] is None


def test_command_raises_where_nothing_can_be_built() -> None:
    with pytest.raises(InputError, match=r"module 'tests.testing.right' has no 'Leak'. Did you mean 'Leaky'\?"):
        run_check("tests.testing.right:Leak")


def test_points_outside_of_the_contract_are_an_input_error() -> None:
    with pytest.raises(InputError, match=r"points \[0, 9\] do not exist"):
        check_mixer(Leaky, WIDTH, points=[0, 1, 9])


def test_result_reads_as_a_line() -> None:
    line = str(PointResult(2, "causality", False, 0.3, 1e-9, "the layer looks ahead"))
    assert line == "2 causality           FAIL  the layer looks ahead"
