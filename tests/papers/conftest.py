"""The toy paper, in the list for the time of a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqmem.papers import MODULES
from seqmem.papers.card import Card, cards

ROOT = Path(__file__).parents[2]


@pytest.fixture
def diary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lists the toy paper, keeps its results in an empty store, and is the file in which it writes what it ran."""
    path = tmp_path / "diary"
    path.write_text("")
    monkeypatch.syspath_prepend(str(ROOT))  # workers import it too
    monkeypatch.setenv("SEQMEM_TEST_DIARY", str(path))
    monkeypatch.setenv("SEQMEM_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(MODULES, "toy", "tests.papers.toy")
    said = {"title": "A Toy <b>Paper</b>", "claim": "It gains.", "seen": "A gain."}
    card = Card.model_validate({"n": 9_999, "slug": "toy", "year": 2024, "room": "theory", **said})
    monkeypatch.setitem(cards(), "toy", card)
    return path
