"""Parquet files, by pyarrow, which is an extra."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seqmem.errors import InputError, line_of


@contextmanager
def parquet_file(path: Path) -> Iterator[Any]:
    """An open ``pyarrow.parquet.ParquetFile``, memory-mapped. InputError where it is none, also while it is read."""
    file = open_parquet(path)
    try:
        yield file
    except (OSError, ValueError) as error:  # pyarrow's own errors are both
        if isinstance(error, InputError):
            raise
        raise _damaged(path, error) from error
    finally:
        file.close()


def open_parquet(path: Path) -> Any:
    """The same without a block."""
    if importlib.util.find_spec("pyarrow") is None:
        raise InputError(f"'{path}' needs pyarrow, which is not installed; pip install 'seqmem[train]'")
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path, memory_map=True)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"'{path}' cannot be read as parquet ({line_of(error)}); write it again")
