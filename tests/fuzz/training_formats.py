"""What ``seqmem train`` and ``seqmem plan`` read; see :mod:`tests.fuzz.formats`."""

from __future__ import annotations

import io
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seqmem.planning.source import read_config
from seqmem.training.launch.settings import read_settings
from seqmem.training.tokens.prepare import prepare
from seqmem.training.tokens.stream import open_stream

TOKENS = np.arange(64, dtype=np.int32) % 16
SETTINGS = {
    "data": ["a.bin"], "out": "runs", "model": {"width": 8, "layers": ["gru"]}, "steps": 3, "dtype": "uint8",
    "vocab_size": 16, "carry_state": True, "warmup": 1, "validation": "b.bin",
}  # fmt: skip
CONFIG = {"model_type": "seqmem", "vocab_size": 16, "width": 8, "layers": ["gru", {"name": "local_attention"}]}


def prepared(name: str) -> Callable[[Path], Path]:
    """A folder of shards, of which ``name`` is harmed."""

    def make(folder: Path) -> Path:
        (folder / "text.txt").write_text("Call me Ishmael.\n" * 4)
        prepare([str(folder / "text.txt")], "bytes", str(folder / "data"), shard_tokens=40)
        return folder / "data" / name

    return make


def npy() -> bytes:
    """In NumPy's format."""
    buffer = io.BytesIO()
    np.save(buffer, TOKENS)
    return buffer.getvalue()


def parquet() -> bytes:
    """A column of documents."""
    buffer = io.BytesIO()
    pq.write_table(pa.table({"tokens": [TOKENS[:40].tolist(), TOKENS[40:].tolist()]}), buffer, row_group_size=1)
    return buffer.getvalue()


def read_tokens(name: str) -> Callable[[Path], None]:
    """The whole stream, as a training reads it."""

    def read(folder: Path) -> None:
        place = folder / name
        stream = open_stream([str(place)]) if place.is_dir() else open_stream([str(place)], vocab_size=16)
        stream.read(0, min(stream.tokens, 1000))
        stream.begins(0, min(stream.tokens, 1000))

    return read


def read_train(folder: Path) -> None:
    """The settings; a model of them is not built."""
    read_settings(folder / "train.yaml")


def read_plan(folder: Path) -> None:
    """The configuration; what it costs is not worked out."""
    read_config(Namespace(config=str(folder / "config.json"), layers=None, depth=None, **dict.fromkeys(
        ("width", "vocab_size", "mlp", "mlp_width", "short_conv")
    )))  # fmt: skip
