"""Parquet files, by pyarrow, which is an extra."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seqmem.errors import InputError, line_of


def open_parquet(path: Path) -> Any:
    """A ``pyarrow.parquet.ParquetFile``, memory-mapped. InputError where it is none."""
    if importlib.util.find_spec("pyarrow") is None:
        raise InputError(f"'{path}' needs pyarrow, which is not installed; pip install 'seqmem[train]'")
    import pyarrow.parquet

    with reading(path):
        return pyarrow.parquet.ParquetFile(path, memory_map=True)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What pyarrow says of a damaged file, as an InputError."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError) as error:  # pyarrow's own errors are both
        raise InputError(f"'{path}' cannot be read as parquet ({line_of(error)}); write it again") from error
