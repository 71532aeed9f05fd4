"""`seqmem data prepare`: what stands in the shards is what the tokenizer makes of the text, document after document."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from seqmem.cli import main
from seqmem.errors import InputError
from seqmem.training.tokens import prepare as preparing
from seqmem.training.tokens import texts
from seqmem.training.tokens.prepare import prepare
from seqmem.training.tokens.stream import Stream, open_stream

VERSES = ["to be or not to be", "é ü — ß\r\nsecond line\n", "x"]


def read_documents(stream: Stream) -> list[list[int]]:
    ends = [*stream.starts[1:].tolist(), stream.tokens]
    return [stream.read(a, b).tolist() for a, b in zip(stream.starts.tolist(), ends, strict=True)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE of 300 tokens, as GPT-2's in kind, with an end of text."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator([" the cat and the dog sat on the mat\n\n  then"] * 20, trainer)
    folder = tmp_path_factory.mktemp("tokenizer")
    PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<end>").save_pretrained(folder)
    return folder


def test_each_text_file_is_a_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / f"{n}.txt" for n in range(3)]
    for file, verse in zip(files, VERSES, strict=True):
        file.write_bytes(verse.encode())
    out = str(tmp_path / "new" / "data")
    assert main(["data", "prepare", *map(str, files), "--tokenizer", "bytes", "--out", out, "--shard-tokens", "7"]) == 0
    assert "3 documents" in capsys.readouterr().out
    stream = open_stream([out])
    assert [bytes(ids).decode() for ids in read_documents(stream)] == VERSES
    assert (stream.vocab_size, stream.document_end, stream.tokenizer) == (256, None, None)
    index = json.loads((Path(out) / "index.json").read_text())
    assert [shard["tokens"] for shard in index["shards"]] == [7] * (stream.tokens // 7) + [stream.tokens % 7]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.txt", "1.txt", "2.txt", "new"]


def test_lines_of_json_and_rows_of_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"story": v, "n": 1}) + "\n\n" for v in [*VERSES, ""]))
    pq.write_table(pa.table({"n": [1, 2, 3, 4], "story": [*VERSES, None]}), tmp_path / "b.parquet", row_group_size=2)
    prepare([tmp_path / "a.jsonl", tmp_path / "b.parquet"], "bytes", tmp_path / "data", field="story")
    stream = open_stream([str(tmp_path / "data")])
    assert [bytes(ids).decode() for ids in read_documents(stream)] == VERSES * 2


def test_documents_between_lines(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"<|end|>\none\ntwo\n<|end|>\r\n<|end|>\n <|end|>\n<|end|>\nlast")
    prepare([tmp_path / "a.txt"], "bytes", tmp_path / "data", separator="<|end|>")
    found = read_documents(open_stream([str(tmp_path / "data")]))
    assert [bytes(ids) for ids in found] == [b"one\ntwo\n", b" <|end|>\n", b"last"]


def test_a_tokenizer_of_hugging_face(tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces of 40 characters and batches of three, the tokens of the whole text, and the end after each."""
    monkeypatch.setattr(texts, "PIECE", 40)
    monkeypatch.setattr(preparing, "BATCH", 3)
    told = ["the cat sat\n\n  on the mat. And then\tthe dog, the dog\n" * 9, "the end"]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in told))
    index = prepare([tmp_path / "a.jsonl"], str(tokenizer), tmp_path / "data")
    whole = PreTrainedTokenizerFast.from_pretrained(tokenizer)
    end = whole.eos_token_id
    stream = open_stream([str(tmp_path / "data")])
    assert read_documents(stream) == [[*whole(text)["input_ids"], end] for text in told]
    assert (index.dtype, index.vocab_size, stream.document_end) == ("uint16", len(whole), end)
    assert stream.tokenizer is not None
    assert PreTrainedTokenizerFast.from_pretrained(stream.tokenizer)("the cat")["input_ids"]


@pytest.mark.parametrize("size", [1, 39, 40, 41, 200])
def test_pieces_are_bounded_and_lose_nothing(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "PIECE", 40)
    for text in ("ab " * size, "x" * size, " " * size):
        found = list(texts.in_pieces(texts.blocks(io.StringIO(text, newline=""))))
        assert "".join(piece.text for piece in found) == text
        assert [piece.last for piece in found] == [False] * (len(found) - 1) + [True]
        assert all(len(piece.text) <= 40 for piece in found)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"text": 3}\n', ["a.jsonl', line 2", "no text 'text'", "--field"]),
        ("a.jsonl", b"not json\n", ["line 1", "not JSON"]),
        ("a.jsonl", b"[" * 100_000, ["line 1", "not JSON"]),
        ("a.txt", b"\xff\xfe", ["not UTF-8"]),
        ("a.txt", b"", ["no text"]),
        ("a.parquet", b"PAR1 no more", ["parquet"]),
    ],
)
def test_bad_files(name: str, content: bytes, words: list[str], tmp_path: Path, capsys: Any) -> None:
    (tmp_path / name).write_bytes(content)
    assert main(["data", "prepare", str(tmp_path / name), "--tokenizer", "bytes", "--out", str(tmp_path / "d")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    for word in words:
        assert word in err
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_bad_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(InputError, match="is not there"):
        prepare([tmp_path / "none.txt"], "bytes", tmp_path / "d")
    with pytest.raises(InputError, match="no tokenizer 'nobody/nothing'"):
        prepare([tmp_path / "a.txt"], "nobody/nothing", tmp_path / "d")
    with pytest.raises(InputError, match="exists"):
        prepare([tmp_path / "a.txt"], "bytes", tmp_path)
    with pytest.raises(InputError, match="shard_tokens is 0"):
        prepare([tmp_path / "a.txt"], "bytes", tmp_path / "d", shard_tokens=0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"needs pyarrow.*seqmem\[train\]"):
        prepare([tmp_path / "a.parquet"], "bytes", tmp_path / "d")


def test_token_files_of_others(tmp_path: Path) -> None:
    """The same tokens as raw numbers, in NumPy's format and as parquet, with documents that a token ends."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    ids = np.array([5, 6, 0, 7, 0, 8, 9], np.uint16)
    ids.astype("<u2").tofile(tmp_path / "a.bin")
    np.save(tmp_path / "b.npy", ids.astype(np.int32))
    pq.write_table(pa.table({"token": ids}), tmp_path / "c.parquet", row_group_size=3)
    lists = [[5, 6, 0], [], [7, 0], None, [8, 9]]
    pq.write_table(pa.table({"ids": lists}), tmp_path / "d.parquet", row_group_size=2)
    names = [str(tmp_path / name) for name in ("a.bin", "b.npy", "c.parquet", "d.parquet")]
    stream = open_stream(names, dtype="uint16", vocab_size=10, document_end=0)
    assert read_documents(stream) == [[5, 6, 0], [7, 0], [8, 9]] * 4
    assert read_documents(open_stream(names[3:], vocab_size=10)) == [[5, 6, 0], [7, 0], [8, 9]]
    assert stream.read(5, 16).tolist() == np.tile(ids, 4)[5:16].tolist()


def test_bad_token_files(tmp_path: Path) -> None:
    np.save(tmp_path / "pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "table.npy", np.zeros((2, 2), np.int64))
    (tmp_path / "odd.bin").write_bytes(b"abc")
    np.save(tmp_path / "high.npy", np.array([3, 300]))
    for name, words in (
        ("pickle.npy", "not NumPy's format"),
        ("table.npy", "one dimension"),
        ("odd.bin", "a multiple of 2"),
        ("none.bin", "cannot be read"),
        ("text.txt", "no token file"),
    ):
        with pytest.raises(InputError, match=words):
            open_stream([str(tmp_path / name)], dtype="uint16", vocab_size=256)
    with pytest.raises(InputError, match="give dtype"):
        open_stream([str(tmp_path / "odd.bin")], vocab_size=256)
    with pytest.raises(InputError, match="give vocab_size"):
        open_stream([str(tmp_path / "odd.bin")], dtype="uint16")
    with pytest.raises(InputError, match="holds the token 300"):
        open_stream([str(tmp_path / "high.npy")], vocab_size=256).read(0, 2)


def test_a_damaged_folder(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some text")
    prepare([tmp_path / "a.txt"], "bytes", tmp_path / "data")
    index = json.loads((tmp_path / "data" / "index.json").read_text())

    def refused(words: str, **changes: Any) -> None:
        (tmp_path / "data" / "index.json").write_text(json.dumps({**index, **changes}))
        with pytest.raises(InputError, match=words):
            open_stream([str(tmp_path / "data")])

    refused("cut short", shards=[{"file": "shard-00000.bin", "tokens": 10}], tokens=10)
    refused("do not add up", tokens=10**12)
    refused("file", shards=[{"file": "../a.txt", "tokens": 9}])
    refused("vocab_size", vocab_size=0)
    refused("documents.bin", documents=2)
    (tmp_path / "data" / "index.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="is no index"):
        open_stream([str(tmp_path / "data")])
    with pytest.raises(InputError, match="vocab_size is given"):
        open_stream([str(tmp_path / "data")], vocab_size=3)
