"""``seqmem eval``: against transformers' own greedy decoding, by hand, and as a command."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, MambaConfig, MambaForCausalLM

from seqmem.cli import main
from seqmem.errors import InputError
from seqmem.models import SequenceConfig, build
from seqmem.report.eval_page import heat_map
from seqmem.tasks import get_task
from seqmem.tasks.text import Document, Draws, Story, TextTask
from seqmem.tasks.tokenizers import ByteTokenizer
from seqmem.training.text_eval import (
    Cell,
    answered,
    context_of,
    evaluate_text,
    spread,
    text_tasks,
    weights_digest,
    wilson,
)

NAMES = ["needle", "multi_needle", "passkey", "variable_tracking", "question_answering", "key_value_updates"]


def gpt2(**options: Any) -> Any:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": 256, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 600}
    return GPT2LMHeadModel(GPT2Config(**sizes | options, bos_token_id=None, eos_token_id=None)).eval()


def mamba() -> Any:
    torch.manual_seed(0)
    return MambaForCausalLM(MambaConfig(vocab_size=256, hidden_size=16, state_size=4, num_hidden_layers=1)).eval()


def sequence_lm(vocab_size: int = 256, **options: Any) -> Any:
    return build(SequenceConfig(vocab_size, 16, layers=["attention", "min_gru"], **options)).eval()


def text(name: str, **options: Any) -> TextTask:
    task = get_task(name, **options)
    assert isinstance(task, TextTask)
    return task


@pytest.mark.parametrize("make", [gpt2, mamba, sequence_lm])
def test_right_is_what_greedy_decoding_says(make: Any, generator: torch.Generator) -> None:
    """Half of the answers are replaced by what ``generate`` says, half of those spoilt at their last token."""
    model = make()
    documents, expected = [], []
    for n, document in enumerate(text("needle").documents(8, 300, ByteTokenizer(), generator)):
        prompt = torch.tensor([document.ids[: -document.asked]])
        with torch.no_grad():
            said = model.generate(prompt, max_new_tokens=4 + n % 3, do_sample=False, pad_token_id=0)[0].tolist()
        if n % 2:
            said[-1] = (said[-1] + 1) % 256
        documents.append(Document("", "", 0.5, said, 4 + n % 3))
        expected.append(n % 2 == 0)
    found = answered(model, documents)
    assert found.right.tolist() == expected
    for document, nats in zip(documents, found.nats.tolist(), strict=True):
        ids = torch.tensor([document.ids])
        with torch.no_grad():
            logits = model(ids).logits[0, -1 - document.asked : -1]
        loss = torch.nn.functional.cross_entropy(logits, ids[0, -document.asked :])
        assert nats == pytest.approx(float(loss), rel=1e-4)


def test_wilson_by_hand() -> None:
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(5, 5) == pytest.approx((0.5655, 1.0), abs=1e-4)


@dataclass(frozen=True)
class Always(TextTask):
    """The same line break again and again."""

    answers: ClassVar[tuple[str, ...]] = ("yes",)

    def story(self, depth: float, draws: Draws) -> Story:
        return Story([(depth, "It is so.")], "So", "yes")


class Says:
    """A model that says " yes" behind "So" when the fact stands in the first half of the text."""

    def __init__(self) -> None:
        self.config = type("Config", (), {"vocab_size": 256, "to_dict": lambda _: {}})()
        self.training = False
        self._weight = torch.zeros(1)

    def parameters(self) -> Any:
        return iter([self._weight])

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"weight": self._weight}

    def train(self, mode: bool = True) -> None: ...

    def eval(self) -> None: ...

    def forward(self, tokens: torch.Tensor) -> Any: ...

    def __call__(self, tokens: torch.Tensor, use_cache: bool = False) -> Any:
        logits = torch.zeros(*tokens.shape, 256)
        for row, ids in enumerate(tokens.tolist()):
            line = bytes(ids).decode()
            if line.index("It is so.") < len(line.strip("\0")) / 2:
                begin = line.index("\nSo") + 2
                for n, byte in enumerate(b" yes"):
                    logits[row, begin + n, byte] = 1.0
        return type("Output", (), {"logits": logits})()


def test_cells_say_where_it_is_right(tmp_path: Path) -> None:
    tasks = {"always": Always()}
    seen: list[bool] = []

    def cells(**more: Any) -> list[Cell]:
        told: Any = {"depths": 4, "samples": 3, "kept": tmp_path, "progress": lambda _, reused: seen.append(reused)}
        return list(evaluate_text(Says(), None, tasks, [600, 300], **told | more))

    first = cells()
    assert [(cell["task"], cell["length"], cell["right"], cell["count"]) for cell in first] == [
        ("always", 300, 6, 12),
        ("always", 600, 6, 12),
    ]
    for cell in first:
        assert [(row["depth"], row["right"], row["count"]) for row in cell["depths"]] == [
            (0.0, 3, 3), (pytest.approx(1 / 3), 3, 3), (pytest.approx(2 / 3), 0, 3), (1.0, 0, 3),
        ]  # fmt: skip
        assert (cell["low"], cell["high"]) == wilson(6, 12)
        assert 12 * (cell["length"] - 80) < cell["tokens"] <= 12 * cell["length"]
    assert cells() == first
    assert cells(seed=1) != first
    assert seen == [False, False, True, True, False, False]
    (tmp_path / f"{first[0]['cell']}.json").write_text("{")
    again = cells()
    assert seen[-2:] == [False, True]
    assert again[0]["right"] == first[0]["right"]


def test_depths_are_spread_evenly() -> None:
    assert spread(1) == [0.5]
    assert spread(5) == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_another_weight_or_setting_is_another_model() -> None:
    first = weights_digest(sequence_lm())
    assert weights_digest(sequence_lm()) == first
    changed = sequence_lm()
    with torch.no_grad():
        changed.lm_head.weight[3, 3] += 1e-3
    assert weights_digest(changed) != first
    assert weights_digest(sequence_lm(logit_softcap=30.0)) != first
    assert weights_digest(sequence_lm().to(torch.bfloat16)) != first


def test_the_tasks_in_text() -> None:
    assert text_tasks() == NAMES
    assert context_of(gpt2()) == 600
    assert context_of(mamba()) is None
    assert context_of(sequence_lm()) is None
    assert context_of(sequence_lm(positions=64)) == 64


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a model of bytes, one of words, one of neither, and one of GPT-2."""
    for name, model in (
        ("bytes", sequence_lm()),
        ("words", sequence_lm(273)),
        ("neither", sequence_lm(100)),
        ("gpt2", gpt2()),
    ):
        model.save_pretrained(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_the_command(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", "words", "--lengths", "300,200", "--samples", "1", "--depths", "2", "--out", "out"]
    assert main(words) == 0
    told = capsys.readouterr()
    for name in NAMES:
        assert re.search(
            rf"^{name} +[\d.e-]+ +[\d.]+ \([\d.]+–[\d.]+\) +[\d.]+ \([\d.]+–[\d.]+\)$", told.out, re.MULTILINE
        )
        assert f"{name} at 200 tokens" in told.err
    assert "200 tokens" in told.out
    result = json.loads((here / "out" / "eval.json").read_text("utf-8"))
    assert result["reads"] == "the tasks' words"
    assert [(cell["task"], cell["length"]) for cell in result["cells"]] == [(n, k) for k in (200, 300) for n in NAMES]
    page = (here / "out" / "eval.html").read_text("utf-8")
    assert page.count("<figure") == page.count("<svg") == 6
    assert "#04" not in page
    assert "Let " in page
    assert main([*words, "--json"]) == 0  # and again: nothing is measured
    told = capsys.readouterr()
    assert told.err.count("as before") == 12
    assert json.loads(told.out) == result


def test_models_of_bytes_and_of_transformers(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for model in ("bytes", "gpt2"):
        words = ["eval", model, "--tasks", "needle,passkey", "--lengths", "256", "--samples", "1", "--depths", "1"]
        assert main([*words, "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["reads"] == "bytes"
        assert [cell["count"] for cell in result["cells"]] == [1, 1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("bytes --tasks mqar", "task 'mqar' is not in text, expected needle, multi_needle"),
        ("bytes --tasks nedle", "unknown task 'nedle'. Did you mean 'needle'"),
        ("bytes --tasks nowhere:Mine", "cannot import 'nowhere' for task 'nowhere:Mine'"),
        ("bytes --lengths 0", "--lengths is '0', expected whole numbers of at least 1"),
        ("bytes --lengths 2k", "--lengths is '2k'"),
        ("bytes --lengths 64", "task 'needle': length=64 is too short"),
        ("bytes --depths 0", "--depths is 0, expected 1 or more"),
        ("bytes --samples 0", "--samples is 0, expected 1 or more"),
        ("gpt2 --tasks needle --lengths 256,1024", "length 1024 is more than this model can read, 600 tokens"),
        (
            "neither",
            "the model has no tokenizer and 100 tokens, expected 256 (bytes) or 273 (the words of task 'needle')",
        ),
        ("nothing", "no language model 'nothing'"),
    ],
)
def test_bad_input_is_one_line(here: Path, capsys: pytest.CaptureFixture[str], words: str, says: str) -> None:
    assert main(["eval", *words.split()]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = [line for line in told.err.splitlines() if line.startswith("seqmem: ")]
    assert says in line
    assert not (here / "seqmem-eval").exists()


def test_a_length_that_is_too_long_says_so_in_a_library_too() -> None:
    with pytest.raises(InputError, match="length 700 is more than this model can read, 600 tokens"):
        evaluate_text(gpt2(), None, {"needle": text("needle")}, [100, 700])


def test_the_map_has_a_cell_for_every_length_and_depth() -> None:
    row = {"right": 1, "count": 4, "low": 0.05, "high": 0.7, "nats": None}
    depths = [{"depth": depth, **row} for depth in (0.0, 0.5, 1.0)]
    drawn = heat_map([{"task": "my:Own", "length": length, "depths": depths} for length in (256, 4096)], "a map")
    assert drawn.count("4,096 tokens, depth 0.50: 1 of 4 right, 95 % interval 0.05 to 0.70") == 2  # box and number
    assert drawn.count(">0.25<") == 6


def test_smollm2_finds_a_needle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from seqmem.assets import find, is_here

    if not is_here(find("smollm2")):
        pytest.skip("the asset smollm2 is not here")
    words = ["eval", "smollm2", "--tasks", "needle", "--lengths", "128", "--depths", "3", "--samples", "1"]
    assert main([*words, "--out", str(tmp_path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["reads"] == "its own tokenizer"
    assert result["cells"][0]["right"] == 3
    assert 3 * 100 < result["cells"][0]["tokens"] <= 3 * 128
