"""One file of tokens, memory-mapped: raw numbers, NumPy's format, or parquet."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from seqmem.errors import InputError, line_of
from seqmem.training.tokens.index import DTYPES
from seqmem.training.tokens.parquet import open_parquet, reading

BLOCK = 1 << 22  # tokens looked at in one go
SUFFIXES = (".bin", ".npy", ".parquet")

Array = np.ndarray[Any, np.dtype[Any]]


class TokenFile(Protocol):
    """``tokens``: how many. ``begins``: where documents begin, if the file itself says so, else only at 0."""

    tokens: int
    begins: Array

    def read(self, start: int, stop: int) -> Array:
        """Tokens ``start`` to ``stop`` - 1, whole numbers of any kind."""


def open_tokens(path: Path, dtype: str | None, count: int | None = None) -> TokenFile:
    """A file by the end of its name. dtype: of ``.bin``. count: how many tokens it must have, where that is known.

    Raises InputError when it cannot be read, is empty, or is not of that size.
    """
    try:
        if path.suffix == ".parquet":
            return _Parquet(path)
        if path.suffix == ".npy":
            return _Mapped(path, _npy(path))
        if path.suffix == ".bin":
            return _Mapped(path, _raw(path, dtype, count))
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}; give a token file") from error
    raise InputError(f"'{path}' is no token file; expected a name that ends in {', '.join(SUFFIXES)}")


class _Mapped:
    def __init__(self, path: Path, data: Array) -> None:
        if data.ndim != 1 or data.dtype.kind not in "iu" or not len(data):
            raise InputError(
                f"'{path}' holds {data.dtype} of shape {data.shape}, expected one dimension of whole numbers, not empty"
            )
        self.data, self.tokens, self.begins = data, len(data), np.zeros(1, np.int64)

    def read(self, start: int, stop: int) -> Array:
        return self.data[start:stop]


def _npy(path: Path) -> Array:
    try:
        found: Array = np.lib.format.open_memmap(path, mode="r")  # unlike np.load it takes no zip and no pickle for one
        return found
    except OSError:
        raise
    except Exception as error:  # of many kinds: the header is read as Python's tokens; also for an array of objects
        reason = line_of(error)
        raise InputError(f"'{path}' is not NumPy's format, or cut short ({reason}); save it with numpy.save") from error


def _raw(path: Path, dtype: str | None, count: int | None) -> Array:
    if dtype is None:
        raise InputError(f"'{path}' says nothing of its numbers; give dtype, one of {', '.join(DTYPES)}")
    kind = np.dtype(dtype).newbyteorder("<")
    size = path.stat().st_size
    if size % kind.itemsize or (count is not None and size != count * kind.itemsize):
        wanted = f"a multiple of {kind.itemsize}" if count is None else f"{count * kind.itemsize:,}"
        raise InputError(
            f"'{path}' has {size:,} bytes, expected {wanted} ({dtype}); it is cut short, or of another dtype"
        )
    return np.memmap(path, kind, "r") if size else np.empty(0, kind)


class _Parquet:
    """The first column: a token a row, or a list of tokens a row, which is a document. A row group is decoded when
    something in it is asked for; the last few stay."""

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, open_parquet(path)
        import pyarrow as pa

        field = self.file.schema_arrow.field(0) if len(self.file.schema_arrow) else None
        self.lists = field is not None and (pa.types.is_list(field.type) or pa.types.is_large_list(field.type))
        kind = None if field is None else field.type.value_type if self.lists else field.type
        if field is None or not pa.types.is_integer(kind):
            raise InputError(f"'{path}': the first column is {field}, expected whole numbers or lists of them")
        self.column = field.name
        self.begins, sizes = self._measure()
        self.ends = np.cumsum(sizes)  # of the row groups, in tokens
        self.tokens = int(self.ends[-1]) if len(sizes) else 0
        if not self.tokens:
            raise InputError(f"'{path}' has no tokens")
        self._group = lru_cache(maxsize=4)(self._decode)

    def _measure(self) -> tuple[Array, list[int]]:
        """Where documents begin, and the tokens of each row group. Lists must be read once for that."""
        groups = range(self.file.num_row_groups)
        if not self.lists:
            return np.zeros(1, np.int64), [self.file.metadata.row_group(group).num_rows for group in groups]
        lengths = [self._lengths(group) for group in groups]
        every = np.concatenate([np.zeros(0, np.int64), *lengths])
        begins = np.cumsum(every) - every
        return begins[every > 0], [int(group.sum()) for group in lengths]

    def _lengths(self, group: int) -> Array:
        import pyarrow.compute as pc

        with reading(self.path):
            lists = self.file.read_row_group(group, columns=[self.column]).column(0)
            return np.asarray(pc.fill_null(pc.list_value_length(lists), 0), dtype=np.int64)

    def _decode(self, group: int) -> Array:
        with reading(self.path):
            column = self.file.read_row_group(group, columns=[self.column]).column(0)
            values = column.combine_chunks().flatten() if self.lists else column.combine_chunks()
            if values.null_count:
                raise InputError(f"'{self.path}': the column '{self.column}' has gaps, expected a token everywhere")
            return np.asarray(values)

    def read(self, start: int, stop: int) -> Array:
        parts = [self._group(group)[first:last] for group, first, last in stretches(self.ends, start, stop)]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)


def stretches(ends: Array, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """``start`` to ``stop`` - 1 cut into pieces that lie end to end: (which piece, from where in it, to where).
    ends: of the pieces, cumulative."""
    while start < stop:
        piece = int(np.searchsorted(ends, start, "right"))
        first = int(ends[piece - 1]) if piece else 0
        last = min(stop, int(ends[piece]))
        yield piece, start - first, last - first
        start = last


def ends_of_documents(file: TokenFile, token: int) -> Iterator[Array]:
    """Where a token follows on ``token``: positions in the file, some at a time."""
    for start in range(0, file.tokens, BLOCK):
        block = file.read(start, min(start + BLOCK, file.tokens))
        yield np.flatnonzero(block == token).astype(np.int64) + (start + 1)
