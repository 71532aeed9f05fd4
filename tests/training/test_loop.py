"""A training: what it computes, how it ends, and that it can be stopped anywhere."""

from __future__ import annotations

import json
import math
import pickle
import random
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from seqmem.models import SequenceConfig, build
from seqmem.tasks import get_task
from seqmem.tasks.base import IGNORE
from seqmem.testing.faults import Bomb
from seqmem.training.evaluate import score
from seqmem.training.loop import CURVE, Interrupted, Progress, build_model, read_curve, train
from seqmem.training.optimiser import clip_gradients, learning_rate, make_optimiser
from seqmem.training.seeds import generator
from tests.training.helpers import experiment, outcome


def test_the_first_step_is_adamw_on_the_asked_positions(tmp_path: Path) -> None:
    """Against torch's plain AdamW, cross-entropy over all logits, and torch's clipping."""
    one = experiment(steps=1, task="mqar", task_options={"length": 16, "pairs": [2], "vocabulary": 16})
    model = build_model(one, 16)
    batch = get_task("mqar", **one.task_options).sample(4, 16, generator(0, "train", 0))
    logits, _ = model.run(batch.inputs)  # (batch, time, vocab)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    torch.optim.AdamW(groups, lr=0.01 / 3, betas=(0.9, 0.95), fused=False, foreach=False).step()

    result = train(one, tmp_path)
    assert read_curve(tmp_path)[0]["loss"] == pytest.approx(loss.item(), rel=1e-6)
    saved = load_file(tmp_path / "checkpoint.safetensors")
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(saved[f"model.{name}"], parameter.detach(), rtol=1e-5, atol=1e-7)
    assert result["steps"] == 1
    assert result["tokens"] == 4 * 16


def test_schedule_and_decay_groups() -> None:
    rates = [learning_rate(step, 2.0, 4, 12) for step in range(12)]
    assert rates[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert rates[8] == pytest.approx(1.0)  # half-way down
    assert rates[11] == pytest.approx(1 + math.cos(math.pi * 7 / 8))
    model = build(SequenceConfig(8, 8, layers=["tests.training.toy:Toy"]))
    decay = {id(p): group["weight_decay"] for group in make_optimiser(model, 0.1).param_groups for p in group["params"]}
    assert {name: decay[id(p)] for name, p in model.named_parameters()} == {
        name: 0.1 if p.ndim >= 2 else 0.0 for name, p in model.named_parameters()
    }


def test_clipping_bounds_the_joint_norm() -> None:
    gradients = [torch.tensor([3.0]), torch.tensor([[0.0, 4.0]])]
    assert clip_gradients(gradients, 10.0) == pytest.approx(5.0)
    assert gradients[0].item() == 3.0
    assert clip_gradients(gradients, 1.0) == pytest.approx(5.0)
    assert gradients[0].item() == pytest.approx(0.6)
    assert gradients[1][0, 1].item() == pytest.approx(0.8)


def test_scores_by_slice_against_a_slow_count() -> None:
    task = get_task("mqar", length=16, pairs=[1, 3], vocabulary=16)
    model = build(SequenceConfig(16, 8, layers=["tests.training.toy:Toy"]))
    found = score(model, task, 16, 16 * 10, "test")
    batch = task.sample(10, 16, generator(0, "test/16", 0), split="test")
    with torch.no_grad():
        guesses = model.run(batch.inputs)[0].argmax(-1)
    counts: dict[str, list[int]] = {}
    for row in range(10):
        for t in range(16):
            if batch.targets[row, t] != IGNORE:
                for name in ("all", task.slices[int(batch.groups[row])]):
                    counts.setdefault(name, []).append(int(guesses[row, t] == batch.targets[row, t]))
    assert found == {name: pytest.approx(sum(hits) / len(hits)) for name, hits in counts.items()}


@pytest.mark.parametrize("mixer", ["tests.training.toy:Toy", "tests.training.toy:Noisy", "attention", "lstm"])
def test_stopping_anywhere_changes_nothing(tmp_path: Path, mixer: str) -> None:
    """Interrupted with a checkpoint, or cut off without one, at random reports: the same bits in the end."""
    one = experiment(mixer, mixer_options={"heads": 1} if mixer == "attention" else {})
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    whole.mkdir()
    pieces.mkdir()
    expected = train(one, whole)
    chance = random.Random(0)

    stops = 0
    for attempt in range(12):
        patience = chance.randrange(1, 12)

        def progress(now: Progress, attempt: int = attempt, left: list[int] = [patience]) -> None:  # noqa: B006
            left[0] -= 1
            if left[0] < 0 and attempt < 11:
                raise Interrupted if attempt % 3 else KeyboardInterrupt

        try:
            found = train(one, pieces, progress=progress, checkpoint_seconds=0.0 if attempt % 2 else 60.0)
        except (Interrupted, KeyboardInterrupt):
            stops += 1
    assert stops >= 4
    assert outcome(found) == outcome(expected)
    assert (pieces / CURVE).read_text() == (whole / CURVE).read_text()


def test_a_checkpoint_cut_short_is_set_aside(tmp_path: Path) -> None:
    one = experiment()
    expected = train(one, tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    found = train(one, tmp_path)
    assert outcome(found) == outcome(expected)
    assert "damaged checkpoint is kept as checkpoint.safetensors.damaged" in found["status_detail"]
    assert "\n" not in found["status_detail"]
    assert (tmp_path / "checkpoint.safetensors.damaged").exists()


def damage(path: Path, how: str) -> None:
    """A checkpoint that is whole as a file and still must not be gone on from."""
    with safe_open(path, framework="pt") as file:
        counters = json.loads(file.metadata()["counters"])
    tensors = load_file(path)
    if how == "not a number":
        next(iter(tensors.values())).view(-1)[0] = math.nan
    elif how == "infinite moment":
        next(value for name, value in tensors.items() if "exp_avg_sq" in name).view(-1)[0] = math.inf
    elif how == "moments of another shape":
        name = next(name for name in tensors if "exp_avg_sq" in name)
        tensors[name] = torch.zeros(3, 5)
    elif how == "a loss in words":
        counters["loss_sum"] = "much"
    elif how == "half the moments":
        del tensors[next(name for name in tensors if "exp_avg_sq" in name)]
    elif how == "a step from nowhere":
        counters["step"] += 1
    elif how == "an unknown status":
        counters["status"] = "solved!"
    elif how == "another counter":
        counters["code"] = "import os"
    if how == "a pickle":
        path.write_bytes(pickle.dumps(Bomb(path.with_name("exploded"))))
        return
    save_file(tensors, path, {"counters": json.dumps(counters)})
    if how == "a header that lies":
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        entry = next(value for name, value in header.items() if name != "__metadata__")
        entry["shape"] = [2**40]
        entry["data_offsets"] = [0, 2**42]
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    elif how == "a header without end":
        path.write_bytes((2**62).to_bytes(8, "little") + path.read_bytes()[8:])


@pytest.mark.parametrize(
    "how",
    [
        "not a number", "infinite moment", "half the moments", "a step from nowhere", "an unknown status",
        "another counter", "a pickle", "a header that lies", "a header without end", "moments of another shape",
        "a loss in words",
    ],
)  # fmt: skip
def test_a_checkpoint_that_cannot_be_right_is_set_aside(tmp_path: Path, how: str) -> None:
    one = experiment()
    expected = train(one, tmp_path)
    damage(tmp_path / "checkpoint.safetensors", how)
    found = train(one, tmp_path)
    assert outcome(found) == outcome(expected)
    assert "damaged checkpoint is kept as checkpoint.safetensors.damaged" in found["status_detail"]
    assert not (tmp_path / "exploded").exists()


def test_a_checkpoint_of_another_shape_is_set_aside(tmp_path: Path) -> None:
    train(experiment(width=16), tmp_path)
    found = train(experiment(), tmp_path)
    assert "has shape" in found["status_detail"]
    assert found["status"] == "done"
    assert len(read_curve(tmp_path)) > 0


@pytest.mark.parametrize(
    "line", ["3", "{}", '{"step": "1", "tokens": 1, "loss": 0.1, "validation": null}', "[" * 100_000]
)
def test_a_curve_ends_at_a_line_that_is_no_point(tmp_path: Path, line: str) -> None:
    train(experiment(), tmp_path)
    curve = tmp_path / "metrics.jsonl"
    lines = curve.read_text().splitlines(keepends=True)
    curve.write_text("".join([*lines[:2], line + "\n", *lines[2:]]))
    assert len(read_curve(tmp_path)) == 2
    assert train(experiment(), tmp_path)["status"] == "done"


def test_early_stop_when_solved(tmp_path: Path) -> None:
    """Is the bit itself a one? A task that the toy solves, as parity of length 1."""
    one = experiment(steps=2000, task_options={"length": 1, "test_lengths": [1]}, learning_rate=0.03)
    result = train(one, tmp_path)
    assert result["status"] == "solved"
    assert result["steps"] < 2000
    assert result["steps"] % 7 == 0
    assert result["metrics"] is not None
    assert result["metrics"]["validation"] >= 0.995
    assert result["metrics"]["test"] == {"1": {"all": 1.0}}


@pytest.mark.parametrize("mixer", ["tests.training.toy:Toy", "lstm"])
def test_a_rate_of_a_thousand_diverges(tmp_path: Path, mixer: str) -> None:
    result = train(experiment(mixer, steps=200, learning_rate=1e3), tmp_path)
    assert result["status"] == "diverged"
    assert result["metrics"] is None
    assert result["status_detail"].startswith("diverged at step ")
    began = int(result["status_detail"].split()[3].rstrip(":"))
    assert 1 < began <= result["steps"] < 200


def test_a_loss_that_is_not_finite_ends_the_training_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.training.toy import Toy

    calls = 0
    forward = Toy.forward

    def poisoned(self: Toy, x: torch.Tensor, *args: object, **rest: object) -> object:
        nonlocal calls
        calls += 1
        y, state = forward(self, x, *args, **rest)
        return (y * math.nan if calls == 5 else y), state

    monkeypatch.setattr(Toy, "forward", poisoned)
    result = train(experiment(), tmp_path)
    assert (result["status"], result["steps"]) == ("diverged", 5)
    assert result["status_detail"].startswith("diverged at step 5: the loss is nan")


def test_the_global_random_state_is_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(experiment(steps=3), tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_state_bytes_are_those_after_the_longest_test(tmp_path: Path) -> None:
    """Toy: 8 sums and a count, float32. Attention: keys and values of 8 numbers for 32 positions, and a position."""
    assert train(experiment(steps=1), tmp_path)["state_bytes"] == 4 * 9
    attention = tmp_path / "attention"
    attention.mkdir()
    held = train(experiment("attention", steps=1, mixer_options={"heads": 1}), attention)["state_bytes"]
    assert 2 * 32 * 8 * 4 <= held <= 2 * 32 * 8 * 4 + 512
