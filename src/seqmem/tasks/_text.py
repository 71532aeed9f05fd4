"""Bytes of text: the prose inside the package, a file, or a folder. Read once per process."""

from __future__ import annotations

import gzip
import hashlib
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqmem.errors import InputError

BLOCK = 1 << 20  # bytes looked at in one go


class File(NamedTuple):
    """A file as it was when it was found: another ``changed`` (nanoseconds) or ``size`` (bytes) is another text."""

    path: str
    changed: int
    size: int


class Text(NamedTuple):
    """``data``: (size,) uint8. ``unigram_bits``: entropy of the training part's byte frequencies. ``sha256``: of the
    whole text."""

    data: Tensor
    unigram_bits: float
    sha256: str

    def part(self, split: str) -> Tensor:
        """The first 90 % to train, then 5 % and 5 %, without a copy."""
        first, last = _bounds(len(self.data))[split]
        return self.data[first:last]

    def written(self, split: str | None = None) -> str:
        """A part, by default the whole, as characters; bytes that are no UTF-8 become U+FFFD."""
        data = self.data if split is None else self.part(split)
        return data.numpy().tobytes().decode("utf-8", errors="replace")


def _bounds(size: int) -> dict[str, tuple[int, int]]:
    validation, test = size * 90 // 100, size * 95 // 100
    return {"train": (0, validation), "validation": (validation, test), "test": (test, size)}


def files_at(path: str) -> tuple[File, ...]:
    """The file at ``path``, or all files below the folder at ``path``, sorted, those with a leading dot left out.

    Raises InputError when there are none, or nothing is in them, or they cannot be looked at.
    """
    try:
        place = Path(path).expanduser()
        if place.is_dir():
            found = sorted(p for p in place.rglob("*") if p.is_file() and not _hidden(p.relative_to(place)))
        else:
            found = [place]
        listed = tuple(File(str(p.resolve()), p.stat().st_mtime_ns, p.stat().st_size) for p in found)
    except (OSError, RuntimeError) as error:  # RuntimeError: no such user's home
        raise _unreadable(path, error) from error
    if not sum(file.size for file in listed):
        raise InputError(f"task 'bytes': '{path}' is empty, expected a text file or a folder of them")
    return listed


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _unreadable(path: str, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(f"task 'bytes': cannot read '{path}': {reason}; expected a text file or a folder of them")


@lru_cache(maxsize=4)
def load(listed: tuple[File, ...]) -> Text:
    """The text in these files, none meaning the package's own. One file is mapped, several are joined in memory.

    Raises InputError when a file cannot be read, or is no longer the one that was listed.
    """
    if not listed:
        stored = files("seqmem.tasks").joinpath("data/moby_dick.txt.gz").read_bytes()
        return _describe(np.frombuffer(bytearray(gzip.decompress(stored)), dtype=np.uint8))
    joined = bytearray()
    for file in listed:
        try:
            status = Path(file.path).stat()
            if (status.st_mtime_ns, status.st_size) != (file.changed, file.size):
                raise InputError(f"task 'bytes': '{file.path}' has changed since the task was made; make it again")
            if len(listed) == 1:
                # copy-on-write, because torch wants memory that it might write to; nothing is written
                return _describe(np.asarray(np.memmap(file.path, dtype=np.uint8, mode="c")))
            text = Path(file.path).read_bytes()
        except OSError as error:
            raise _unreadable(file.path, error) from error
        joined += text if text.endswith(b"\n") or not text else text + b"\n"
    return _describe(np.frombuffer(joined, dtype=np.uint8))


def _describe(data: np.ndarray) -> Text:
    train = _bounds(len(data))["train"][1]
    digest, counts = hashlib.sha256(), np.zeros(256, dtype=np.int64)
    for first in range(0, len(data), BLOCK):
        block = data[first : first + BLOCK]
        digest.update(block.tobytes())
        counts += np.bincount(block[: max(train - first, 0)], minlength=256)
    share = counts[counts > 0] / max(train, 1)
    return Text(torch.from_numpy(data), float(-(share * np.log2(share)).sum()), digest.hexdigest())
