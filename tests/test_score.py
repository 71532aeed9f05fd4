"""`seqmem score` as it is typed, with small models of bytes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from seqmem.cli import main
from seqmem.interp import loss_by_position, read_in_pieces
from seqmem.models import SequenceConfig, build

TEXT = "to be or not to be, that is the question: whether 'tis nobler é ü "


@pytest.fixture
def model(tmp_path: Path) -> Path:
    build(SequenceConfig(256, 8, layers=["min_gru", "attention"]), 0).save_pretrained(tmp_path / "lm")
    return tmp_path / "lm"


def test_bits_are_those_of_one_forward_pass(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from seqmem.models import load

    (tmp_path / "text").write_text(3 * TEXT)
    assert main(["score", str(tmp_path / "text"), "--model", str(model), "--piece", "7", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    data = (3 * TEXT).encode()
    ids = torch.tensor([list(data)])
    with torch.no_grad():
        logits = load(model).run(ids[:, :-1])[0]
    nats = torch.nn.functional.cross_entropy(logits[0].double(), ids[0, 1:], reduction="sum")
    assert (found["tokens"], found["bytes"]) == (len(data) - 1, len(data))
    assert math.isclose(found["nats"], float(nats), rel_tol=1e-5)
    assert math.isclose(found["bits_per_byte"], found["nats"] / math.log(2) / len(data))
    assert math.isclose(found["perplexity"], math.exp(found["nats"] / found["tokens"]))
    spans = found["by_position"]
    assert [span[:2] for span in spans] == [[1, 64], [65, 128], [129, len(data) - 1]]
    told = sum((stop - start + 1) * bits for start, stop, bits in spans)
    assert math.isclose(told * math.log(2), found["nats"], rel_tol=1e-6)


def test_part_of_a_text_and_the_state_in_words(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text(TEXT)
    assert main(["score", str(tmp_path / "text"), "--model", str(model), "--limit", "21", "--piece", "5"]) == 0
    told = capsys.readouterr().out
    assert "20 foreseen, 20 bytes" in told
    assert "it grows" in told  # attention


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (b"x", [], "has 1 tokens, expected at least 2"),
        (b"", [], "has 0 tokens, expected at least 2"),
        (b"\xff\xfe", [], "is not UTF-8 text (byte 0)"),
        (b"some text", ["--piece", "0"], "--piece is 0, expected at least 1"),
        (None, [], "cannot be read: No such file"),
    ],
)
def test_one_line_for_what_is_wrong(
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    text: bytes | None,
    options: list[str],
    said: str,
) -> None:
    if text is not None:
        (tmp_path / "text").write_bytes(text)
    assert main(["score", str(tmp_path / "text"), "--model", str(model), *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_model_without_tokenizer_that_reads_no_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(SequenceConfig(40, 8, layers=["min_gru"]), 0).save_pretrained(tmp_path / "lm")
    (tmp_path / "text").write_text(TEXT)
    assert main(["score", str(tmp_path / "text"), "--model", str(tmp_path / "lm")]) == 2
    assert "has no tokenizer and 40 tokens, expected 256" in capsys.readouterr().err


def test_learned_positions_end() -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=11, n_positions=8, n_embd=8, n_layer=1, n_head=2)).eval()
    ids = torch.randint(11, (2, 9))
    assert loss_by_position(model, ids, piece=3).shape == (2, 8)
    with pytest.raises(Exception, match="learned positions end at 8"):
        loss_by_position(model, torch.randint(11, (1, 10)))


def test_a_constant_memory_stays_constant() -> None:
    lm = build(SequenceConfig(11, 8, layers=["gated_delta_net"]), 0)
    ids = torch.randint(11, (3, 100))
    sizes = {part.state_bytes for part in read_in_pieces(lm, ids, piece=9)}
    one = {part.state_bytes for part in read_in_pieces(lm, ids[:1], piece=50)}
    assert sizes == one
    assert len(one) == 1
