"""Calls that Hypothesis draws, for a layer of each kind; ``SEQMEM_EXAMPLES=500 pytest`` takes every layer, and draws
more of them."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from seqmem.errors import InputError
from seqmem.mixers import get_mixer
from seqmem.testing import ContractError, check_mixer
from seqmem.testing.drawn import Case, cases, check_case, drawn_calls, main
from seqmem.testing.subject import Subject, Violation
from tests.mixers.some import some_mixers
from tests.testing.right import RIGHT, WIDTH, Leaky

EXAMPLES = int(os.environ.get("SEQMEM_EXAMPLES", "8"))


@pytest.mark.parametrize("name", some_mixers())
def test_every_layer_of_the_library(name: str) -> None:
    assert f"in {EXAMPLES} drawn calls" in drawn_calls(Subject(name, 8, 0), EXAMPLES).text


@pytest.mark.parametrize("name", some_mixers())
def test_every_width_is_taken_or_refused_in_a_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQMEM_BACKEND", "reference")  # no kernels: each would be compiled for each width
    taken, refused = 0, []
    for width in (1, 2, 3, 5, 8):
        try:
            layer = get_mixer(name)(width)
        except InputError as error:
            refused.append(str(error))
            continue
        taken += 1
        y, state = layer(torch.randn(1, 2, width))
        assert layer(y, state)[0].isfinite().all()
    assert taken
    assert all(len(line.splitlines()) == 1 for line in refused)


@pytest.mark.parametrize("layer", RIGHT, ids=lambda layer: layer.__name__)
def test_right_layers(layer: Any) -> None:
    drawn_calls(Subject(layer, WIDTH, 0), 30)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(case=cases())
def test_the_strategy_serves_a_test_of_ones_own(case: Case) -> None:
    check_case(Subject(Leaky, WIDTH, 0), case)


class ForgetsResets(Leaky):
    """Right, but for a reset in a call of two to six positions, which no point of the contract makes."""

    def forward(self, x: Tensor, state: Any = None, *, mask: Any = None, reset: Any = None) -> Any:
        if 2 <= x.shape[1] <= 6 and reset is not None:
            reset = torch.zeros_like(reset)
        return super().forward(x, state, mask=mask, reset=reset)


class Detached(Leaky):
    """Right, but no gradient passes a reset."""

    def forward(self, x: Tensor, state: Any = None, *, mask: Any = None, reset: Any = None) -> Any:
        return super().forward(x if reset is None else x.detach(), state, mask=mask, reset=reset)


class Single(Leaky):
    """Answers in float32, whatever it is given."""

    def forward(self, x: Tensor, state: Any = None, *, mask: Any = None, reset: Any = None) -> Any:
        y, state = super().forward(x, state, mask=mask, reset=reset)
        return y.to(torch.float32 if x.dtype == torch.bfloat16 else x.dtype), state


def test_what_fails_is_made_small() -> None:
    check_mixer(ForgetsResets, WIDTH, points=[1, 4])  # the points alone
    with pytest.raises(ContractError, match=r"9 drawn calls: y.* differs by .*, in Case\(.*time=2, ") as caught:
        check_mixer(ForgetsResets, WIDTH, points=[4], examples=300)
    assert [r.point for r in caught.value.results] == [4, 9]
    again = check_mixer(ForgetsResets, WIDTH, points=[], examples=300, raise_on_failure=False)
    assert again[0] == caught.value.results[-1]


def test_wrong_gradients_and_dtypes_are_seen() -> None:
    with pytest.raises(Violation, match=r"the gradient of x differs .*gradients=True"):
        drawn_calls(Subject(Detached, WIDTH, 0), 200)
    with pytest.raises(Violation, match=r"y is torch.float32, expected that of x, torch.bfloat16"):
        drawn_calls(Subject(Single, WIDTH, 0), 200)


def test_without_hypothesis_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="pip install hypothesis"):
        check_mixer(Leaky, WIDTH, points=[], examples=1)
    with pytest.raises(InputError, match="examples is -1"):
        check_mixer(Leaky, WIDTH, examples=-1)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--minutes", "0", "--examples", "3", "--only", "rnn"]) == 0
    assert capsys.readouterr().out == "3 calls drawn; all keep the contract\n"


@pytest.mark.parametrize("name", ["titans", "titans_mac", "titans_mag", "titans_mal"])
def test_saturated_gates_of_titans_have_finite_gradients(name: str) -> None:
    """The logarithm of a gate that rounds to 0 or 1 had an infinite slope, and the gradients were NaN."""
    torch.manual_seed(0)
    layer = get_mixer(name)(8)
    x = (300 * torch.randn(2, 6, 8)).requires_grad_()
    y, _ = layer(x)
    for gradient in torch.autograd.grad(y.sum(), [x, *layer.parameters()], allow_unused=True):
        assert gradient is None or gradient.isfinite().all()


def test_rwkv4_keeps_its_memory_in_float32_with_padding_too() -> None:
    """It was summed up in bfloat16 where a mask was given."""
    layer = get_mixer("rwkv4")(8).to(torch.bfloat16)
    x, mask = torch.randn(2, 5, 8, dtype=torch.bfloat16), torch.ones(2, 5, dtype=torch.bool)
    with_mask, without = layer(x, mask=mask)[1].average, layer(x)[1].average
    for a, b in zip(with_mask, without, strict=True):
        assert a.dtype == b.dtype == torch.float32
        torch.testing.assert_close(a, b)
