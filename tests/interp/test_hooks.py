"""record and intervene: every site of every family carries what its name says."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.interp import hooks, intervene, record, sites
from tests.interp.families import EVERY, draw, make


def _there(model: Any, site: str) -> list[str]:
    return [s.name for s in sites(model) if s.name.endswith(site) and not s.reason]


@pytest.mark.parametrize("name", EVERY)
def test_every_site_is_recorded_or_has_a_reason(name: str) -> None:
    model, tokens = make(name), draw()
    listed = sites(model)
    names = [site.name for site in listed if not site.reason]
    with torch.no_grad(), record(model, names) as trace:
        plain = model(tokens, use_cache=True).logits
    assert set(trace) == set(names)
    batch, time = tokens.shape
    for site in names:
        value = trace[site]
        if site.endswith("state"):
            continue
        if site.endswith("attention"):
            assert value.shape[0] == batch
            assert value.shape[2:] == (time, time)
            assert value.triu(1).abs().max() == 0
        elif site.endswith("heads.out"):
            assert value.ndim == 4
            assert value.shape[:2] == (batch, time)
        else:
            assert value.shape[:2] == (batch, time)
            assert value.ndim == 3
    for site in listed:
        if site.reason:
            assert len(site.reason) > 20
            with pytest.raises(InputError, match="does not exist"), record(model, site.name):
                pass
    with torch.no_grad():
        torch.testing.assert_close(model(tokens).logits, plain)  # nothing is left behind


@pytest.mark.parametrize("name", EVERY)
def test_the_residual_stream_is_the_sum_of_what_is_written(name: str) -> None:
    model, tokens = make(name), draw()
    kinds = ("resid.in", "resid.out", "mixer.out", "mlp.out")
    with torch.no_grad(), record(model, [site for kind in kinds for site in _there(model, kind)]) as trace:
        model(tokens)
    for layer in range(len(_there(model, "resid.in"))):
        total = trace[f"layers.{layer}.resid.in"] + trace[f"layers.{layer}.mixer.out"]
        if f"layers.{layer}.mlp.out" in trace:
            total = total + trace[f"layers.{layer}.mlp.out"]
        torch.testing.assert_close(trace[f"layers.{layer}.resid.out"], total, rtol=1e-4, atol=1e-5)
        if layer:
            torch.testing.assert_close(trace[f"layers.{layer - 1}.resid.out"], trace[f"layers.{layer}.resid.in"])


@pytest.mark.parametrize("name", EVERY)
def test_an_intervention_is_seen_by_what_comes_after_and_not_before(name: str) -> None:
    model, tokens = make(name), draw()
    kinds = {s.name.split(".", 2)[2] for s in sites(model) if not s.reason} - {"state"}
    with torch.no_grad(), record(model, "layers.*.resid.in") as before:
        plain = model(tokens).logits
    for kind in sorted(kinds):
        site = next(s for s in _there(model, kind) if s.startswith("layers.1."))

        def later(value: Tensor, site: str = site) -> Tensor:
            generator = torch.Generator().manual_seed(1)  # a norm that comes after sees neither a shift nor a factor
            if site.endswith("attention"):
                value[:, :, 6:] *= torch.rand(value.shape[-1], generator=generator)
            else:
                value[:, 6:] += torch.randn(value.shape[2:], generator=generator)
            return value

        with torch.no_grad(), intervene(model, {site: later}), record(model, "layers.*.resid.in") as trace:
            changed = model(tokens).logits
        torch.testing.assert_close(changed[:, :6], plain[:, :6], rtol=1e-3, atol=1e-4, msg=f"{site}: causal")
        assert (changed[:, 6:] - plain[:, 6:]).abs().max() > 1e-4, site
        torch.testing.assert_close(trace["layers.0.resid.in"], before["layers.0.resid.in"])


@pytest.mark.parametrize("name", EVERY)
def test_taking_out_all_that_a_layer_writes_is_the_model_without_it(name: str) -> None:
    model, tokens = make(name), draw()
    written = [*_there(model, "mixer.out"), *_there(model, "mlp.out")]
    gone = {site: torch.zeros_like for site in written if site.startswith("layers.1.")}
    with torch.no_grad(), intervene(model, gone), record(model, ["layers.1.resid.in", "layers.1.resid.out"]) as trace:
        model(tokens)
    torch.testing.assert_close(trace["layers.1.resid.out"], trace["layers.1.resid.in"])


def test_blocks_nest_and_hooks_are_gone_afterwards() -> None:
    model, tokens = make("gpt2"), draw()
    site = "layers.0.mixer.out"
    with record(model, site) as outer, intervene(model, {site: lambda x: x + 1}), record(model, site) as inner:
        model(tokens)
        model(tokens)
    torch.testing.assert_close(inner[site], outer[site] + 1)
    assert len(inner.all(site)) == 2
    assert len(inner) == 1
    with pytest.raises(ZeroDivisionError), intervene(model, {site: lambda x: x / (1 // 0)}):
        model(tokens)
    model(tokens)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_gradients_flow_through_what_is_recorded() -> None:
    model, tokens = make("llama"), draw()
    with record(model, "layers.0.heads.out") as trace:
        loss = model(tokens).logits.logsumexp(-1).sum()
    (gradient,) = torch.autograd.grad(loss, trace["layers.0.heads.out"])
    assert gradient.shape == (2, 11, 4, 4)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("layers.0.mixer.ot", "mixer.out"),
        ("layers.9.mixer.out", "layers 0 to 1"),
        ("blocks.0.mixer.out", "layers.N"),
        ("layers.x.mixer.out", "layers.N"),
    ],
)
def test_sites_that_do_not_exist(wrong: str, told: str) -> None:
    with pytest.raises(InputError, match=told), record(make("gpt2"), wrong):
        pass


def test_other_bad_input() -> None:
    model, tokens = make("gpt2"), draw()
    with pytest.raises(InputError, match="expected shape"), intervene(model, {"layers.0.mixer.out": lambda x: x[:1]}):
        model(tokens)
    with pytest.raises(InputError, match="patch_state"), intervene(model, {"layers.0.state": lambda x: x}):
        pass
    with pytest.raises(InputError, match="not called"), record(model, "layers.0.mixer.out") as trace:
        trace["layers.0.mixer.out"]
    with pytest.raises(InputError, match="was not recorded"):
        trace["layers.1.mixer.out"]
    with pytest.raises(InputError, match="cannot look inside a Linear"):
        sites(nn.Linear(2, 2))
    with pytest.raises(InputError, match="bare backbone"):
        sites(model.transformer)
    with torch.no_grad(), pytest.raises(InputError, match="without a cache"), record(model, "layers.0.state"):
        model(tokens, use_cache=False)


def test_the_hook_manager_is_short() -> None:
    assert len(inspect.getsource(hooks).splitlines()) <= 200
