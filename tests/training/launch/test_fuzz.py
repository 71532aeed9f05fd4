"""Whatever stands in a settings file or beside token shards, it is what it should be or one line that says what is
wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from seqmem.errors import InputError
from seqmem.training.launch.settings import EXPECTED, Settings, read_settings
from seqmem.training.tokens.index import Index
from seqmem.training.tokens.prepare import prepare
from seqmem.training.tokens.stream import open_stream
from tests.training.written import one_line, quick, values

VALUES = values("1e-3", "uint16", "data", "rg_lru", "2001-99-99")
NEEDED = {"data": "data", "out": "out", "model": {"width": 8, "layers": ["rg_lru"]}, "steps": 3}
QUICK = quick(100)


@QUICK
@given(words=st.dictionaries(st.sampled_from([*EXPECTED, "other"]), VALUES, max_size=4))
def test_any_settings(words: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump({**NEEDED, **words}), encoding="utf-8")
    try:
        assert isinstance(read_settings(path), Settings)
    except InputError as error:
        one_line(error)


@QUICK
@given(data=st.binary(max_size=40))
def test_any_bytes(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_bytes(data)
    try:
        read_settings(path)
    except InputError as error:
        one_line(error)


@QUICK
@given(changes=st.dictionaries(st.sampled_from([*Index.model_fields, "other"]), VALUES, max_size=2), cut=st.integers())
def test_any_index(changes: dict[str, Any], cut: int, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    if not folder.exists():
        (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
        prepare([tmp_path / "a.jsonl"], "bytes", folder)
        (folder / "kept.json").write_text((folder / "index.json").read_text())
    text = json.dumps({**json.loads((folder / "kept.json").read_text()), **changes})
    (folder / "index.json").write_text(text if cut % 3 else text[: cut % len(text)])
    try:
        stream = open_stream([str(folder)])
        assert len(stream.read(0, stream.tokens)) == stream.tokens
    except InputError as error:
        one_line(error)
