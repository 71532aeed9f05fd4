"""Every fault once (the long ones where SEQMEM_EXAMPLES is set), and that a broken promise is seen;
``python -m seqmem.testing.faults`` goes on as long as asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seqmem.testing import faults
from seqmem.testing.faults import SCENARIOS, Bench, Fault, main, rounds

LONG = ("workers killed", "two drivers", "read-only store", "clock", "out of memory")  # 10 to 40 s each


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The study when nothing is done to it."""
    bench = Bench(tmp_path_factory.mktemp("undisturbed"), 0)
    assert bench.run()[0] == 0
    return bench


@pytest.mark.timeout(1200)  # a dozen processes, which a busy machine starts slowly
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.thorough] if name in LONG else []) for name in SCENARIOS]
)
def test_every_fault(name: str, whole: Bench, tmp_path: Path) -> None:
    SCENARIOS[name](Bench(tmp_path / "bench", 1, whole=whole), whole.results())


def test_a_broken_promise_is_a_fault(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 0)
    bench.study.write_text(
        "mixers: rnn\ntasks: {parity: {length: 4}}\nwidths: 8\nlayers: 1\nseeds: 1\nsteps: 2\nbudget: smoke\n"
    )
    with pytest.raises(Fault, match="not those of the undisturbed study"):
        bench.to_the_end([{"experiment": "another"}])
    (path,) = bench.finished()
    results = bench.results()
    path.write_text("{}")  # found damaged, run again
    with pytest.raises(Fault, match="finished results were written again"):
        bench.to_the_end(results)


def test_a_round_that_breaks_is_told_and_its_folder_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flood(bench: Bench, expected: list[dict[str, Any]]) -> None:
        raise Fault("all is wet")

    monkeypatch.setattr(faults, "SCENARIOS", {"flood": flood, "calm": lambda bench, expected: None})
    monkeypatch.setattr(Bench, "run", lambda self: (0, ""))
    monkeypatch.setattr(Bench, "results", lambda self: [])
    going = rounds(tmp_path, 7, ["flood", "calm"])
    assert next(going) == ("flood", f"all is wet (seed 7, {tmp_path / '0'})")
    assert next(going) == ("calm", "")
    next(going)
    assert (tmp_path / "0").exists()
    assert not (tmp_path / "1").exists()


def test_an_unknown_fault_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "flood"])
    assert "invalid choice: 'flood'" in capsys.readouterr().err


def test_no_experiments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--experiments", "0"])
    assert "--experiments is 0, expected at least 1" in capsys.readouterr().err
