"""Two of the faults, and that a broken promise is seen; ``python -m seqmem.testing.faults`` has them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqmem.testing.faults import SCENARIOS, Bench, Fault, main, rounds


def test_two_faults(tmp_path: Path) -> None:
    names = ("killed", "damaged results")
    assert set(names) < set(SCENARIOS)
    going = rounds(tmp_path, 1, names)
    assert [next(going) for _ in names] == [(name, "") for name in names]


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


def test_an_unknown_fault_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "flood"])
    assert "invalid choice: 'flood'" in capsys.readouterr().err
