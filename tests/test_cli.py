"""The command: exit codes, one line for bad input, no traceback, and a quick start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from seqmem import __version__
from seqmem.cli import main
from seqmem.mixers import MIXERS
from seqmem.tasks import TASKS

LAYERS = '''
import torch
from torch import nn


class Sum(nn.Module):
    """The running sum of what was read."""

    memory = "constant"

    def __init__(self, width):
        super().__init__()
        self.out = nn.Linear(width, width)

    def initial_state(self, batch_size):
        return (self.out.weight.new_zeros(batch_size, self.out.in_features),)

    def forward(self, x, state=None, *, mask=None, reset=None):
        kept = x if mask is None else x.masked_fill(~mask[..., None], 0)
        (total,) = self.initial_state(len(x)) if state is None else state
        sums = []
        for t in range(x.shape[1]):
            if reset is not None:
                total = total.masked_fill(reset[:, t, None], 0)
            total = total + kept[:, t]
            sums.append(total)
        return self.out(torch.tanh(torch.stack(sums, 1))), (total,)


class Ahead(Sum):
    """Reads the position after its own."""

    def forward(self, x, state=None, *, mask=None, reset=None):
        y, state = super().forward(x, state, mask=mask, reset=reset)
        return y + x.roll(-1, 1), state


class NoLayer:
    pass
'''


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with a module of layers; the module search path is restored afterwards."""
    (tmp_path / "cli_layers.py").write_text(LAYERS)
    (tmp_path / "cli_broken.py").write_text("raise RuntimeError('first line\\nsecond line')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("SEQMEM_STORE", str(tmp_path / "store"))
    return tmp_path


def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, in the current folder."""
    command = [sys.executable, "-m", "seqmem", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)  # type: ignore[call-overload]


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What is said of bad input: one line on standard error, nothing elsewhere, exit code 2."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("seqmem: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("comparee", ["unknown command 'comparee'", "'compare'"]),
        ("--nonsense", ["--nonsense"]),
        ("mixers --jsn", ["--jsn"]),
        ("check", ["NAME", "--help"]),
        ("check mambo", ["unknown mixer 'mambo'", "'mamba'"]),
        ("check mamba --width 0", ["width", "0"]),
        ("check mamba --width many", ["--width", "'many'"]),
        ("check nowhere.at_all:Layer", ["nowhere", "nowhere.at_all:Layer"]),
        ("check cli_layers:Som", ["cli_layers", "'Som'", "'Sum'"]),
        ("check cli_layers:NoLayer", ["NoLayer", "torch.nn.Module"]),
        ("check cli_broken:Layer", ["cli_broken", "first line second line"]),
        ("compare --mixers attention,mambo", ["--mixers", "unknown mixer 'mambo'", "'mamba'"]),
        ("compare --mixers cli_layers:NoLayer", ["--mixers", "NoLayer", "torch.nn.Module"]),
        ("compare --mixers=", ["--mixers"]),
        ("compare --tasks mqra", ["--tasks", "unknown task 'mqra'", "'mqar'"]),
        ("compare --seeds 0", ["--seeds is 0", "from 1 to 10,000"]),
        ("compare --seeds two", ["--seeds", "'two'"]),
        ("compare --budget vast", ["--budget", "'vast'", "smoke", "laptop", "full"]),
        ("compare --workers -1", ["workers is -1"]),
        ("compare nowhere.yaml", ["nowhere.yaml", "No such file"]),
        ("compare .", ["'.'"]),
    ],
)
def test_bad_words(here: Path, capsys: pytest.CaptureFixture[str], words: str, expected: list[str]) -> None:
    err = complaint(capsys, *words.split())
    for part in expected:
        assert part in err
    assert not (here / "seqmem-compare").exists() or not any((here / "seqmem-compare").iterdir())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mixer: [lstm]", ["study.yaml", "'mixer'", "'mixers'"]),
        ("seeds: three", ["study.yaml: seeds is 'three'", "from 1 to 10,000"]),
        ("widths: [16, 0]", ["study.yaml: widths", "from 1 to 65,536"]),
        ("widths: wide", ["study.yaml: widths is 'wide'"]),
        ("learning_rates: [fast]", ["study.yaml: learning_rates", "above 0"]),
        ("budget: vast", ["study.yaml: budget is 'vast'", "laptop"]),
        ("tasks: {mqar: {lenght: 64}}", ["study.yaml: tasks", "'lenght'", "'length'"]),
        ("tasks: {mqar: {length: 0}}", ["study.yaml: tasks", "length", "0"]),
        ("tasks: {bytes: {path: empty.txt}}", ["study.yaml: tasks", "empty.txt"]),
        ("tasks: {bytes: {path: nowhere.txt}}", ["study.yaml: tasks", "nowhere.txt"]),
        ("lengths: [0]", ["study.yaml: lengths"]),
        ("mixers: [{attention: {heads: 5}}]\nwidths: 16", ["study.yaml", "16", "5"]),
        ("mixers: [lstm\ntasks: }", ["study.yaml", "line 2", "not YAML"]),
        ("- lstm", ["study.yaml", "['lstm']"]),
        ("", ["study.yaml"]),
    ],
)
def test_bad_study_files(here: Path, capsys: pytest.CaptureFixture[str], text: str, expected: list[str]) -> None:
    (here / "study.yaml").write_text(text)
    (here / "empty.txt").write_text("")
    err = complaint(capsys, "compare", "study.yaml")
    for part in expected:
        assert part in err


def test_a_study_file_that_is_no_text(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "study.yaml").write_bytes(b"\xff\xfe\x00mixers")
    assert "UTF-8" in complaint(capsys, "compare", "study.yaml")


@pytest.mark.parametrize("option", ["out", "store"])
@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_where_a_folder_should_go(
    here: Path, capsys: pytest.CaptureFixture[str], option: str, name: str
) -> None:
    (here / "file").write_text("mine")
    words = ["compare", "--mixers", "min_gru", "--tasks", "parity", "--budget", "smoke", f"--{option}", name]
    err = complaint(capsys, *words)
    assert f"{option} folder" in err
    assert f"--{option}" in err
    assert (here / "file").read_text() == "mine"


def test_a_folder_where_a_file_should_go(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "out" / "results.jsonl" / "mine").mkdir(parents=True)
    words = ["compare", "--mixers", "min_gru", "--tasks", "parity", "--budget", "smoke", "--out", "out"]
    assert "results.jsonl" in complaint(capsys, *words)


ONE_LENGTH = ("digits", "permuted_digits", "passages", "scan")  # real data, or all there is


def test_listings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mixers", "--json"]) == 0
    mixers = json.loads(capsys.readouterr().out)
    assert [m["name"] for m in mixers] == list(MIXERS)
    assert all(m.keys() == {"name", "memory", "summary", "source"} for m in mixers)
    assert {m["memory"] for m in mixers} == {"constant", "linear"}
    assert main(["tasks", "--json"]) == 0
    tasks = json.loads(capsys.readouterr().out)
    assert [t["name"] for t in tasks] == list(TASKS)
    assert all(max(t["test_lengths"]) >= 4 * t["train_length"] for t in tasks if t["name"] not in ONE_LENGTH)
    for words, names in (("mixers", MIXERS), ("tasks", TASKS)):
        assert main([words]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == ["name", *names]


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "compare" in capsys.readouterr().out
    for words in (["--help"], ["compare", "--help"], ["--version"]):
        with pytest.raises(SystemExit, match="0"):
            main(words)
    assert capsys.readouterr().out.splitlines()[-1] == f"seqmem {__version__}"


def test_check(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "cli_layers:Sum", "--width", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], len(found["points"])) == (True, 8)
    assert main(["check", "cli_layers:Ahead", "--width", "4"]) == 1
    out, err = capsys.readouterr()
    assert any("FAIL" in line and "causal" in line for line in out.splitlines())
    assert "Traceback" not in out + err


def test_a_reader_that_goes_away() -> None:
    for words in (["mixers"], ["tasks"], ["mixers", "--json"]):
        read, write = os.pipe()
        os.close(read)
        try:
            ended = subprocess.run(
                [sys.executable, "-m", "seqmem", *words], stdout=write, stderr=subprocess.PIPE, text=True, check=False
            )
        finally:
            os.close(write)
        assert (ended.returncode, ended.stderr) == (0, "")


def test_a_process_of_its_own(here: Path) -> None:
    ended = run("--version")
    assert (ended.returncode, ended.stdout) == (0, f"seqmem {__version__}\n")
    ended = run("comparee")
    assert ended.returncode == 2
    assert (ended.stdout, ended.stderr.count("\n")) == ("", 1)


def test_a_current_folder_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    script = "import os; os.rmdir(os.getcwd()); from seqmem.cli import main; raise SystemExit(main(['mixers']))"
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path / "gone", capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("module", ["seqmem", "seqmem.cli", "seqmem.mixers", "seqmem.tasks"])
def test_a_light_import(module: str) -> None:
    heavy = ("torch", "transformers", "numba", "matplotlib", "numpy", "rich")
    script = f"import {module}, sys; print([m for m in {heavy} if m in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def test_control_c_while_a_class_is_made(monkeypatch, capsys):
    """Python 3.11 wraps a KeyboardInterrupt that comes inside ``__set_name__`` into a RuntimeError."""
    from seqmem.commands import COMMANDS

    def interrupted(arguments):
        raise RuntimeError("Error calling __set_name__") from KeyboardInterrupt()

    def broken(arguments):
        raise RuntimeError("a fault")

    monkeypatch.setattr(COMMANDS["mixers"], "run", interrupted)
    assert main(["mixers"]) == 130
    assert "interrupted" in capsys.readouterr().err
    monkeypatch.setattr(COMMANDS["mixers"], "run", broken)
    with pytest.raises(RuntimeError, match="a fault"):
        main(["mixers"])
