"""``seqmem data prepare``: files of text become shards of tokens and an index; memory does not grow with the text."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from seqmem.errors import InputError
from seqmem.training.files import temporary_name, write_text
from seqmem.training.tokens.encoders import Encoder, Tokens, make_encoder
from seqmem.training.tokens.index import DOCUMENTS, NAME, TOKENIZER, Index, Shard
from seqmem.training.tokens.texts import PIECE, Piece, documents

SHARD_TOKENS = 100_000_000
BATCH = 256  # pieces that are tokenised together, at most ...
BATCH_SIZE = 4 * PIECE  # ... and their characters


def prepare(
    files: Sequence[str | os.PathLike[str]],
    tokenizer: str,
    out: str | os.PathLike[str],
    *,
    field: str = "text",
    separator: str | None = None,
    shard_tokens: int = SHARD_TOKENS,
    progress: Callable[[int], None] | None = None,
) -> Index:
    """Write the folder ``out``, which must not exist; it appears when it is whole. Returns its index.

    files, field, separator: see :func:`seqmem.training.tokens.texts.documents`. tokenizer: see
    :func:`seqmem.training.tokens.encoders.make_encoder`. progress: called with the number of tokens so far. Raises
    InputError for files that cannot be read, or have no text.
    """
    folder = Path(out).expanduser()
    if os.path.lexists(folder):
        raise InputError(f"'{folder}' exists; give the name of a new folder, or remove it")
    if shard_tokens < 1:
        raise InputError(f"shard_tokens is {shard_tokens}, expected at least 1")
    paths = [Path(file).expanduser() for file in files]
    for path in paths:
        if not path.is_file():
            raise InputError(f"'{path}' is {'no file' if path.exists() else 'not there'}; give text files")
    encoder = make_encoder(tokenizer)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(folder)
    try:
        temporary.mkdir()
        with _Shards(temporary, encoder, shard_tokens) as shards:
            for pieces, tokens in _encoded(_pieces(paths, field, separator), encoder):
                for piece, ids in zip(pieces, tokens, strict=True):
                    shards.add(ids, piece.last)
                if progress is not None:
                    progress(shards.tokens)
        if not shards.tokens:
            raise InputError(f"there is no text in {', '.join(repr(str(path)) for path in paths[:3])}")
        index = shards.index()
        encoder.save(temporary / TOKENIZER)
        write_text(temporary / NAME, index.model_dump_json(indent=1) + "\n")
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return index


def _pieces(paths: Iterable[Path], field: str, separator: str | None) -> Iterator[Piece]:
    for path in paths:
        yield from documents(path, field, separator)


def _encoded(pieces: Iterable[Piece], encoder: Encoder) -> Iterator[tuple[list[Piece], list[Tokens]]]:
    """Pieces and their tokens, some at a time, so that a tokenizer can use its threads."""
    batch: list[Piece] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece.text)
        if len(batch) >= BATCH or size >= BATCH_SIZE:
            yield batch, encoder.encode([p.text for p in batch])
            batch, size = [], 0
    if batch:
        yield batch, encoder.encode([p.text for p in batch])


class _Shards:
    """The files of a folder while they are written."""

    def __init__(self, folder: Path, encoder: Encoder, most: int) -> None:
        self.folder, self.encoder, self.most = folder, encoder, most
        self.dtype = np.dtype(encoder.dtype).newbyteorder("<")
        self.tokens = self.documents = 0
        self.shards: list[Shard] = []
        self._file: BinaryIO | None = None
        self._room = 0
        self._starts = (folder / DOCUMENTS).open("wb")
        self._begun = False  # a document has tokens and has not ended

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, *_: Any) -> None:
        self._starts.close()
        if self._file is not None:
            self._file.close()

    def add(self, ids: Tokens, last: bool) -> None:
        """Tokens of the present document; ``last``: they are its last."""
        if len(ids) and int(ids.max()) >= self.encoder.vocab_size:
            raise InputError(
                f"tokenizer '{self.encoder.name}' gave token {int(ids.max())}, and it says that it has "
                f"{self.encoder.vocab_size}; repair the tokenizer"
            )
        if len(ids) and not self._begun:
            self._starts.write(np.int64(self.tokens).astype("<i8").tobytes())
            self.documents += 1
            self._begun = True
        if last and self._begun and self.encoder.end is not None:
            ids = np.append(ids, self.encoder.end)
        self._begun = self._begun and not last
        while len(ids):
            if not self._room:
                self._next()
            part, ids = ids[: self._room], ids[self._room :]
            self._file.write(part.astype(self.dtype).tobytes())  # type: ignore[union-attr] # opened by _next
            self._room -= len(part)
            self.tokens += len(part)

    def _next(self) -> None:
        if self._file is not None:
            self._file.close()
        name = f"shard-{len(self.shards):05}.bin"
        self._file = (self.folder / name).open("wb")
        self.shards.append(Shard(file=name, tokens=self.most))
        self._room = self.most

    def index(self) -> Index:
        """Of what was written."""
        shards = [*self.shards[:-1], Shard(file=self.shards[-1].file, tokens=self.most - self._room)]
        return Index(
            tokenizer=self.encoder.name, vocab_size=self.encoder.vocab_size, document_end=self.encoder.end,
            dtype=self.encoder.dtype, tokens=self.tokens, documents=self.documents, shards=shards,
        )  # fmt: skip
