"""`seqmem train` by one process: it goes on as if it had never stopped, carries memories as whole reading does, and
says in one line what is wrong."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from filelock import FileLock
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from seqmem.cli import main
from seqmem.errors import InputError
from seqmem.mixers.state import state_bytes, tensors
from seqmem.models import SequenceConfig, build, load
from seqmem.training.launch import run, saving
from seqmem.training.launch.learner import Learner
from seqmem.training.launch.run import Diverged, Tell, train
from seqmem.training.launch.settings import EXPECTED, Settings, read_settings
from seqmem.training.tokens.order import Order
from seqmem.training.tokens.prepare import prepare
from seqmem.training.tokens.stream import open_stream
from tests.training.launch.helpers import curve, small_data, write_settings

pytest.importorskip("accelerate")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a finished run, "whole"."""
    folder = tmp_path_factory.mktemp("train")
    small_data(folder)
    train(read_settings(write_settings(folder, "whole", carry_state=True, log_every=2)))
    return folder


def killed_at(step: int, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """The training dies in the middle of a step."""

    def die(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        taken = 0
        real = run.learning_rate

        def counted(*words: Any) -> float:
            nonlocal taken
            taken += 1
            return die() if taken == step else real(*words)

        patch.setattr(run, "learning_rate", counted)
        with pytest.raises(KeyboardInterrupt):
            train(settings)


@pytest.mark.parametrize("carry", [True, False])
def test_killed_and_typed_again(place: Path, carry: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"killed-{carry}"
    said = {"carry_state": carry, "log_every": 2, "validation": str(place / "data"), "evaluate_every": 4}
    train(read_settings(write_settings(place, f"{name}-not", **said)))
    settings = read_settings(write_settings(place, name, **said))
    killed_at(3, monkeypatch, settings)  # before the first checkpoint
    killed_at(9, monkeypatch, settings)  # after that of step 5, with a line of step 8 that is cut off again
    assert [point["step"] for point in curve(place / name)] == [2, 4, 6, 8]
    notes: list[str] = []
    train(settings, Tell(notes.append))
    assert notes == ["goes on from step 5 of 12"]
    assert curve(place / name) == curve(place / f"{name}-not")
    weights = [load_file(place / n / "model" / "model.safetensors") for n in (name, f"{name}-not")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[1])


@pytest.mark.parametrize("line", ["[" * 100_000, "[1]", "{"])
def test_a_damaged_line_of_the_curve_ends_it(place: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    name = f"curve-{len(line)}-{line[-1]}"
    settings = read_settings(write_settings(place, name, log_every=2))
    killed_at(9, monkeypatch, settings)
    with (place / name / "metrics.jsonl").open("r+", encoding="utf-8") as file:
        first = file.readline()
        file.seek(len(first))
        file.write(line + "\n")
        file.truncate()
    train(settings)
    assert [point["step"] for point in curve(place / name)] == [2, 6, 8, 10, 12]


def damage(what: str, checkpoint: Path) -> None:
    model, optimiser = checkpoint / "model" / "model.safetensors", checkpoint / "optimiser.safetensors"
    if what == "cut":
        model.write_bytes(model.read_bytes()[:-9])
    elif what == "header":
        optimiser.write_bytes((2**40).to_bytes(8, "little") + b"{}")
    elif what == "pickle":
        optimiser.write_bytes(b"\x80\x04N.")
    elif what == "nan":
        held = load_file(optimiser)
        save_file({**held, "exp_avg.model.norm.weight": held["exp_avg.model.norm.weight"] * float("nan")}, optimiser)
    elif what == "shape":
        save_file({**load_file(optimiser), "exp_avg.model.norm.weight": torch.zeros(3)}, optimiser)
    elif what == "counters":
        (checkpoint / "training.json").write_text('{"step": "many"}')
    elif what == "memory":
        save_file({"row": torch.zeros(2)}, checkpoint / "memory-0.safetensors")


@pytest.mark.parametrize("what", ["cut", "header", "pickle", "nan", "shape", "counters", "memory"])
def test_a_damaged_checkpoint_is_set_aside(place: Path, tmp_path: Path, what: str) -> None:
    shutil.copytree(place / "whole", tmp_path / "whole")
    damage(what, tmp_path / "whole" / "checkpoints" / "step-00000012")
    before = curve(place / "whole")
    settings = read_settings(write_settings(place, "whole", carry_state=True, log_every=2))
    notes: list[str] = []
    train(settings.model_copy(update={"out": str(tmp_path / "whole")}), Tell(notes.append))
    assert "kept as step-00000012.damaged" in notes[0]
    assert len(notes[0].splitlines()) == 1
    assert notes[1] == "goes on from step 10 of 12"
    assert curve(tmp_path / "whole") == before


def test_finished_is_finished(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = curve(place / "whole")
    assert main(["train", str(place / "whole.yaml")]) == 0
    assert "goes on from step 12 of 12" in capsys.readouterr().err
    assert curve(place / "whole") == before


@pytest.mark.parametrize("carry", [True, False])
def test_carried_memory_is_that_of_a_whole_reading(tmp_path: Path, carry: bool) -> None:
    """With a learning rate of next to nothing, the loss of every step is that of one forward pass over each document
    alone; without carried memories it is another."""
    texts = ["ab" * 70, "c", "the sea the sea " * 9, "xyz" * 30]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    prepare([tmp_path / "a.jsonl"], "bytes", tmp_path / "data")
    order = Order(open_stream([str(tmp_path / "data")]), window=16, batch_size=1, seed=0, carry=True)
    said = {"carry_state": carry, "batch_size": 1, "steps": order.windows, "learning_rate": 1e-12, "save_every": 100}
    settings = read_settings(write_settings(tmp_path, "run", **said))
    model = run.new_model(settings, settings.stream())
    view, _ = order._places(0)
    bounds = [*torch.from_numpy(view.begins(0, view.tokens)).nonzero()[:, 0].tolist(), view.tokens]
    assert len(bounds) == 5
    parts: list[torch.Tensor] = []
    with torch.no_grad():
        for start, stop in pairwise(bounds):
            ids = torch.from_numpy(view.read(start, stop))[None]
            logits, _ = model.run(ids)
            parts += [F.cross_entropy(logits[0, :-1], ids[0, 1:], reduction="none"), torch.full((1,), torch.nan)]
    nats = torch.cat(parts)[: 16 * order.windows].view(-1, 16)  # nan where a document's last token asks nothing
    train(settings)
    losses = torch.tensor([point["loss"] for point in curve(tmp_path / "run")])
    close = torch.isclose(losses, nats.nanmean(1), atol=1e-5)
    assert bool(close.all()) == carry


def test_memory_is_flat_in_length(generator: torch.Generator) -> None:
    """What is remembered after a window, and what is kept for its way back, is the same after one window and after
    forty."""
    learner = Learner(build(SequenceConfig(256, 16, layers=["rg_lru", "local_attention"]), 0))
    ids, memory = torch.randint(256, (1, 40 * 16 + 1), generator=generator), None
    held, kept = [], []
    for start in range(0, 640, 16):
        kept.append(0)

        def count(value: torch.Tensor) -> torch.Tensor:
            kept[-1] += value.nbytes
            return value

        with torch.autograd.graph.saved_tensors_hooks(count, lambda value: value):
            _, memory = learner(ids[:, start : start + 16], ids[:, start + 1 : start + 17], memory)
        held.append(state_bytes(memory))
    assert len(set(held)) == 1
    assert len(set(kept[1:])) == 1


def test_no_gradient_goes_into_the_window_before(generator: torch.Generator) -> None:
    learner = Learner(build(SequenceConfig(256, 8, layers=["gru"]), 0))
    ids = torch.randint(256, (2, 17), generator=generator)
    _, memory = learner(ids[:, :8], ids[:, 1:9])
    assert not any(part.requires_grad for part in tensors(memory))
    loss, _ = learner(ids[:, 8:16], ids[:, 9:], memory)
    loss.backward()
    assert all(p.grad is not None for p in learner.parameters())


@pytest.mark.parametrize("way", ["activation_checkpointing", "accumulation"])
def test_ways_that_change_nothing(place: Path, way: str) -> None:
    said = {"carry_state": True, "log_every": 2, way: True if way == "activation_checkpointing" else 2}
    train(read_settings(write_settings(place, way, **said)))
    for a, b in zip(curve(place / "whole"), curve(place / way), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)


def test_layers_are_computed_again(generator: torch.Generator) -> None:
    """With checkpointing, less is kept for the way back."""
    kept = []
    for again in (False, True):
        model = build(SequenceConfig(256, 16, layers=["rg_lru"] * 4), 0).train()
        if again:
            run.recompute_activations(model)
        ids = torch.randint(256, (2, 65), generator=generator)
        kept.append(0)

        def count(value: torch.Tensor) -> torch.Tensor:
            kept[-1] += value.nbytes
            return value

        with torch.autograd.graph.saved_tensors_hooks(count, lambda value: value):
            Learner(model)(ids[:, :-1], ids[:, 1:])
    assert kept[1] < kept[0] / 2


def test_bfloat16(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    train(read_settings(write_settings(place, "bf16", carry_state=True, log_every=2)))
    whole, half = curve(place / "whole"), curve(place / "bf16")
    assert half[-1]["loss"] == pytest.approx(whole[-1]["loss"], abs=0.05)
    assert [a["loss"] for a in half] != [b["loss"] for b in whole]
    assert load(place / "bf16" / "model").dtype == torch.float32


def test_the_model_is_one_of_transformers(place: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(place / "whole" / "model")
    prompt = torch.tensor([list(b"the wh")])
    written = model.generate(prompt, max_new_tokens=8, do_sample=False)
    assert written.shape == (1, 14)
    with torch.no_grad():
        nats = model(input_ids=prompt, labels=prompt).loss
    assert float(nats) < 5.0  # a uniform guess has 5.5
    assert main(["score", str(place / "texts.jsonl"), "--model", str(place / "whole" / "model"), "--limit", "64"]) == 0


def test_going_on_from_a_saved_model(place: Path) -> None:
    train(read_settings(write_settings(place, "further", model=str(place / "whole" / "model"), steps=2)))
    assert curve(place / "further")[0]["loss"] < curve(place / "whole")[0]["loss"] - 0.1


def test_tensorboard(place: Path) -> None:
    """The figures of metrics.jsonl, in its format."""
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    train(read_settings(write_settings(place, "board", tensorboard=True, steps=4, log_every=2)))
    (file,) = (place / "board" / "tensorboard").glob("events.*")
    data, found = file.read_bytes(), {}
    while data:  # records: length, its checksum, event, its checksum
        size = int.from_bytes(data[:8], "little")
        event, data = Event.FromString(data[12 : 12 + size]), data[16 + size :]
        found |= {(event.step, value.tag): value.simple_value for value in event.summary.value}
    for point in curve(place / "board"):
        assert found[point["step"], "loss"] == pytest.approx(point["loss"], rel=1e-6)
        assert found[point["step"], "learning_rate"] == pytest.approx(point["learning_rate"], rel=1e-6)


def test_a_loss_that_is_not_finite(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    path = write_settings(place, "diverged", learning_rate=1e30)
    with pytest.raises(Diverged, match=r"diverged at step \d"):
        train(read_settings(path))
    shutil.rmtree(place / "diverged")
    assert main(["train", str(path)]) == 1
    assert "smaller learning_rate" in capsys.readouterr().err
    assert not (place / "diverged" / "model").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"window": 1}, "window is 1, expected a whole number from 2"),
        ({"steps": "many"}, "steps is 'many'"),
        ({"learning_rate": -1}, "learning_rate is -1"),
        ({"batchsize": 3}, "unknown key 'batchsize'. Did you mean 'batch_size'?"),
        ({"model": {"width": 16, "layers": ["mambo"]}}, "unknown mixer 'mambo'"),
        ({"model": {"width": 16, "layers": ["rg_lru"], "vocab_size": 3}}, "leave it out"),
        ({"model": {"width": 16, "layers": ["rg_lru"], "positions": 8}}, "8 learned positions"),
        ({"model": {"width": 16, "layers": ["rg_lru"], "positions": 64}, "carry_state": True}, "the longest document"),
        ({"model": {"width": 16, "layers": ["rg_lru"], "made": date(2001, 1, 1)}}, "JSON cannot hold"),
        ({"model": {"width": 2**40, "layers": ["rg_lru"]}}, "cannot be built"),
        ({"model": "nowhere"}, "'nowhere' is not a folder"),
        ({"data": "nowhere"}, "vocab_size is not given"),
        ({"data": "nowhere.npy", "vocab_size": 9}, "nowhere.npy"),
        ({"batch_size": 3, "accumulation": 2}, "batch_size is 3, expected a multiple of 2"),
        ({"window": 100_000}, "expected window + 1"),
        ({"out": "data/index.json"}, "cannot be a folder"),
    ],
)
def test_bad_settings(
    place: Path, changes: dict[str, Any], words: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    path = write_settings(place, "bad", **changes)
    assert main(["train", str(path)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert words in err
    assert not (place / "bad").exists()


def test_a_folder_of_another_training(place: Path) -> None:
    for changes, words in (
        ({"seed": 1}, r"seed is 1, and .* was begun with 0"),
        ({"window": 32}, "window is 32"),
    ):
        path = write_settings(place, "whole", carry_state=True, log_every=2, **changes)
        with pytest.raises(InputError, match=words):
            train(read_settings(path))
    write_settings(place, "whole", carry_state=True, log_every=2)


def test_a_layer_of_ones_own(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named in the settings, it is imported, also where a checkpoint of it is gone on from."""
    (place / "own_layers.py").write_text(
        "from seqmem.mixers.min_gru import MinGRU\n\n\nclass Mine(MinGRU):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(place))
    model = {"width": 8, "layers": ["own_layers:Mine"]}
    settings = read_settings(write_settings(place, "own", model=model, steps=4, save_every=2))
    killed_at(4, monkeypatch, settings)
    sys.modules.pop("own_layers")
    notes: list[str] = []
    train(settings, Tell(notes.append))
    assert notes == ["goes on from step 2 of 4"]


def test_two_trainings_in_one_folder(place: Path, capsys: Any) -> None:
    path = write_settings(place, "taken")
    (place / "taken").mkdir()
    with FileLock(place / "taken" / "lock"):
        assert main(["train", str(path)]) == 2
    assert "another process trains in" in capsys.readouterr().err
    train(read_settings(path))


def test_every_setting_is_explained() -> None:
    page = (Path(__file__).parents[3] / "docs" / "train.md").read_text("utf-8")
    assert EXPECTED.keys() == Settings.model_fields.keys()
    for key in EXPECTED:
        assert f"`{key}`" in page


def test_a_write_is_whole_or_absent(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full while a checkpoint is written leaves the one before."""
    real = saving.write_json

    def full(path: Path, value: Any) -> None:
        if value["step"] == 10:
            raise OSError(28, "No space left on device", str(path))
        real(path, value)

    path = write_settings(place, "full")
    with monkeypatch.context() as patch:
        patch.setattr(saving, "write_json", full)
        assert main(["train", str(path)]) == 2
    names = [p.name for p in (place / "full" / "checkpoints").iterdir()]
    assert [name for name in names if not name.startswith(".")] == ["step-00000005"]
    train(read_settings(path))
    assert curve(place / "full")[-1]["step"] == 12
    assert not [p for p in (place / "full" / "checkpoints").iterdir() if p.name.startswith(".")]
