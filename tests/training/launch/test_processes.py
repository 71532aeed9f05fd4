"""Two processes give the loss curve of one, whatever each does with its rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from seqmem.errors import InputError
from seqmem.training.launch import processes
from seqmem.training.launch.run import train
from seqmem.training.launch.settings import read_settings
from tests.training.launch.helpers import curve, small_data, write_settings

pytest.importorskip("accelerate")
ROOT = Path(__file__).parents[3]
WAYS = {
    "plain": {},
    "accumulated": {"accumulation": 2},
    "carried": {"carry_state": True, "validation": "data", "evaluate_every": 6, "evaluate_tokens": 300},
    "fsdp": {"carry_state": True, "activation_checkpointing": True},
}


def launch(*files: Path) -> None:
    """accelerate's launcher, two processes on this machine."""
    command = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]
    words = [sys.executable, "-m", *command, "-m", "tests.training.launch.launched", *map(str, files)]
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, env=environment, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of each way by one process, and one of each by two."""
    folder = tmp_path_factory.mktemp("runs")
    data = str(small_data(folder))
    files = []
    for name, changes in WAYS.items():
        said = {**changes, **({"validation": data} if "validation" in changes else {})}
        alone = {key: value for key, value in said.items() if key not in ("accumulation", "activation_checkpointing")}
        train(read_settings(write_settings(folder, f"{name}-1", **alone)))
        files.append(write_settings(folder, f"{name}-2", **said))
    first = write_settings(folder, "moved-2", carry_state=True, steps=12, save_every=6)
    launch(*files[:-1], first, files[-1])
    return folder


@pytest.mark.parametrize("way", WAYS)
def test_the_curve_of_one(runs: Path, way: str) -> None:
    one, two = curve(runs / f"{way}-1"), curve(runs / f"{way}-2")
    assert len(one) == len(two) == 12
    assert one[-1]["loss"] < one[0]["loss"] - 0.1  # it learns, so the gradients count
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        for key, value in a.items():
            assert b[key] == (pytest.approx(value, abs=1e-4) if isinstance(value, float) else value), (key, a, b)


def test_one_goes_on_from_a_checkpoint_of_two(runs: Path) -> None:
    """The memory of every row is found again."""
    out = runs / "moved-2"
    for place in ("checkpoints/step-00000012", "model"):
        (out / place).rename(out / place.replace("step-", "later-").replace("model", "later"))
    before = curve(out)
    train(read_settings(runs / "moved-2.yaml"))
    after = curve(out)
    assert [point["step"] for point in after] == list(range(1, 13))
    for a, b in zip(before, after, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], abs=1e-4)


def test_the_first_process_speaks(runs: Path) -> None:
    said = json.loads((runs / "plain-2" / "settings.json").read_text())
    assert said["settings"]["batch_size"] == 4
    assert sorted(p.name for p in (runs / "plain-2" / "checkpoints").iterdir()) == ["step-00000010", "step-00000012"]


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"ACCELERATE_MIXED_PRECISION": "fp16"}, "mixed_precision is fp16, expected no or bf16"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "DeepSpeed"),
        ({"ACCELERATE_USE_MEGATRON_LM": "True"}, "Megatron"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}, "fsdp_version is 1"),
        (
            {"ACCELERATE_USE_CPU": "True", "ACCELERATE_MIXED_PRECISION": "no", "MASTER_PORT": "29500"},
            "torchrun --nproc_per_node N",
        ),
    ],
)
def test_what_is_refused(environment: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        processes.check(environment, tensorboard=False)


def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"accelerate"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name if name in found else None)
    with pytest.raises(InputError, match=r"neither tensorboard nor tensorboardX .*seqmem\[train\]"):
        processes.check({}, tensorboard=True)
    processes.check({}, tensorboard=False)
    found.clear()
    with pytest.raises(InputError, match=r"needs accelerate.*seqmem\[train\]"):
        processes.check({}, tensorboard=False)
