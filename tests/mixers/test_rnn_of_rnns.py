"""The assembly against Euler's rule, and its certificate against what it certifies."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seqmem.errors import InputError
from seqmem.mixers.assembly import assemble, contraction, guaranteed_rate
from seqmem.mixers.rnn_of_rnns import RNNOfRNNs, RNNOfRNNsState
from seqmem.testing import check_mixer

every_constraint = pytest.mark.parametrize("constraint", ["sparse", "svd"])


def assembly(constraint: Any, seed: int = 0, **options: Any) -> RNNOfRNNs:
    torch.manual_seed(seed)
    return RNNOfRNNs(5, blocks=4, block=6, constraint=constraint, **options).double()


@every_constraint
def test_equal_to_the_steps_of_euler(constraint: Any, generator: torch.Generator) -> None:
    mixer = assembly(constraint, dt=0.2)
    x = torch.randn(2, 7, 5, generator=generator, dtype=torch.float64)
    v = torch.randn(2, 24, generator=generator, dtype=torch.float64)
    y, state = mixer(x, RNNOfRNNsState(v))
    w, coupling = mixer.within(), mixer.between()
    for t in range(7):
        v = v + 0.2 * (-v + v.relu() @ w.T + v @ coupling.T + mixer.inputs(x[:, t]))
        torch.testing.assert_close(y[:, t], mixer.out(v), rtol=0, atol=1e-12)
    torch.testing.assert_close(state.potential, v, rtol=0, atol=1e-12)


@every_constraint
def test_the_feedback_does_no_work_in_the_metric(constraint: Any) -> None:
    mixer = assembly(constraint, coupling=3.0)
    form = mixer.metric()[:, None] * mixer.between()
    torch.testing.assert_close(form, -form.mT, rtol=0, atol=1e-12)
    blocks = mixer.between().unflatten(0, (4, 6)).unflatten(2, (4, 6))
    assert not blocks[range(4), :, range(4)].any()  # nothing within a block
    assert blocks[1, :, 0].any()
    assert (mixer.metric() > 0).all()
    within = mixer.within().unflatten(0, (4, 6)).unflatten(2, (4, 6))
    assert not within[0, :, 1:].any()


@every_constraint
def test_every_assembly_is_stable_and_no_free_coupling_is(constraint: Any, generator: torch.Generator) -> None:
    for seed in range(30):
        mixer = assembly(constraint, seed, coupling=3.0)
        assert mixer.certificate(30, generator) < 0
        scale = mixer.between().std()
        free = scale * torch.randn(24, 24, generator=generator, dtype=torch.float64)
        jacobian = mixer.within() + free - torch.eye(24)
        assert torch.linalg.eigvals(jacobian).real.max() > 0


@every_constraint
def test_different_beginnings_are_forgotten(constraint: Any, generator: torch.Generator) -> None:
    mixer = assembly(constraint)
    assert mixer.step_certificate(30, generator) < 1
    x = torch.randn(1, 1500, 5, generator=generator, dtype=torch.float64)
    start = torch.randn(2, 24, generator=generator, dtype=torch.float64)
    _, end = mixer(x.expand(2, -1, -1), RNNOfRNNsState(start))
    assert (end.potential[0] - end.potential[1]).norm() < 1e-3 * (start[0] - start[1]).norm()


def test_the_certificate_can_be_refused(generator: torch.Generator) -> None:
    mixer = assembly("sparse")
    mixer.fixed_within *= 20  # no block contracts any more
    assert mixer.certificate(30, generator) > 0
    assert mixer.step_certificate(30, generator) > 1
    assert assembly("svd", coupling=30.0).step_certificate(5, generator) > 1  # dx/dt contracts, the step does not
    assert assembly("svd", coupling=30.0).certificate(5, generator) < 0


@every_constraint
def test_differences_shrink_at_the_guaranteed_rate(constraint: Any, generator: torch.Generator) -> None:
    """Against the flow itself, in steps of 1e-3."""
    mixer = assembly(constraint, coupling=2.0)
    one = mixer.assembly()
    rate = mixer.guaranteed_rate()
    assert -1 < rate < 0
    x, y = torch.randn(2, 24, generator=generator, dtype=torch.float64)
    u = torch.randn(24, generator=generator, dtype=torch.float64)
    apart = [((x - y).square() * one.metric).sum().sqrt()]
    for _ in range(2000):
        x, y = (v + 1e-3 * (-v + one.within @ v.relu() + one.between @ v + u) for v in (x, y))
        apart.append(((x - y).square() * one.metric).sum().sqrt())
    assert apart[-1] <= apart[0] * torch.tensor(rate * 2.0 + 0.05).exp()


@every_constraint
def test_assemblies_of_assemblies_are_stable(constraint: Any, generator: torch.Generator) -> None:
    parts = [assembly(constraint, seed, coupling=3.0).assembly() for seed in range(3)]
    whole = assemble(parts, 3 * torch.randn(72, 72, generator=generator, dtype=torch.float64))
    form = whole.metric[:, None] * whole.between
    torch.testing.assert_close(form, -form.mT, rtol=0, atol=1e-10)
    assert guaranteed_rate(whole) == pytest.approx(max(map(guaranteed_rate, parts)), abs=1e-9)
    assert contraction(whole, (torch.rand(30, 72, generator=generator) < 0.5).double()) < 0
    torch.testing.assert_close(whole.between[24:48, 24:48], parts[1].between)
    assert whole.between[:24, 48:].any()
    free = whole._replace(between=whole.between.triu())  # a feedback that is not balanced
    assert guaranteed_rate(free) > 0
    assert contraction(free, torch.ones(1, 72).double()) > 0
    with pytest.raises(InputError, match="square matrix"):
        assemble(parts, torch.zeros(24, 24))


def test_the_learned_networks_hold_the_contract() -> None:
    check_mixer(lambda width: RNNOfRNNs(width, blocks=2, block=4, constraint="svd"), width=8, points=[4, 6, 7])
    with pytest.raises(InputError, match="density 0"):
        RNNOfRNNs(8, density=0)
    with pytest.raises(InputError, match="'free'"):
        RNNOfRNNs(8, constraint="free")  # type: ignore[arg-type]


def test_networks_of_both_kinds_keep_their_rates_together(generator: torch.Generator) -> None:
    parts = [assembly(constraint, 1).assembly() for constraint in ("sparse", "svd")]
    whole = assemble(parts, torch.randn(48, 48, generator=generator, dtype=torch.float64))
    assert guaranteed_rate(whole) == pytest.approx(max(map(guaranteed_rate, parts)), abs=1e-9)


def test_level_by_level_is_all_at_once(generator: torch.Generator) -> None:
    a, b, c = (assembly("svd", seed).assembly() for seed in range(3))
    coupling = torch.randn(72, 72, generator=generator, dtype=torch.float64)
    nested = assemble([assemble([a, b], coupling[:48, :48]), c], coupling)
    for of_nested, at_once in zip(nested, assemble([a, b, c], coupling), strict=True):
        torch.testing.assert_close(of_nested, at_once, rtol=0, atol=1e-12)
