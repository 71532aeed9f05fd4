"""``seqmem bench``: bad input before any timing, what is printed and written, the page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from seqmem.bench import command
from seqmem.cli import main
from seqmem.report.bench_findings import findings, problems, summary_rows
from seqmem.report.bench_page import bench_page


def time_record(**given: Any) -> dict[str, Any]:
    return {
        "kind": "time", "op": "linear_scan", "variant": "", "pass": "forward+backward", "length": 512, "peer": None,
        "yardstick": False, "tolerance": None, "status": "ok", "note": "", "ratio": None, "ratio_low": None,
        "ratio_high": None, "ours_ms": 2.0, "peer_ms": None, "rounds": None, "difference": None,
        "roofline_fraction": 0.71, "roofline_limit": "memory",
    } | given  # fmt: skip


def step_record(tokens: int, **given: Any) -> dict[str, Any]:
    return {
        "kind": "decode", "mixer": "mamba", "width": 256, "memory": "constant", "status": "ok", "note": "",
        "tokens": tokens, "ratio": 1.4, "ratio_low": 1.3, "ratio_high": 1.5, "flatness": 1.01, "ours_us": 70.0,
        "cell_us": 50.0,
    } | given  # fmt: skip


RECORDS = [
    time_record(),
    time_record(peer="eager loop", ratio=11.2, ratio_low=10.8, ratio_high=11.9, peer_ms=22.0, rounds=9),
    time_record(peer="slow", ratio=2000.0, peer_ms=30_000.0, rounds=1, note="called once: it takes 30 s"),
    time_record(peer="absent", status="not installed", note="not installed (pip install 'seqmem[bench]')"),
    time_record(peer="<wrong>", status="differs", note="its result differs from ours by 1 (tolerance 0.001)"),
    time_record(peer="torch.add of the same bytes", **{"pass": "forward"}, ratio=0.7, ratio_low=0.6, ratio_high=0.8,
                peer_ms=1.4, rounds=9, yardstick=True),
    step_record(128),
    step_record(65_536),
    step_record(128, mixer="attention", memory="linear", flatness=1.0),
    step_record(1_024, mixer="attention", memory="linear", flatness=3.0),
    step_record(65_536, mixer="attention", memory="linear", status="not run", note="not run: reading took long"),
    {"kind": "task", "task": "mqar", "status": "ok", "note": "", "length": 64, "rows": 512,
     "tokens_per_cpu_second": 1.8e7},
    {"kind": "task", "task": "needle", "status": "ok", "note": "", "length": 256, "rows": 128,
     "tokens_per_cpu_second": 8e5},
    {"kind": "memory", "op": "linear_scan", "variant": "", "length": 512, "peer": None, "status": "ok", "note": "",
     "extra_bytes": 2**20, "own_bytes": 2**22},
    {"kind": "first_call", "op": "linear_scan", "variant": "", "status": "ok", "note": "", "empty_seconds": 3.0,
     "warm_seconds": 0.5},
]  # fmt: skip
MACHINE = {"processor": "A processor", "threads": 2, "cores": 2, "date": "2000-01-01",
           "memory_gb_per_second": 30.0, "matrix_product_gflops": 160.0}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--op linear_scann", ["--op", "unknown op 'linear_scann'", "'linear_scan'"]),
        ("--op=,", ["--op"]),
        ("--mixers mambo", ["--mixers", "unknown mixer 'mambo'", "'mamba'"]),
        ("--tasks mqarr", ["--tasks", "unknown task 'mqarr'", "'mqar'"]),
        ("--tasks=,", ["--tasks"]),
        ("--against everybody", ["--against", "'everybody'", "peers", "none"]),
        ("--lengths 512,many", ["--lengths", "'512,many'"]),
        ("--lengths 1", ["--lengths", "at least 2"]),
        ("--threads 0", ["--threads is 0", "at least 1"]),
        ("--seconds 0", ["--seconds is 0", "above 0"]),
        ("--seconds nan", ["--seconds is nan"]),
        ("--out file/below", ["out folder", "--out"]),
    ],
)
def test_bad_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, expected: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(command, "describe", lambda: pytest.fail("something was measured"))
    assert main(["bench", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    for part in expected:
        assert part in err


@pytest.fixture
def canned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is measured: the records above come, in an empty current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "describe", lambda: {k: v for k, v in MACHINE.items() if k != "date"})

    def run_bench(*_: Any, on_record: Any, **__: Any) -> None:
        for record in RECORDS:
            on_record(record)

    monkeypatch.setattr(command, "run_bench", run_bench)
    return tmp_path


def test_the_table_and_the_files(canned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench"]) == 1  # one of them differs
    out, err = capsys.readouterr()
    assert err.count("\n") == len(RECORDS)
    assert "11.2× (10.8–11.9)" in out
    assert "2,000× (called once)" in out
    assert "2 ms, 71 % of memory" in out
    written = json.loads((canned / "seqmem-bench" / "bench.json").read_text())
    assert written["records"] == RECORDS
    assert written["settings"] == {"lengths": [512, 2048], "threads": written["settings"]["threads"], "seconds": 0.5,
                                   "against": "peers"}  # fmt: skip
    assert "<h1>" in (canned / "seqmem-bench" / "bench.html").read_text()


def test_json(canned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["bench", "--json", "--out", "here"])
    assert json.loads(capsys.readouterr().out) == RECORDS


def test_what_was_measured_before_an_interruption_is_kept(
    canned: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, on_record: Any, **__: Any) -> None:
        on_record(RECORDS[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run_bench", interrupted)
    assert main(["bench"]) == 130
    assert "Interrupted" in capsys.readouterr().out
    assert json.loads((canned / "seqmem-bench" / "bench.json").read_text())["records"] == RECORDS[:1]


def test_what_is_asked_for(canned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], list[str], list[str], bool]] = []

    def run_bench(cases: Any, mixers: Any, tasks: Any, lengths: Any, *, peers: bool, **_: Any) -> None:
        asked.append((sorted({c.op for c in cases}), list(mixers), list(tasks), peers))

    monkeypatch.setattr(command, "run_bench", run_bench)
    for words in ("--op wkv,ssd", "--mixers lstm", "--op ssd --mixers lstm --against none", "--tasks mqar,needle", ""):
        assert main(["bench", *words.split()]) == 0
    assert asked[:4] == [
        (["ssd", "wkv"], [], [], True), ([], ["lstm"], [], True), (["ssd"], ["lstm"], [], False),
        ([], [], ["mqar", "needle"], True),
    ]  # fmt: skip
    assert all(len(names) > 5 for names in asked[4][:3])


def test_a_real_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--op",
        "causal_conv",
        "--mixers",
        "rnn",
        "--tasks",
        "mqar",
        "--lengths",
        "8",
        "--seconds",
        "0.01",
        "--threads",
        "1",
    ]
    assert main(["bench", *words, "--out", str(tmp_path), "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert {r["kind"] for r in records} == {"time", "decode", "task", "memory", "first_call"}
    times = [r for r in records if r["kind"] == "time" and r["peer"]]
    assert len(times) == 4
    assert all(r["ratio_low"] <= r["ratio"] <= r["ratio_high"] and r["roofline_fraction"] > 0 for r in times)
    (first,) = (r for r in records if r["kind"] == "first_call")
    assert first["empty_seconds"] > 0 < first["warm_seconds"]
    memory = [r for r in records if r["kind"] == "memory"]
    if Path("/proc/self/clear_refs").exists():
        assert [r["peer"] for r in memory] == [None, "torch conv1d", "sum over shifted inputs"]
        assert {r["own_bytes"] for r in memory} == {2 * 4 * (2 * 8 * 8 * 256 + 256 * 5)}
    else:
        assert [r["status"] for r in memory] == ["not run"]


def test_findings() -> None:
    told = findings(RECORDS)
    assert any("best of 2 others takes 11.2 times as long (eager loop)" in s for s in told)
    assert any("torch.add of the same bytes, for scale, takes 0.7 times as long at 512" in s for s in told)
    assert any("attention 3.00 times after 1,024" in s for s in told)
    assert any("0.50 s" in s and "3.0 s" in s for s in told)
    assert any("at least 100,000 tokens" in s and "the least is 800k (needle)" in s for s in told)
    slow = findings([r | {"tokens_per_cpu_second": 9e4} for r in RECORDS if r.get("task") == "needle"])
    assert slow == ["Tasks that make less than 100,000 tokens in a second of processor time: needle 90k."]
    assert findings([]) == []
    named = problems(RECORDS)
    assert len(named) == 2
    assert any("absent" in p and "seqmem[bench]" in p for p in named)
    assert any("<wrong>" in p and "differs" in p for p in named)


def test_tables() -> None:
    speed, steps, tasks, memory, first = summary_rows(RECORDS)
    assert speed[1][1:] == ["forward, 512", "forward+backward, 512"]
    assert [row[0].strip() for row in speed[2]] == ["linear_scan", *(r["peer"] for r in RECORDS[1:6])]
    assert [row[2] for row in speed[2]][3:] == ["not installed", "differs", "–"]
    assert steps[2][1][:5] == ["attention", "70", "70", "not reached", "1.4× (1.3–1.5)"]
    assert tasks[2] == [["mqar", "64", "512", "18M"], ["needle", "256", "128", "800k"]]
    assert memory[2] == [["linear_scan", "1 MiB", "0.25×"]]
    assert first[2] == [["linear_scan", "3.0 s", "0.50 s"]]


@pytest.mark.parametrize("records", [RECORDS, RECORDS[6:], RECORDS[:1], []])
def test_the_page_renders(records: list[dict[str, Any]]) -> None:
    document = {"machine": MACHINE, "settings": {}, "interrupted": not records, "records": records}
    page = bench_page(document)
    assert "A processor, 2 of 2 cores" in page
    assert ("Interrupted" in page) == (not records)
    assert "<wrong>" not in page
    assert ("&lt;wrong&gt;" in page) == (records is RECORDS)
    assert page.count("<svg") == {len(RECORDS): 2, len(RECORDS) - 6: 1}.get(len(records), 0)
    loaded = re.findall(r"""(?:src|href)=["']([^"'#][^"']*)|url\(([^)#]+)\)|@import""", page)
    assert [first for first, _ in loaded if not first.startswith("data:")] == []
