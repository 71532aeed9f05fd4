"""The whole calculator: parts add up to the model, and the command says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqmem.cli import main
from seqmem.errors import InputError
from seqmem.models import SequenceConfig, SequenceLM, parameter_count
from seqmem.planning import clock
from seqmem.planning.figures import Rates
from seqmem.planning.measure import measure
from seqmem.planning.plan import Setting, as_data, make_plan

ELSEWHERE = Rates(1e12, 1e11)
CONFIGS = {
    "mixed": SequenceConfig(
        40, 16, layers=["rg_lru", "attention", "rg_lru", {"name": "attention", "heads": 2}, "rnn"], short_conv=2
    ),
    "untied": SequenceConfig(
        40, 16, layers=["delta_net"] * 2, tie_embeddings=False, positions=64, embedding_norm=True, norm="layer",
        mlp="fan", norm_eps=[1e-5, 1e-6, 1e-6],
    ),
    "perspectives": SequenceConfig(40, 16, layers=["rwkv4"] * 2, perspectives=2, mlp="rwkv", mlp_width=24),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("mixed", "float32"),
        pytest.param("mixed", "bfloat16", marks=pytest.mark.thorough),
        pytest.param("untied", "float64", marks=pytest.mark.thorough),
        ("perspectives", "float32"),
    ],
)
def test_parts_add_up_to_the_model(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "PROBE_SECONDS", 0.0)
    plan = make_plan(CONFIGS[name], Setting(batch=2, time=12, dtype=dtype))
    assert plan.parameters == parameter_count(CONFIGS[name])
    assert plan.predictable
    assert not plan.notes
    for one in measure(plan, seconds=0.0):
        if one.unit == "seconds":
            assert one.predicted > 0
        else:
            assert one.predicted == pytest.approx(one.measured, rel=1e-9), one.name


def test_devices_share_the_rows() -> None:
    config = CONFIGS["mixed"]
    one, four = (make_plan(config, Setting(8, 16, devices=n, rates=ELSEWHERE, link=1e9, tokens=1e6)) for n in (1, 4))
    assert four.activation_bytes < one.activation_bytes / 3
    assert four.flops_per_token() == pytest.approx(one.flops_per_token(), rel=0.01)
    exchange = 2 * 3 / 4 * 4 * four.parameters / 1e9
    assert four.exchange_seconds == pytest.approx(exchange)
    assert one.exchange_seconds == 0
    assert four.step_seconds() == pytest.approx(four.compute_seconds() + four.optimiser_seconds + exchange)
    steps = -(-1_000_000 // (8 * 16))
    assert one.training_seconds(1e6) == pytest.approx(steps * one.step_seconds())
    silent = make_plan(config, Setting(8, 16, devices=4, rates=ELSEWHERE))
    assert "--link" in " ".join(silent.notes)


def test_a_described_device_takes_its_limit() -> None:
    config = CONFIGS["mixed"]
    slow, fast = (make_plan(config, Setting(4, 16, rates=Rates(p, p / 10))) for p in (1e9, 1e12))
    assert slow.step_seconds() == pytest.approx(1000 * fast.step_seconds())
    half = make_plan(config, Setting(4, 16, rates=Rates(1e9, 1e8), reached=0.5))
    assert half.compute_seconds() == pytest.approx(2 * slow.compute_seconds())
    assert all(c.speed is None for c in slow.costs)


def test_a_model_larger_than_this_machine() -> None:
    """A hundred thousand million parameters, without making one of them."""
    config = SequenceConfig(100_000, 16_384, layers=["gla"] * 40)
    plan = make_plan(config, Setting(batch=64, time=4_096, devices=64, rates=Rates(1e14, 1e12)))
    width, hidden, keys = 16_384, config.mlp_width or 0, 16_384
    gla = 3 * width * keys + 16 * (width + keys) + keys + width * keys + keys + 2 * keys // 2 + width * keys
    assert plan.parameters == 100_000 * width + width + 40 * (gla + 2 * width + 3 * width * hidden)
    assert plan.flops_per_token("forward") > 2 * 0.9 * plan.parameters


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "model.yaml"
    file.write_text("width: 16\nvocab_size: 30\nlayers: [gla, attention]\n")
    device = ["--gemm-rate", "1000", "--bandwidth", "100"]
    assert main(["plan", str(file), "--batch", "2", "--time", "16", "--tokens", "1e6", *device]) == 0
    told = capsys.readouterr().out
    for words in ("2 layers, width 16", "FLOPs per token, training", "B per token", "at least", "time for 1M tokens"):
        assert words in told.replace("1.00M", "1M"), words
    assert main(["plan", str(file), "--depth", "5", "--width", "24", "--json", "--time", "16", *device]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["config"]["layers"] == ["gla", "attention", "gla", "attention", "gla"]
    assert found["parameters"] == parameter_count(SequenceConfig(30, 24, layers=found["config"]["layers"]))
    assert [part["copies"] for part in found["parts"]] == [3, 2, 1]


def test_command_reads_a_saved_model_and_what_lies_under_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device = ["--gemm-rate", "1000", "--bandwidth", "100", "--time", "8", "--json"]
    model = SequenceLM(SequenceConfig(20, 8, layers=["rnn"], mlp_width=8))
    model.save_pretrained(tmp_path / "saved")
    (tmp_path / "train.json").write_text(
        json.dumps({"model": {"width": 8, "layers": ["rnn"], "vocab_size": 20, "mlp_width": 8}})
    )
    for source in ("saved", "train.json"):
        assert main(["plan", str(tmp_path / source), *device]) == 0
        assert json.loads(capsys.readouterr().out)["parameters"] == sum(p.numel() for p in model.parameters())


def test_here_with_a_measure(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "PROBE_SECONDS", 0.0)
    assert main(["plan", "--layers", "rnn,gla", "--width", "8", "--batch", "2", "--time", "16", "--measure"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in ("parameters", "FLOPs per token, training", "state after", "optimiser ", "activations kept"):
        assert [line.split()[-1] for line in lines if line.startswith(name)][-1] == "1.000", name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--batch", "0"], "batch is 0"),
        (["--batch", "6", "--devices", "4"], "multiple of 4"),
        (["--dtype", "int8"], "float32, float64, bfloat16"),
        (["--gemm-rate", "5"], "--bandwidth together"),
        (["--gemm-rate", "-5", "--bandwidth", "1"], "--gemm-rate is -5.0"),
        (["--gemm-rate", "5", "--bandwidth", "5", "--measure"], "leave --gemm-rate"),
        (["--depth", "0"], "--depth is 0"),
        (["--layers", "mambo"], "mamba"),
        (["nowhere.yaml"], "cannot be read"),
        (["--tokens", "-1"], "tokens is -1.0"),
    ],
)
def test_wrong_input(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_wrong_files(tmp_path: Path) -> None:
    from argparse import Namespace

    from seqmem.planning.source import read_config

    for text in ("[1, 2]", "a: [", "model_type: gpt2", "1: 2"):
        file = tmp_path / "wrong.yaml"
        file.write_text(text)
        with pytest.raises(InputError, match=r"wrong\.yaml"):
            read_config(Namespace(config=str(file), layers=None, depth=None))


@pytest.mark.parametrize(
    "content", ['{"id2label": 3}', '{"num_labels": "a"}', '{"model_type": "seqmem", "dtype": "x"}']
)
def test_what_transformers_refuses_is_one_line(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wrong.json").write_text(content)
    assert main(["plan", str(tmp_path / "wrong.json")]) == 2
    error = capsys.readouterr().err
    assert "wrong.json' is no SequenceConfig" in error
    assert error.count("\n") == 1


def test_a_saved_model_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stranger.py").write_text("raise SystemExit('run')")
    monkeypatch.syspath_prepend(tmp_path)
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "config.json").write_text(json.dumps({"model_type": "seqmem", "layers": ["stranger:Layer"]}))
    assert main(["plan", str(saved)]) == 2


def test_too_large_to_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    from seqmem.planning import measure as module

    plan = make_plan(CONFIGS["mixed"], Setting(1, 8, rates=ELSEWHERE))
    monkeypatch.setattr(module, "_free_memory", lambda: 10_000)
    with pytest.raises(InputError, match="--measure needs about"):
        measure(plan)


def test_as_data_is_json() -> None:
    found = as_data(make_plan(CONFIGS["perspectives"], Setting(2, 8, rates=ELSEWHERE)))
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(found, allow_nan=False))
