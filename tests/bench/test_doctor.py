"""What `seqmem doctor` finds, with and without something wrong."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest
import torch

from seqmem.bench import doctor
from seqmem.bench.doctor import Finding, examine
from seqmem.cli import main


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_a_sound_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    found = examine(tmp_path / "store", measure=False)
    assert not [f for f in found if f.state == "problem"]
    named = by_name(found)
    assert "delta_rule" in named["numba (CPU tensors)"].found
    assert str(tmp_path / "store") in named["store"].found
    assert named["torch"].found == torch.__version__
    assert all(f.advice for f in found if f.state != "ok")


def test_what_is_wrong_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 10_000)
    monkeypatch.setattr(doctor, "numba_missing", lambda: "Numba cannot be imported: no")
    monkeypatch.setenv("SEQMEM_BACKEND", "reference")
    monkeypatch.setitem(sys.modules, "triton", types.ModuleType("triton"))
    sys.modules["triton"].__spec__ = types.SimpleNamespace(name="triton")  # type: ignore[assignment]
    found = by_name(examine(tmp_path / "file" / "store", measure=False))
    problems = {name for name, finding in found.items() if finding.state == "problem"}
    assert problems >= {"torch threads", "Numba", "store", "triton"}
    assert found["SEQMEM_BACKEND"].state == "note"
    assert "delta_rule" in found["reference"].found


def test_damaged_files_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "ab" / "abcd"
    folder.mkdir(parents=True)
    (folder / "result.json.damaged").write_text("{")
    assert by_name(examine(tmp_path, measure=False))["damaged files"].found == "1 were set aside"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json", "--store", str(tmp_path)])
    found = json.loads(capsys.readouterr().out)
    assert code == int(any(f["state"] == "problem" for f in found))
    assert float(next(f["found"] for f in found if f["name"] == "memory").split()[0]) > 0
    main(["doctor", "--store", str(tmp_path)])
    assert "matrix product" in capsys.readouterr().out
