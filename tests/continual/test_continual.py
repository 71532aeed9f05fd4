"""Fisher information, springs, freezing and measures where the answer is known exactly."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seqmem import continual
from seqmem.continual import EWC, L2Anchor, fisher_diagonal, fisher_overlap, frozen_bottom
from seqmem.errors import InputError


@pytest.fixture
def network(generator) -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)).double()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return model


def _by_hand(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
    """The gradient of log p(y|x) for one example."""
    return list(torch.autograd.grad(model(x[None])[0].log_softmax(-1)[y], list(model.parameters())))


def test_fisher_by_its_definition(network, generator) -> None:
    x, y = torch.randn(7, 3, generator=generator, dtype=torch.float64), torch.arange(7) % 4
    names = [name for name, _ in network.named_parameters()]
    exact = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
    empirical = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
    for xi, yi in zip(x, y, strict=True):
        p = network(xi[None])[0].softmax(-1).detach()
        for c in range(4):
            for name, g in zip(names, _by_hand(network, xi, torch.tensor(c)), strict=True):
                exact[name] += p[c] * g.square() / 7
        for name, g in zip(names, _by_hand(network, xi, yi), strict=True):
            empirical[name] += g.square() / 7
    for batch_size in (3, 64):
        torch.testing.assert_close(fisher_diagonal(network, x, batch_size=batch_size), exact)
        torch.testing.assert_close(
            fisher_diagonal(network, x, y, kind="empirical", batch_size=batch_size, vectorise=batch_size == 3),
            empirical,
        )
    loss = F.cross_entropy(network(x), y)
    whole = dict(zip(names, torch.autograd.grad(loss, list(network.parameters())), strict=True))
    batch = fisher_diagonal(network, x, y, kind="batch", batch_size=7)
    torch.testing.assert_close(batch, {name: g.square() for name, g in whole.items()})


def test_sampled_fisher_tends_to_the_exact_one(network, generator) -> None:
    x = torch.randn(1, 3, generator=generator, dtype=torch.float64).expand(20_000, 3)
    exact = fisher_diagonal(network, x[:1])
    sampled = fisher_diagonal(network, x, kind="sampled", batch_size=5000, generator=generator)
    for name, f in exact.items():
        torch.testing.assert_close(sampled[name], f, rtol=0.15, atol=0.02 * float(f.max()))


def test_fisher_of_a_language_model() -> None:
    from seqmem.models import SequenceConfig, SequenceLM

    torch.manual_seed(0)
    model = SequenceLM(SequenceConfig(vocab_size=9, width=8, layers=["lstm"]))
    x = torch.arange(12).view(2, 6) % 9
    y = torch.full_like(x, -100)
    y[:, 3] = 5
    f = fisher_diagonal(model, x, y, kind="empirical", vectorise=False)
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for xi in x:
        log_p = model(xi[None]).logits[0, 3].log_softmax(-1)[5]
        for (name, _), g in zip(
            model.named_parameters(), torch.autograd.grad(log_p, list(model.parameters())), strict=True
        ):
            total[name] += g.square() / 2
    torch.testing.assert_close(f, total)
    with pytest.raises(InputError, match="use kind='sampled'"):
        fisher_diagonal(model, x, vectorise=False)
    with pytest.raises(InputError, match="Did you mean 'exact'"):
        fisher_diagonal(model, x, kind="exakt")
    with pytest.raises(InputError, match="needs targets"):
        fisher_diagonal(model, x, kind="batch")


def test_springs_pull_as_all_tasks_together(network, generator) -> None:
    """The two-task penalty is the sum of both, up to a constant: the same gradient."""
    x = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    ewc = EWC(network, strength=3.0)
    assert float(ewc.penalty()) == 0
    assert ewc.largest_stable_rate() == math.inf
    fishers, anchors = [], []
    for _ in range(2):
        fishers.append(fisher_diagonal(network, x))
        anchors.append({name: p.detach().clone() for name, p in network.named_parameters()})
        ewc.after_task(x)
        with torch.no_grad():
            for p in network.parameters():
                p += torch.randn(p.shape, generator=generator, dtype=p.dtype)
    ewc.penalty().backward()
    for name, p in network.named_parameters():
        both = sum(3.0 * f[name] * (p.detach() - a[name]) for f, a in zip(fishers, anchors, strict=True))
        torch.testing.assert_close(p.grad, both)


def test_the_guard_keeps_descent_from_diverging() -> None:
    model = nn.Linear(1, 1, bias=False).double()
    importance = {"weight": torch.full((1, 1), 100.0, dtype=torch.float64)}

    def distance(**options: float) -> float:
        with torch.no_grad():
            model.weight.zero_()
        ewc = EWC(model, strength=1.0, **options)
        ewc.add(importance)
        with torch.no_grad():
            model.weight.fill_(1.0)
        for _ in range(20):
            (slope,) = torch.autograd.grad(ewc.penalty(), [model.weight])
            with torch.no_grad():
                model.weight -= 0.05 * slope
        return float(model.weight.detach().abs())

    assert distance() > 1e6  # 0.05 * 100 > 2
    assert distance(learning_rate=0.05) == 0
    ewc = EWC(model, strength=1.0)
    ewc.add(importance)
    assert ewc.largest_stable_rate() == 0.02


def test_online_form_and_l2(network, generator) -> None:
    x = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    ewc = EWC(network, strength=1.0, online=True, decay=0.5)
    first = fisher_diagonal(network, x)
    ewc.after_task(x)
    ewc.after_task(x)
    torch.testing.assert_close(ewc._stiffness["0.weight"], 1.5 * first["0.weight"])
    anchor = L2Anchor(network, strength=2.0)
    anchor.after_task()
    with torch.no_grad():
        network[0].bias += 1
    torch.testing.assert_close(anchor.penalty(), torch.tensor(5.0, dtype=torch.float64))
    with pytest.raises(InputError, match="other parameters"):
        anchor.add({"weight": torch.ones(1)})


def test_overlap_of_tasks() -> None:
    a, b = {"w": torch.tensor([1.0, 0, 3])}, {"w": torch.tensor([0, 2.0, 0])}
    assert fisher_overlap(a, {"w": 7 * a["w"]}) == pytest.approx(1)
    assert fisher_overlap(a, b) == 0
    with pytest.raises(InputError, match="different parameters"):
        fisher_overlap(a, {"v": a["w"]})


def test_measures_on_a_matrix_by_hand() -> None:
    R = [[0.9, 0.2, 0.1], [0.6, 0.8, 0.3], [0.5, 0.7, 1.0]]
    assert continual.average_accuracy(R) == pytest.approx(2.2 / 3)
    assert continual.forgetting(R) == pytest.approx((0.4 + 0.1) / 2)
    assert continual.backward_transfer(R) == pytest.approx((-0.4 - 0.1) / 2)
    assert continual.forward_transfer(R, [0.1, 0.1, 0.1]) == pytest.approx((0.1 + 0.2) / 2)
    assert continual.spurious_share(1.0, 0.2, 0.6) == pytest.approx(0.5)
    assert math.isnan(continual.spurious_share(0.5, 0.5, 0.6))
    with pytest.raises(InputError, match=r"expected \(tasks, tasks\)"):
        continual.forgetting([[1.0, 2.0]])


def test_frozen_bottom_of_ours_and_of_gpt2() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    from seqmem.models import SequenceConfig, SequenceLM

    ours = SequenceLM(SequenceConfig(vocab_size=9, width=8, layers=["lstm", "gru", "gru"]))
    gpt = GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=8, n_head=2, n_layer=3, n_positions=16))
    for model in (ours, gpt):
        before = [p.requires_grad for p in model.parameters()]
        x = torch.arange(6)[None]
        with frozen_bottom(model, 2) as names:
            assert any(".1." in name for name in names)
            assert not any(".2." in name for name in names)
            model.zero_grad()
            model(x).logits.sum().backward()
            assert all(
                (p.grad is None) == (name in names)
                for name, p in model.named_parameters()
                if p.requires_grad or name in names
            )
        assert [p.requires_grad for p in model.parameters()] == before
    with pytest.raises(InputError, match="expected 0 to 3"), frozen_bottom(gpt, 4):
        pass
    with pytest.raises(InputError, match="has no nn"), frozen_bottom(nn.Linear(1, 1), 0):
        pass
