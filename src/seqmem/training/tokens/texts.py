"""The documents of text files, read as a stream: a document comes in pieces of bounded size, however long it is."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

from seqmem.errors import InputError
from seqmem.loading import parse_json
from seqmem.training.tokens.parquet import open_parquet, reading

PIECE = 1 << 20  # characters
LINE = 1 << 28  # characters: the longest line of JSON that is read


class Piece(NamedTuple):
    """A part of a document, and whether it is its ``last``."""

    text: str
    last: bool


def documents(path: Path, field: str, separator: str | None) -> Iterator[Piece]:
    """The documents of a file, one after another, in order. Empty ones are left out.

    ``.jsonl``: the string ``field`` of every line. ``.parquet``: the column ``field``, a document a row. Anything else
    is UTF-8 text: one document, or those between lines that say only ``separator``.

    Raises InputError, with the line where there is one, for what is not what its name says.
    """
    try:
        if path.suffix == ".parquet":
            yield from _rows(path, field)
            return
        with path.open(encoding="utf-8", newline="") as file:
            if path.suffix == ".jsonl":
                yield from _lines(path, file, field)
            elif separator is None:
                yield from in_pieces(blocks(file))
            else:
                yield from _between(file, separator)
    except UnicodeDecodeError as error:
        raise InputError(f"'{path}' is not UTF-8 text (byte {error.start} of a block); convert it first") from error
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}; give a text file") from error


def blocks(file: TextIO) -> Iterator[str]:
    """The text of a file, some at a time."""
    return iter(lambda: file.read(PIECE), "")


def in_pieces(texts: Iterable[str]) -> Iterator[Piece]:
    """Texts, none longer than a piece, as one document. A piece ends between a letter or digit and a white space where
    it can: there byte-level tokenizers end a token as well."""
    held: list[str] = []
    size = 0
    for text in texts:
        held.append(text)
        size += len(text)
        if size > PIECE:
            whole = "".join(held)
            while len(whole) > PIECE:
                at = _cut(whole, PIECE)
                yield Piece(whole[:at], False)
                whole = whole[at:]
            held, size = [whole], len(whole)
    if held:
        yield Piece("".join(held), True)


def _cut(text: str, most: int) -> int:
    """Where to end a piece of at most so many characters."""
    for at in range(most, most // 2, -1):
        if text[at].isspace() and text[at - 1].isalnum():
            return at
    return most


def _between(file: TextIO, separator: str) -> Iterator[Piece]:
    lines = iter(lambda: file.readline(PIECE), "")
    for separates, some in itertools.groupby(lines, lambda line: line.rstrip("\r\n") == separator):
        if not separates:
            yield from in_pieces(some)


def _lines(path: Path, file: TextIO, field: str) -> Iterator[Piece]:
    number = 0
    while line := file.readline(LINE):
        number += 1
        if len(line) == LINE:
            raise InputError(f"'{path}', line {number} is longer than {LINE:,} characters; split the document")
        if not line.strip():
            continue
        try:
            found = parse_json(line)
        except ValueError as error:
            raise InputError(f"'{path}', line {number} is not JSON ({error}); expected an object a line") from error
        if not isinstance(found, dict) or not isinstance(found.get(field), str):
            keys = ", ".join(map(str, list(found)[:8])) if isinstance(found, dict) else type(found).__name__
            raise InputError(f"'{path}', line {number} has no text '{field}' (it has: {keys}); name it with --field")
        yield from in_pieces(blocks(io.StringIO(found[field], newline="")))


def _rows(path: Path, field: str) -> Iterator[Piece]:
    with open_parquet(path) as file, reading(path):
        names = file.schema_arrow.names
        if field not in names:
            raise InputError(f"'{path}' has no column '{field}' (it has: {', '.join(names)}); name it with --field")
        row = 0
        for batch in file.iter_batches(batch_size=64, columns=[field]):
            for text in batch.column(0).to_pylist():
                row += 1
                if text is not None and not isinstance(text, str):
                    raise InputError(
                        f"'{path}', row {row} of '{field}' is {type(text).__name__}, expected text; name another "
                        "column with --field"
                    )
                yield from in_pieces(blocks(io.StringIO(text or "", newline="")))
