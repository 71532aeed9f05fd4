"""The table of cases: every op is in it, and every peer computes what the op computes, gradients too."""

from __future__ import annotations

import re
import tomllib
from functools import lru_cache
from pathlib import Path

import pytest
import torch

from seqmem import ops
from seqmem.bench import formulas, passes
from seqmem.bench.cases import CASES, Case, Inputs, Sizes, find_cases
from seqmem.bench.peers import BY_FILE, EXTRA, Peer
from seqmem.errors import InputError

SMALL = Sizes(96, batch=2, width=16, heads=2, state=3)
COMPARED = [(case, peer) for case in CASES for peer in case.peers if not peer.yardstick]


@lru_cache(None)
def ours(case_name: str) -> tuple[Inputs, torch.Tensor, passes.Results, passes.Results]:
    """Inputs, a gradient of the output, and both passes through the op's reference loop."""
    case = next(c for c in CASES if c.name == case_name)
    generator = torch.Generator().manual_seed(0)
    inputs = case.inputs(SMALL, generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQMEM_BACKEND", "reference")
        (output,) = passes.forward(case.ours, inputs)()
        assert output is not None
        gradient = torch.randn(output.shape, dtype=output.dtype, generator=generator)
        return inputs, gradient, (output,), passes.forward_backward(case.ours, inputs, gradient)()


def test_every_op_is_measured() -> None:
    functions = {name for name in ops.__all__ if name.islower() and name != "explain"}
    assert {case.op for case in CASES} == functions
    assert len({case.name for case in CASES}) == len(CASES)
    for case in CASES:
        assert len({peer.name for peer in case.peers}) == len(case.peers) > 0


@pytest.mark.parametrize(("case", "peer"), COMPARED, ids=lambda x: getattr(x, "name", None))
def test_a_peer_agrees(case: Case, peer: Peer) -> None:
    if peer.missing():
        pytest.skip(f"{peer.package} is not installed")
    inputs, gradient, output, gradients = ours(case.name)
    layout = passes.exchanged if peer.transposed else (lambda x: x)
    theirs = tuple(map(layout, inputs))
    for which, expected in (("forward", output), ("forward+backward", gradients)):
        if which not in peer.passes:
            continue
        call = (
            passes.forward(peer.call, theirs)
            if which == "forward"
            else passes.forward_backward(peer.call, theirs, layout(gradient))
        )
        found = tuple(None if x is None else layout(x) for x in call())
        assert passes.difference(expected, found) < 2e-5


@pytest.mark.parametrize(("form", "op"), [
    (formulas.chunked_ssd, "ssd"),
    (formulas.chunked_gla, "gated_linear_attention"),
    (formulas.chunked_delta_rule, "delta_rule"),
    (formulas.chunked_generalized_delta_rule, "generalized_delta_rule"),
])  # fmt: skip
def test_chunks_that_do_not_divide_the_length(form: object, op: str) -> None:
    inputs, _, output, _ = ours(op)
    assert passes.difference(output, (form(*inputs, size=20),)) < 2e-5  # type: ignore[operator]


def test_the_unstable_form_is_unstable() -> None:
    s = torch.zeros(1, 3, 1)
    s[:, -1] = 200.0
    v = torch.ones(1, 3, 1, 1)
    assert formulas.cumulative_softmax(s, v).isnan().any()
    assert formulas.log_depth_softmax(s, v).eq(1).all()
    assert ops.running_softmax(s, v)[0].eq(1).all()


def test_the_extra_names_what_the_peers_need() -> None:
    project = tomllib.loads(Path(__file__, "../../../pyproject.toml").resolve().read_text())["project"]
    names = [re.match(r"[\w-]+", wanted) for wanted in project["optional-dependencies"]["bench"]]
    offered = {name[0].lower().replace("-", "_") for name in names if name} | {"transformers"}
    for _, peer in COMPARED:
        if peer.package and peer.install == EXTRA:
            assert peer.package.lower() in offered
    assert "fla" not in offered  # it would pull its GPU packages
    assert "--no-deps" in BY_FILE


def test_find_cases() -> None:
    assert find_cases(None) == list(CASES)
    assert [case.name for case in find_cases(["linear_scan"])] == ["linear_scan", "linear_scan (complex)"]
    with pytest.raises(InputError, match=r"unknown op 'linear_scann'.*Did you mean 'linear_scan'"):
        find_cases(["linear_scann"])
