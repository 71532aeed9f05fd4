"""The next byte: windows of a known text, its three parts, and texts that cannot be used."""

from __future__ import annotations

import hashlib
import math
import pickle
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks import _text
from seqmem.tasks.base import Split
from seqmem.tasks.bytes import Bytes


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """A text in which any three bytes are found once: 0 0 1, 0 0 2, ..."""
    path = tmp_path / "numbered.txt"
    path.write_bytes(b"".join(bytes((200, i // 100, i % 100)) for i in range(2000)))
    return path


def test_the_novel_is_the_one_that_is_documented() -> None:
    text = Bytes().text
    raw = bytes(text.data.tolist())
    assert len(raw) == 1_191_395
    digest = "d57c22396ffe002638a01c5aeb3f65655da3c686433f7f2cb699ebd9dcbd10f2"
    assert hashlib.sha256(raw).hexdigest() == text.sha256 == Bytes().data_sha256 == digest
    readme = Path(_text.__file__).parent / "data" / "README.md"
    assert digest in readme.read_text(encoding="utf-8")
    assert raw.isascii()
    assert raw.startswith(b"CHAPTER 1. Loomings.\n\nCall me Ishmael.")
    assert raw.endswith(b"five thousand years ago.\n")


@pytest.mark.parametrize("split", get_args(Split))
@pytest.mark.parametrize("length", [1, 7, 60])
def test_targets_are_the_bytes_that_come_next(
    generator: torch.Generator, numbered: Path, split: Split, length: int
) -> None:
    raw = numbered.read_bytes()
    first, last = {"train": (0, 5400), "validation": (5400, 5700), "test": (5700, 6000)}[split]
    batch = Bytes(path=str(numbered), length=60).sample(50, length, generator, split=split)
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        window = bytes([*inputs, targets[-1]])
        assert window in raw[first:last]
        assert bytes(targets) == window[1:]


def test_every_offset_of_a_part_is_drawn_and_none_outside(generator: torch.Generator, tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_bytes(bytes(range(100)))
    task = Bytes(path=str(path), length=2, test_lengths=[4])
    for split, expected in (("train", range(88)), ("validation", range(90, 93)), ("test", range(95, 98))):
        batch = task.sample(3000, 2, generator, split=split)
        assert set(batch.inputs[:, 0].tolist()) == set(expected)


def test_chance_is_the_entropy_of_the_training_bytes(tmp_path: Path) -> None:
    raw = b"abacad" * 300 + b"z" * 200
    path = tmp_path / "text.txt"
    path.write_bytes(raw)
    counts = Counter(raw[:1800])
    entropy = -sum(n / 1800 * math.log2(n / 1800) for n in counts.values())
    assert Bytes(path=str(path), length=16).chance == pytest.approx(entropy, abs=1e-12)


def test_entropy_and_hash_do_not_depend_on_the_block(monkeypatch: pytest.MonkeyPatch, numbered: Path) -> None:
    whole = Bytes(path=str(numbered), length=16).text
    _text.load.cache_clear()
    monkeypatch.setattr(_text, "BLOCK", 777)
    parts = Bytes(path=str(numbered), length=16).text
    assert parts.unigram_bits == whole.unigram_bits
    assert parts.sha256 == whole.sha256 == hashlib.sha256(numbered.read_bytes()).hexdigest()


def test_chance_is_what_the_best_blind_guess_scores_on_the_novel(generator: torch.Generator) -> None:
    task = Bytes()
    counts = torch.bincount(task.text.part("train").long(), minlength=256).double()
    seen = task.sample(200, 256, generator).targets.flatten()
    bits = -torch.log2(counts / counts.sum())[seen].mean().item()
    assert bits == pytest.approx(task.chance, abs=0.05)
    assert 4.0 < task.chance < 5.0


def test_a_folder_is_its_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name, text in {"c.txt": b"3" * 50, "a.txt": b"1" * 50 + b"\n", "b/x.txt": b"2" * 50, ".hidden/y": b"4"}.items():
        (tmp_path / name).write_bytes(text)
    data = bytes(Bytes(path=str(tmp_path), length=1).text.data.tolist())
    assert data == b"1" * 50 + b"\n" + b"2" * 50 + b"\n" + b"3" * 50 + b"\n"


def test_a_text_is_read_once_and_again_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"a" * 400)
    old = Bytes(path=str(path), length=2)
    assert old.text is Bytes(path=str(path), length=4).text
    path.write_bytes(b"b" * 401)
    assert Bytes(path=str(path), length=2).data_sha256 == hashlib.sha256(b"b" * 401).hexdigest()
    _text.load.cache_clear()
    with pytest.raises(InputError, match="has changed since the task was made"):
        _ = old.text


def test_a_task_may_be_sent_to_another_process(generator: torch.Generator, numbered: Path) -> None:
    task = Bytes(path=str(numbered), length=16)
    sent = pickle.dumps(task)
    assert len(sent) < 1000
    assert torch.equal(
        pickle.loads(sent).sample(4, 16, torch.Generator().manual_seed(0)).inputs,
        task.sample(4, 16, torch.Generator().manual_seed(0)).inputs,
    )


def test_a_path_may_be_a_path(numbered: Path) -> None:
    assert Bytes(path=numbered, length=16) == Bytes(path=str(numbered), length=16)  # type: ignore[arg-type]


def test_unusable_texts_say_so(tmp_path: Path) -> None:
    empty, short, folder = tmp_path / "empty.txt", tmp_path / "short.txt", tmp_path / "folder"
    empty.touch()
    short.write_bytes(b"x" * 1000)
    folder.mkdir()
    for options, says in (
        ({"path": str(empty)}, "is empty, expected a text file"),
        ({"path": str(folder)}, "is empty, expected a text file"),
        ({"path": str(tmp_path / "none.txt")}, "none.txt': No such file or directory; expected"),
        ({"path": str(short / "below")}, "below': Not a directory; expected"),
        ({"path": "~no-such-user-here/x"}, "cannot read '~no-such-user-here/x'"),
        (
            {"path": str(short), "length": 13},
            "has 1000 bytes, too few for length=52: its test part, the last 5 %, has 50",
        ),
        ({"path": 3}, "path=3, expected the name"),
        ({"path": ""}, "path='', expected the name"),
        ({"length": 0}, "length=0"),
        ({"length": 100_000}, "the text of the package has 1191395 bytes, too few for length=400000"),
        ({"test_lengths": [0]}, "test_lengths=0"),
    ):
        with pytest.raises(InputError) as error:
            Bytes(**options)  # type: ignore[arg-type]
        assert says in str(error.value)
        assert "\n" not in str(error.value)


def test_a_file_that_may_not_be_opened_says_so(monkeypatch: pytest.MonkeyPatch, numbered: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(_text.np, "memmap", refuse)
    with pytest.raises(InputError, match=r"cannot read '.*numbered.txt': Permission denied; expected"):
        Bytes(path=str(numbered), length=16)


def test_too_long_a_request_says_so(generator: torch.Generator, numbered: Path) -> None:
    with pytest.raises(InputError, match="too few for length=300"):
        Bytes(path=str(numbered), length=16).sample(1, 300, generator)


def test_example_is_a_passage_and_how_it_goes_on(generator: torch.Generator) -> None:
    before, after = Bytes().example(generator).split("\n-> ")
    assert (before + after).encode() in bytes(Bytes().text.data.tolist())
    assert len(before) > len(after) > 20
