"""Probes against logistic regression of scikit-learn, planted directions, and what a change of them must do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from seqmem.errors import InputError
from seqmem.interp import Probe, activations_at, fit_probe, latent_saliency, move, probe_error, record, steer
from seqmem.models import SequenceConfig, SequenceLM
from seqmem.tasks.base import IGNORE


def planted(rows: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors of 12 channels and three labels: two linear in them, one the exclusive or of two signs."""
    x = torch.randn(rows, 12, generator=generator)
    noise = 0.5 * torch.randn(rows, generator=generator)
    three = (x[:, :3] + 0.3 * torch.randn(rows, 3, generator=generator)).argmax(1)
    return x, torch.stack([three, (x[:, 3] + noise > 0).long(), ((x[:, 4] > 0) ^ (x[:, 5] > 0)).long()], 1)


def test_a_linear_probe_is_logistic_regression(generator: torch.Generator) -> None:
    """One and the same model: as right as scikit-learn's, which nearly always says the same."""
    x, y = planted(6000, generator)
    x = 5 * x + 3  # the probe standardises
    probe = fit_probe(x[:4000], y[:4000], steps=800, rate=0.05, decay=0, generator=generator)
    for target in range(2):
        oracle = LogisticRegression(C=1e4, max_iter=1000).fit(x[:4000].numpy(), y[:4000, target].numpy())
        said = probe(x[4000:])[:, target].argmax(-1).numpy()
        assert np.mean(said == oracle.predict(x[4000:].numpy())) > 0.97
        error = probe_error(probe, x[4000:], torch.where(torch.arange(3) == target, y[4000:], IGNORE))
        assert error == pytest.approx(1 - oracle.score(x[4000:].numpy(), y[4000:, target].numpy()), abs=0.015)


def test_a_hidden_layer_reads_what_a_linear_probe_cannot(generator: torch.Generator) -> None:
    x, y = planted(6000, generator)
    errors = {
        hidden: probe_error(
            fit_probe(x[:5000], y[:5000, 2:], hidden=hidden, steps=400, generator=generator), x[5000:], y[5000:, 2:]
        )
        for hidden in (0, 64)
    }
    assert errors[0] > 0.4
    assert errors[64] < 0.1


def test_labels_that_mean_nothing_are_not_read(generator: torch.Generator) -> None:
    x, y = planted(3000, generator)
    order = torch.randperm(3000, generator=generator)
    probe = fit_probe(x[:2000], y[order][:2000, 1:2], hidden=32, steps=200, generator=generator)
    assert probe_error(probe, x[2000:], y[order][2000:, 1:2]) > 0.4


def test_labels_left_out_do_not_count(generator: torch.Generator) -> None:
    x, y = planted(500, generator)
    y[::2] = IGNORE
    probe = fit_probe(x, y, steps=30, generator=torch.Generator().manual_seed(1))
    wrong = (probe(x).argmax(-1) != y)[1::2]
    assert probe_error(probe, x, y) == pytest.approx(float(wrong.float().mean()))
    same = fit_probe(x, y, steps=30, generator=torch.Generator().manual_seed(1))
    assert torch.equal(same(x), probe(x))  # the generator alone decides


def test_moving_reaches_what_is_wanted_and_leaves_the_rest(generator: torch.Generator) -> None:
    x, y = planted(3000, generator)
    probe = fit_probe(x, y, hidden=64, steps=400, generator=generator)
    some, wanted = x[:50], y[:50].clone()
    wanted[:, 1] = 1 - wanted[:, 1]
    moved = move(some, probe, wanted, steps=200, rate=0.02)
    assert probe_error(probe, moved, wanted) < 0.02
    assert probe_error(probe, some, wanted) > 0.3
    assert torch.equal(move(some, probe, wanted, steps=0), some)
    free = torch.full_like(wanted, IGNORE)
    assert torch.equal(move(some, probe, free, steps=5), some)


@pytest.fixture(scope="module")
def model() -> SequenceLM:
    torch.manual_seed(0)
    return SequenceLM(SequenceConfig(11, 16, layers=["attention"] * 2)).eval()


def planted_model(generator: torch.Generator, model: SequenceLM) -> tuple[torch.Tensor, Probe]:
    tokens = torch.randint(11, (200, 6), generator=generator)
    x = activations_at(model, "layers.0.resid.out", tokens, rows=64)
    return tokens, fit_probe(x, (tokens % 2)[..., None], steps=100, generator=generator)


def test_steering_changes_one_position_and_what_follows(generator: torch.Generator, model: SequenceLM) -> None:
    tokens, probe = planted_model(generator, model)
    some = tokens[:8]
    wanted = (1 - some[:, 2:3] % 2).clone()
    plain = model(some).logits
    with record(model, "layers.0.resid.out") as before:
        model(some)
    with steer(model, {"layers.0.resid.out": probe}, wanted, position=2), record(model, "layers.0.resid.out") as after:
        steered = model(some).logits
    x, y = before["layers.0.resid.out"], after["layers.0.resid.out"]
    assert torch.equal(x[:, [0, 1, 3, 4, 5]], y[:, [0, 1, 3, 4, 5]])
    assert (probe(y[:, 2]).argmax(-1) == wanted).all()
    torch.testing.assert_close(steered[:, :2], plain[:, :2])
    assert ((steered - plain)[:, 2:].abs().amax((0, 2)) > 1e-4).all()
    torch.testing.assert_close(model(some).logits, plain)  # nothing is left behind


def test_saliency_is_the_fall_of_the_answer(generator: torch.Generator, model: SequenceLM) -> None:
    """Against one intervention at a time, done by hand."""
    tokens, _ = planted_model(generator, model)
    x = activations_at(model, "layers.0.resid.out", tokens)
    labels = torch.stack([tokens % 2, tokens // 6], -1)
    probe = fit_probe(x, labels, steps=100, generator=generator)
    some, now = tokens[:5], labels[:5, -1]
    flipped = 1 - now
    flipped[0, 1] = IGNORE
    sites = {"layers.0.resid.out": probe}
    found = latent_saliency(model, some, sites, now, flipped, steps=20)
    assert torch.isnan(found).nonzero().tolist() == [[0, 1]]
    for row in range(1, 5):
        wanted = now[row : row + 1].clone()
        wanted[0, 1] = flipped[row, 1]
        plain = model(some[row : row + 1]).logits[0, -1]
        with steer(model, sites, wanted, steps=20):
            moved = model(some[row : row + 1]).logits[0, -1]
        assert float(found[row, 1]) == pytest.approx(float((plain - moved)[plain.argmax()]), abs=1e-5)


def test_bad_input_says_so(generator: torch.Generator, model: SequenceLM) -> None:
    x = torch.zeros(4, 3)
    with pytest.raises(InputError, match="hidden is -1"):
        Probe(3, 1, 2, hidden=-1)
    with pytest.raises(InputError, match="classes is 1, expected at least 2"):
        Probe(3, 1, 1)
    with pytest.raises(InputError, match=r"labels \(5, 1\)"):
        fit_probe(x, torch.zeros(5, 1, dtype=torch.int64), generator=generator)
    with pytest.raises(InputError, match="labels are from 0 to 4, expected 0 to 2"):
        fit_probe(x, torch.tensor([[0], [4], [1], [2]]), classes=3, generator=generator)
    with pytest.raises(InputError, match="labels are none"):
        fit_probe(x, torch.full((4, 1), IGNORE), generator=generator)
    with (
        pytest.raises(InputError, match="wanted has 3 rows"),
        steer(model, {"layers.0.resid.out": Probe(16, 1, 2)}, torch.zeros(3, 1, dtype=torch.int64)),
    ):
        model(torch.zeros(2, 4, dtype=torch.int64))
