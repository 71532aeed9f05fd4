"""The study under random kills, on a driver that only writes files: what it counts, when it ends, what it sees."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from seqmem.testing import _random_kills as kills
from seqmem.testing._fault_bench import Bench, Fault, attend
from seqmem.testing._random_kills import many, minutes

#: writes a result every few milliseconds, those that are there excepted, while a worker sleeps
DRIVER = """
import json, os, subprocess, sys, time
from pathlib import Path
store, out, count, trick = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
worker = subprocess.Popen(["sleep", "5"], stderr=subprocess.DEVNULL)
for n in range(count):
    path = store / "ab" / str(n) / "result.json"
    if path.exists() and not (trick == "again" and n == 0):
        continue
    if trick == "never" and store.parent.name == "killed" and n == count - 1 and not (store / "late").exists():
        time.sleep(600)
    time.sleep(0.02)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name("new").write_text(json.dumps({"n": n}))
    path.with_name("new").rename(path)
out.mkdir(exist_ok=True)
wrong = trick == "wrong" and store.parent.name == "killed"
(out / "results.jsonl").write_text("".join(json.dumps({"n": n + wrong}) + "\\n" for n in range(count)))
worker.kill()
if trick == "breaks" and store.parent.name == "killed":
    raise RuntimeError("broken")
"""


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Which trick the driver plays."""
    trick = {"name": "none"}

    def start(self: Bench, *, workers: int, out: str = "out") -> Any:
        count = 4 * int(self.study.read_text().split("seeds: ")[1].split()[0])
        words = [sys.executable, "-c", DRIVER, str(self.store), str(self.folder / out), str(count), trick["name"]]
        return subprocess.Popen(words, stderr=subprocess.PIPE, text=True)

    monkeypatch.setattr(Bench, "start", start)
    monkeypatch.setattr(kills, "TOLD_SECONDS", 0.0)
    return trick


def test_it_ends_with_everything_done(
    driver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    undisturbed = kills._undisturbed

    def quick(bench: Bench, count: int) -> tuple[float, float]:
        undisturbed(bench, count)
        return 0.2, 2.0  # no driver lives for half a second, and all would take one 0.8

    monkeypatch.setattr(kills, "_undisturbed", quick)
    monkeypatch.setattr(kills, "LONGEST", 100.0)
    figures = many(tmp_path, 1, 38)
    assert figures.startswith("40 experiments, 40 of them finished while ")
    drivers = int(figures.split(" driver")[0].split()[-1])
    sessions = int(figures.split(" session")[0].split()[-1])
    assert 1 <= drivers <= sessions <= drivers + 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("1 of 2, undisturbed: ")
    assert lines[-1].startswith("2 of 2, under kills: 40 of 40 experiments finished, ")
    assert f"{drivers} driver" in lines[-1]
    assert "about 0 s left" in lines[-1]


def test_it_ends_when_the_killed_get_nowhere(driver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kills, "LONGEST", 3.0)
    driver["name"] = "never"
    end = Bench.to_the_end

    def to_the_end(self: Bench, *given: Any, **how: Any) -> None:
        (self.store / "late").touch()
        end(self, *given, **how)

    monkeypatch.setattr(Bench, "to_the_end", to_the_end)
    first, then = many(tmp_path, 0, 12).split()[:3:2]
    assert int(first) == 12 > int(then)


@pytest.mark.parametrize(
    ("trick", "said"),
    [
        ("again", "finished results were written again"),
        ("wrong", "not those of the undisturbed study"),
        ("breaks", "a driver whose workers were killed ended with 1: .*RuntimeError: broken"),
    ],
)
def test_a_driver_at_fault_is_seen(driver: Any, tmp_path: Path, trick: str, said: str) -> None:
    driver["name"] = trick
    with pytest.raises(Fault, match=f"(?s){said}"):
        many(tmp_path, 0, 40)


def test_attend_stops_waiting_and_goes_on_listening() -> None:
    code = textwrap.dedent("""
        import sys, time
        print("a" * 70_000, file=sys.stderr, flush=True)  # more than a pipe holds
        time.sleep(0.3)
        print("end", file=sys.stderr)
    """)
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert attend(process, 0.0, lambda: None) is None  # a moment that is past
    calls: list[int] = []
    said = attend(process, float("inf"), lambda: calls.append(1), lambda: 0.02)
    assert said is not None
    assert said.split() == ["a" * 70_000, "end"]
    assert calls


def test_minutes() -> None:
    assert [minutes(s) for s in (0.4, 59.6, 425)] == ["0 s", "1 min 00 s", "7 min 05 s"]
