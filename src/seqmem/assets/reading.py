"""What is in the assets that are not models, as plain Python values and arrays."""

from __future__ import annotations

import csv
import json
from typing import Any

import numpy as np

from seqmem.assets.cache import path
from seqmem.assets.table import ASSETS, find
from seqmem.errors import InputError


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


def _folder(name: str, kind: str) -> Any:
    """The folder of a fetched asset of this kind."""
    asset = find(name)
    if asset.kind != kind:
        known = ", ".join(other.name for other in ASSETS.values() if other.kind == kind)
        raise InputError(f"asset '{name}' is of kind {asset.kind}, expected {kind}: {known}")
    return path(name)
